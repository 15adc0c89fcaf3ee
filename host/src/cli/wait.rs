//! `dropforge wait`, and how a job is followed to its end wherever one waits for it.

use std::time::Duration;

use clap::Args;
use console::style;

use super::bar::{self, job_bar, show};
use super::exit::{self, Exit};
use super::interrupt::{goes_on, unless_interrupted};
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::{painted, paragraph, printable, run_time};
use super::times;
use super::typed;
use crate::client::{Client, JobView, Seen};
use crate::job::Failure;

/// Lines of a failed job's log that are shown without being asked for.
const LINES_SHOWN_MAX: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// The job
    #[arg(value_name = "ID", value_parser = typed::id)]
    id: String,
    /// Wait no longer than this, such as 30s or 5m; the job goes on
    #[arg(long, value_name = "TIME", value_parser = times::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
}

impl Wait {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        unless_interrupted(self.remote.json, || goes_on(&self.id, "wait"), self.wait()).await
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

/// How a job ended, in one line, and below it why it failed.
pub(super) fn summary(job: &JobView) -> String {
    let after =
        if job.has_ended() && job.started_at.is_some() { format!(" after {}", run_time(job)) } else { String::new() };
    let why = job.failure.as_ref().map(|failure| paragraph(&format!("{}: {}", failure.code, failure.message), "  "));
    let why = why.map(|why| format!("\n  {why}")).unwrap_or_default();
    format!("{}{after} {}{why}", painted(&job.state), style(printable(&job.id)).dim())
}

/// What a failed job wrote last, and where the rest is; nothing for any other.
pub(super) fn after_failure(job: &JobView) -> String {
    if job.state != "failed" {
        return String::new();
    }
    let log = job.usage.last().map(|usage| usage.log.as_slice()).unwrap_or_default();
    // What the failure itself tells as the last words is not told twice.
    let told = job.failure.as_ref().is_some_and(|failure| failure.message.contains(Failure::LAST_WORDS));
    let mut lines = Vec::new();
    if !log.is_empty() && !told {
        lines.push("  the last it wrote:".to_owned());
        let last = &log[log.len().saturating_sub(LINES_SHOWN_MAX)..];
        lines.extend(last.iter().map(|line| format!("    {}", printable(line))));
    }
    let id = printable(&job.id);
    let what = format!("`dropforge status {id}` says what it used");
    // Nothing may be left of a log that is not there, or of an attempt that was none.
    let advice = if log.is_empty() { what } else { format!("`dropforge logs {id}` shows its log, {what}") };
    lines.push(exit::advice(&advice));
    lines.join("\n") + "\n"
}
