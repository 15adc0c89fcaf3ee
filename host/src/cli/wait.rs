//! `dropforge wait`, and how a job is followed to its end wherever one waits for it.

use std::time::Duration;

use clap::Args;
use console::style;

use super::bar::{self, job_bar, show};
use super::exit::{self, Exit};
use super::interrupt::unless_interrupted;
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::{painted, paragraph, printable, run_time};
use super::times;
use crate::client::{Client, JobView, Seen};

/// Lines of a failed job's log that are shown without being asked for.
const LINES_SHOWN_MAX: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    /// Wait no longer than this, such as 30s or 5m; the job goes on
    #[arg(long, value_name = "TIME", value_parser = times::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
}

impl Wait {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        unless_interrupted(&self.id, self.remote.json, self.wait()).await
    }

    async fn wait(&self) -> anyhow::Result<Exit> {
        let (client, as_json) = (self.remote.client()?, self.remote.json);
        let end = match self.timeout {
            None => follow(&client, &self.id, as_json).await,
            Some(patience) => match tokio::time::timeout(patience, follow(&client, &self.id, as_json)).await {
                Ok(end) => end,
                Err(_) => client.job(&self.id).await.map_err(anyhow::Error::from),
            },
        }?;
        let job: JobView = client.parse(&end)?;
        say(&if as_json { end } else { summary(&job) })?;
        if !as_json {
            eprint!("{}", after_failure(&job));
        }
        Ok(Exit::of_state(&job.state))
    }
}

/// Shows how far a job is until it has ended; answers it then.
pub(super) async fn follow(client: &Client, id: &str, as_json: bool) -> anyhow::Result<String> {
    let bar = job_bar();
    let tell = |note: Note| bar.suspend(|| notes::tell(as_json, &note));
    let mut last_state = String::new();
    let end = client.follow(id, |seen| match seen {
        Seen::State(job) => {
            bar.set_prefix(printable(&job.state).into_owned());
            show(&bar, job.progress.fraction, &job.progress.message);
            last_state = job.state;
        }
        Seen::Progress(progress) => show(&bar, progress.fraction, &progress.message),
        Seen::Away => tell(notes::away(client.patience().most())),
        Seen::Back => tell(notes::back()),
    });
    let end = end.await;
    bar::end(&bar, &last_state);
    Ok(end?)
}

/// How a job ended, in one line, or more if its failure takes more.
pub(super) fn summary(job: &JobView) -> String {
    let state = painted(&job.state);
    match &job.failure {
        Some(failure) => {
            let why = paragraph(&format!("{}: {}", failure.code, failure.message), "  ");
            format!("{state} after {}: {why} {}", run_time(job), style(&job.id).dim())
        }
        None if job.has_ended() && job.started_at.is_some() => {
            format!("{state} after {} {}", run_time(job), style(&job.id).dim())
        }
        None => format!("{state} {}", style(&job.id).dim()),
    }
}

/// What a failed job wrote last, and where the rest is; nothing for any other.
pub(super) fn after_failure(job: &JobView) -> String {
    if job.state != "failed" {
        return String::new();
    }
    let log = job.usage.last().map(|usage| usage.log.as_slice()).unwrap_or_default();
    let mut lines = Vec::new();
    if !log.is_empty() {
        lines.push("  the last it wrote:".to_owned());
        let last = &log[log.len().saturating_sub(LINES_SHOWN_MAX)..];
        lines.extend(last.iter().map(|line| format!("    {}", printable(line))));
    }
    let id = &job.id;
    let advice = format!("`dropforge logs {id}` shows all it wrote, `dropforge status {id}` what it used");
    lines.push(exit::advice(&advice));
    lines.join("\n") + "\n"
}
