//! `dropforge logs`: what a job's attempts wrote, once or as they write it, also across a host that is started again.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use console::{Style, style};
use reqwest::Method;
use serde::Deserialize;
use tokio::time::sleep;

use super::exit::Exit;
use super::interrupt::{goes_on, unless_interrupted};
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::{as_commands, printable};
use super::typed;
use crate::client::view::ExplanationView;
use crate::client::{Client, ClientError, JobView, Patience};

/// The host cuts lines far below this.
const LINE_BYTES_MAX: usize = 1 << 20;

/// After so long it is said why a job that is followed writes nothing; most have begun by then.
const SILENT_FOR: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The job
    #[arg(value_name = "ID", value_parser = typed::id)]
    id: String,
    /// Go on until the job has ended, also while its host is started again
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    remote: Remote,
}

/// A line of a log as the host tells it.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    attempt: u32,
    at: Option<String>,
    level: Option<String>,
    message: String,
}

impl Logs {
    /// Following succeeds once the job has ended and its last line was shown.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        if !self.follow {
            let mut shown = None;
            self.read(&client, &mut shown, false, None).await?;
            self.tell_nothing(shown.as_deref());
            return Ok(Exit::Success);
        }
        unless_interrupted(self.remote.json, || goes_on(&self.id, "logs --follow"), self.follow(&client)).await
    }

    /// Follows, and says once why nothing comes of a job that has not started after a while.
    async fn follow(&self, client: &Client) -> anyhow::Result<Exit> {
        let (mut followed, mut explained) = (pin!(self.follow_to_its_end(client)), pin!(self.tell_why_silent(client)));
        tokio::select! {
            followed = &mut followed => followed,
            () = &mut explained => followed.await,
        }
    }

    async fn tell_why_silent(&self, client: &Client) {
        sleep(SILENT_FOR).await;
        // Whatever is wrong with these questions, whoever follows meets it as well.
        let Ok(job) = client.job(&self.id).await.and_then(|job| client.parse::<JobView>(&job)) else { return };
        if job.has_ended() || job.started_at.is_some() {
            return;
        }
        let answer = client.text(client.request(Method::GET, &["v1", "jobs", &self.id, "explain"])).await;
        if let Ok(explanation) = answer.and_then(|answer| client.parse::<ExplanationView>(&answer)) {
            notes::tell(self.remote.json, &Note::new("not_running", as_commands(&explanation.sentence)));
        }
    }

    async fn follow_to_its_end(&self, client: &Client) -> anyhow::Result<Exit> {
        let mut shown = None;
        let mut patience = client.patience();
        loop {
            match self.follow_while_there(client, &mut shown, &mut patience).await {
                Ok(true) => {
                    self.tell_nothing(shown.as_deref());
                    return Ok(Exit::Success);
                }
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

    fn tell_nothing(&self, shown: Option<&str>) {
        if shown.is_none() && !self.remote.json {
            notes::tell(false, &Note::new("no_lines", "the job has written nothing to its log"));
        }
    }

    /// Follows for as long as the stream lasts; says whether all has been shown.
    async fn follow_while_there(
        &self,
        client: &Client,
        shown: &mut Option<String>,
        patience: &mut Patience,
    ) -> anyhow::Result<bool> {
        self.read(client, shown, true, Some(patience)).await?;
        let job: JobView = client.parse(&client.job(&self.id).await?)?;
        if job.has_ended() {
            // It may have gone on after the stream has ended.
            self.read(client, shown, false, None).await?;
        }
        Ok(job.has_ended())
    }

    /// Reads the log behind the line `shown`, which was the last to be printed, and prints it.
    async fn read(
        &self,
        client: &Client,
        shown: &mut Option<String>,
        follow: bool,
        patience: Option<&mut Patience>,
    ) -> anyhow::Result<()> {
        let follow = follow.then_some(("follow", "true"));
        let after = shown.as_deref().map(|id| ("after", id));
        let query: Vec<_> = follow.into_iter().chain(after).collect();
        let request = client.request_with(Method::GET, &["v1", "jobs", &self.id, "logs"], &query);
        let mut response = client.send(request.header("accept", "application/x-ndjson")).await?;
        if patience.is_some_and(Patience::found) {
            notes::tell(self.remote.json, &notes::back());
        }
        let mut received = Vec::new();
        while let Some(chunk) = client.chunk(&mut response).await? {
            received.extend_from_slice(&chunk);
            while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = received.drain(..=end).collect();
                let line: Line = client.parse(&String::from_utf8_lossy(&text))?;
                self.print(&line, &text)?;
                *shown = Some(line.id);
            }
            if received.len() > LINE_BYTES_MAX {
                let reason = format!("a line of more than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::NotUnderstood(client.url().to_owned(), reason).into());
            }
        }
        Ok(())
    }

    fn print(&self, line: &Line, text: &[u8]) -> anyhow::Result<()> {
        if self.remote.json {
            return say(&String::from_utf8_lossy(text));
        }
        let at = line.at.as_deref().unwrap_or_default();
        let start = style(format!("{} {}", line.attempt, printable(at))).dim();
        say(&format!("{start} {}", painted_line(line.level.as_deref().unwrap_or_default(), &line.message)))
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
