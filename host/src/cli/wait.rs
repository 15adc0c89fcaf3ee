//! `dropforge wait`, and what follows when a job has ended: its result and its artifacts.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use console::{style, user_attended_stderr};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Response;

use super::exit::Exit;
use super::remote::{Remote, say};
use super::text::{painted, printable, run_time};
use crate::client::{Client, JobView, Seen};
use crate::time::parse_duration;

/// Files that take no time need no bar.
const BAR_FROM_BYTES: u64 = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    /// Wait no longer than this, such as 30s or 5m; the job goes on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
}

impl Wait {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let end = match self.timeout {
            None => follow(&client, &self.id).await,
            Some(patience) => match tokio::time::timeout(patience, follow(&client, &self.id)).await {
                Ok(end) => end,
                Err(_) => client.job(&self.id).await.map_err(anyhow::Error::from),
            },
        }?;
        let job: JobView = client.parse(&end)?;
        say(&if self.remote.json { end } else { summary(&job) })?;
        Ok(Exit::of_state(&job.state))
    }
}

/// Where a job's result goes.
#[derive(Debug, Args)]
pub(super) struct Delivery {
    /// Write the result to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Save the files that the job wrote in this folder
    #[arg(long, value_name = "DIR")]
    pub(super) save_artifacts: Option<PathBuf>,
}

impl Delivery {
    /// Whether a place was named, so that the result must be waited for.
    pub(super) fn is_wanted(&self) -> bool {
        self.output.is_some() || self.save_artifacts.is_some()
    }
}

/// Follows a job to its end and brings what it made. With JSON the job itself is said, and the result only saved.
pub(super) async fn deliver(client: &Client, id: &str, delivery: &Delivery, as_json: bool) -> anyhow::Result<Exit> {
    let end = follow(client, id).await?;
    let job: JobView = client.parse(&end)?;
    if job.state != "succeeded" {
        if as_json {
            say(&end)?;
        } else {
            eprintln!("{}", summary(&job));
            if user_attended_stderr() {
                eprintln!("see what it wrote with: dropforge logs {id}, what it used with: dropforge status {id}");
            }
        }
        return Ok(Exit::of_state(&job.state));
    }
    if let Some(folder) = &delivery.save_artifacts {
        save_artifacts(client, id, folder).await?;
    }
    match (&delivery.output, as_json) {
        (Some(path), _) => save_result(client, id, path).await?,
        (None, false) => print_result(client, id).await?,
        (None, true) => {}
    }
    if as_json {
        say(&end)?;
    } else {
        eprintln!("{}", summary(&job));
    }
    Ok(Exit::Success)
}

/// Shows how far a job is until it has ended.
async fn follow(client: &Client, id: &str) -> anyhow::Result<String> {
    let bar = job_bar();
    let end = client.follow(id, |seen| match seen {
        Seen::State(job) => {
            bar.set_prefix(printable(&job.state).into_owned());
            show(&bar, job.progress.fraction, &job.progress.message);
        }
        Seen::Progress(progress) => show(&bar, progress.fraction, &progress.message),
        Seen::Away => bar.set_message("the host is away; its jobs are kept, waiting for it to come back"),
    });
    let end = end.await;
    bar.finish_and_clear();
    Ok(end?)
}

/// A bar for how far a job is.
pub(super) fn job_bar() -> ProgressBar {
    // The template is a constant that the library has accepted before.
    let style = ProgressStyle::with_template("{prefix:10} [{bar:40}] {percent:>3} % {elapsed:>5}  {wide_msg}");
    let bar = ProgressBar::new(1000);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

pub(super) fn show(bar: &ProgressBar, fraction: f64, message: &str) {
    bar.set_position((fraction.clamp(0.0, 1.0) * 1000.0) as u64);
    bar.set_message(printable(message).into_owned());
}

/// How a job ended, in one line.
pub(super) fn summary(job: &JobView) -> String {
    let state = painted(&job.state);
    match &job.failure {
        Some(failure) => {
            let why = format!("{}: {}", failure.code, failure.message);
            format!("{state} after {}: {} {}", run_time(job), printable(&why), style(&job.id).dim())
        }
        None if job.has_ended() && job.started_at.is_some() => {
            format!("{state} after {} {}", run_time(job), style(&job.id).dim())
        }
        None => format!("{state} {}", style(&job.id).dim()),
    }
}

async fn result(client: &Client, id: &str) -> anyhow::Result<Response> {
    match client.result(id).await? {
        Some(response) => Ok(response),
        None => bail!("the job {id} has ended and is running again"),
    }
}

pub(super) async fn save_result(client: &Client, id: &str, path: &Path) -> anyhow::Result<()> {
    let response = result(client, id).await?;
    let bar = transfer_bar(response.content_length().unwrap_or(0), "receiving");
    client.save(response, path, |bytes| bar.inc(bytes)).await?;
    bar.finish_and_clear();
    Ok(())
}

/// Whether a terminal can show it.
pub(super) fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type.contains("json") || media_type.contains("xml")
}

pub(super) fn say_not_shown(size: u64, media_type: &str) {
    eprintln!("the result is {} of {}; save it with --output FILE", super::text::bytes(size), printable(media_type));
}

/// Prints a result as it is, unless it would only upset a terminal.
pub(super) async fn print_result(client: &Client, id: &str) -> anyhow::Result<()> {
    let response = result(client, id).await?;
    let media_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let to_terminal = stdout().is_terminal();
    if to_terminal && !is_text(media_type) {
        say_not_shown(response.content_length().unwrap_or(0), media_type);
        return Ok(());
    }
    client.copy(response, stdout().lock(), || "write to standard output".to_owned(), |_| {}).await?;
    if to_terminal {
        say("\n")?;
    }
    Ok(())
}

pub(super) async fn save_artifacts(client: &Client, id: &str, folder: &Path) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    let files = client.save_artifacts(id, folder, |name, _| bar.set_message(printable(name).into_owned())).await;
    bar.finish_and_clear();
    let files = files?;
    eprintln!("{} {} saved in {}", files.len(), if files.len() == 1 { "file" } else { "files" }, folder.display());
    Ok(())
}

/// A bar for bytes on their way.
pub(super) fn transfer_bar(size: u64, what: &'static str) -> ProgressBar {
    if size < BAR_FROM_BYTES {
        return ProgressBar::hidden();
    }
    // The template is a constant that the library has accepted before.
    let style = ProgressStyle::with_template("{prefix:10} [{bar:40}] {bytes} of {total_bytes}  {bytes_per_sec}");
    let bar = ProgressBar::new(size).with_prefix(what);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let Some(duration) = parse_duration(text) else { bail!("a time is like 2s, 500ms, 1h, or 2000 for milliseconds") };
    Ok(duration)
}
