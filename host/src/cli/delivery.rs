//! What follows when a job has ended: its result and its artifacts go where they were wanted.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use indicatif::ProgressBar;
use reqwest::Response;

use super::bar::transfer_bar;
use super::exit::Exit;
use super::remote::say;
use super::text::{bytes, counted, printable};
use super::wait::{after_failure, follow, summary};
use crate::client::{Client, JobView};

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
    let end = follow(client, id, as_json).await?;
    let job: JobView = client.parse(&end)?;
    if job.state != "succeeded" {
        if as_json {
            say(&end)?;
        } else {
            eprintln!("{}", summary(&job));
            eprint!("{}", after_failure(&job));
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
    say_saved(files?.len(), folder);
    Ok(())
}

pub(super) fn say_saved(count: usize, folder: &Path) {
    eprintln!("{} saved in {}", counted(count as u64, "file"), folder.display());
}

/// Whether a terminal can show it.
pub(super) fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type.contains("json") || media_type.contains("xml")
}

pub(super) fn say_not_shown(size: u64, media_type: &str) {
    eprintln!("the result is {} of {}; save it with --output FILE", bytes(size), printable(media_type));
}
