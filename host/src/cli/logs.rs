//! `dropforge logs`: what a job's attempts wrote, once or as they write it, also across a host that is started again.

mod shown;

use clap::Args;
use console::{Style, style};
use reqwest::Method;

use self::shown::{Line, Shown};
use super::exit::Exit;
use super::notes;
use super::remote::{Remote, say};
use super::text::printable;
use crate::client::{Client, ClientError, JobView, Patience};

/// The host cuts lines far below this.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    /// Go on until the job has ended, also while its host is started again
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Logs {
    /// Following succeeds once the job has ended and its last line was shown.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let mut shown = Shown::default();
        if !self.follow {
            self.read(&client, &mut shown, &[], None).await?;
            return Ok(Exit::Success);
        }
        let mut patience = client.patience();
        loop {
            match self.follow_while_there(&client, &mut shown, &mut patience).await {
                Ok(true) => return Ok(Exit::Success),
                // The stream ended before the job did: the host is stopping.
                Ok(false) => {}
                Err(error) => patience.bear(error.downcast::<ClientError>()?)?,
            }
            if patience.lost() {
                notes::tell(self.remote.json, &notes::away(patience.most()));
            }
            patience.pause().await;
        }
    }

    /// Follows for as long as the stream lasts; says whether all has been shown.
    async fn follow_while_there(
        &self,
        client: &Client,
        shown: &mut Shown,
        patience: &mut Patience,
    ) -> anyhow::Result<bool> {
        self.read(client, shown, &[("follow", "true")], Some(patience)).await?;
        let job: JobView = client.parse(&client.job(&self.id).await?)?;
        if job.has_ended() {
            // It may have gone on after the stream has ended.
            self.read(client, shown, &[], None).await?;
        }
        Ok(job.has_ended())
    }

    /// Reads the log from its beginning, and prints what was not shown before.
    async fn read(
        &self,
        client: &Client,
        shown: &mut Shown,
        query: &[(&str, &str)],
        patience: Option<&mut Patience>,
    ) -> anyhow::Result<()> {
        let request = client.request_with(Method::GET, &["v1", "jobs", &self.id, "logs"], query);
        let mut response = client.send(request.header("accept", "application/x-ndjson")).await?;
        if patience.is_some_and(Patience::found) {
            notes::tell(self.remote.json, &notes::back());
        }
        shown.begin();
        let mut received = Vec::new();
        while let Some(chunk) = client.chunk(&mut response).await? {
            received.extend_from_slice(&chunk);
            while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = received.drain(..=end).collect();
                let text = String::from_utf8_lossy(&text).into_owned();
                let line = Line { text: text.clone(), ..client.parse(&text)? };
                self.print(shown.take(line))?;
            }
            if received.len() > LINE_BYTES_MAX {
                let reason = format!("a line of more than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::NotUnderstood(client.url().to_owned(), reason).into());
            }
        }
        self.print(shown.end())
    }

    fn print(&self, lines: Vec<Line>) -> anyhow::Result<()> {
        for Line { attempt, at, level, message, text } in lines {
            if self.remote.json {
                say(&text)?;
                continue;
            }
            let at = at.unwrap_or_default();
            let start = style(format!("{attempt} {}", printable(&at))).dim();
            say(&format!("{start} {}", painted_line(level.as_deref().unwrap_or_default(), &message)))?;
        }
        Ok(())
    }
}

/// A line with its level in the level's colour.
pub(super) fn painted_line(level: &str, message: &str) -> String {
    let colour = match level {
        "error" | "ERROR" => Style::new().red(),
        "warn" | "WARN" => Style::new().yellow(),
        "debug" | "DEBUG" | "trace" | "TRACE" => Style::new().dim(),
        _ => Style::new().cyan(),
    };
    let level = format!("{:<5}", printable(level).to_uppercase());
    format!("{} {}", colour.apply_to(level), printable(message)).trim_end().to_owned()
}
