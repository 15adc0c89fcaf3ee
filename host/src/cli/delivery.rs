//! What follows when a job has ended: its result and its artifacts go where they were wanted.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use indicatif::ProgressBar;
use reqwest::{Method, Response};

use super::bar::transfer_bar;
use super::exit::{Complaint, Exit};
use super::notes::{self, Note};
use super::remote::say;
use super::text::{bytes, counted, printable};
use super::wait::{after_failure, follow, summary};
use crate::client::view::Artifacts;
use crate::client::{Client, ClientError, JobView, check_file, check_folder};

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

    /// Whether what is wanted can be saved there: told before a job is given to anybody.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        self.output.as_deref().map_or(Ok(()), check_file)?;
        self.save_artifacts.as_deref().map_or(Ok(()), check_folder)
    }

    /// How a job's result and files are brought with these flags, once there is a place for them.
    fn advice(&self, id: &str) -> String {
        let output = self.output.as_ref().map_or("", |_| " -o FILE");
        let folder = self.save_artifacts.as_ref().map_or("", |_| " --save-artifacts DIR");
        format!("the job {id} has succeeded, and its host keeps what it made: `dropforge result {id}{output}{folder}`")
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
    if let Err(error) = bring(client, id, delivery, as_json).await {
        // A reader who has had enough is no mistake.
        let is_mistake = error.is::<ClientError>() && Exit::of(&error) != Exit::Success;
        return Err(if is_mistake { not_brought(&error, delivery.advice(id)).into() } else { error });
    }
    if as_json {
        say(&end)?;
    } else {
        eprintln!("{}", summary(&job));
    }
    Ok(Exit::Success)
}

/// Saves or prints what a job made.
pub(super) async fn bring(client: &Client, id: &str, delivery: &Delivery, as_json: bool) -> anyhow::Result<()> {
    if let Some(folder) = &delivery.save_artifacts {
        save_artifacts(client, id, folder, as_json).await?;
    }
    match (&delivery.output, as_json) {
        (Some(path), _) => save_result(client, id, path, as_json).await?,
        (None, false) => print_result(client, id).await?,
        (None, true) => {}
    }
    if delivery.save_artifacts.is_none() && !as_json {
        tell_of_files(client, id).await;
    }
    Ok(())
}

/// Whoever saw only the result may not know that there is more.
async fn tell_of_files(client: &Client, id: &str) {
    let list = client.text(client.request(Method::GET, &["v1", "jobs", id, "artifacts"])).await;
    let list = list.and_then(|list| client.parse::<Artifacts>(&list));
    // What was wanted is here, whatever became of the rest.
    let count = list.map_or(0, |list| list.artifacts.len());
    if count > 0 {
        let files = counted(count as u64, "file");
        let sentence =
            format!("it also made {files}: `dropforge result {id} --save-artifacts DIR` brings what it made");
        notes::tell(false, &Note::new("files", sentence));
    }
}

/// The job has done its part, and nobody may think that it is lost.
fn not_brought(error: &anyhow::Error, advice: String) -> Complaint {
    let title = "What the job made was not brought";
    Complaint { exit: Exit::of(error), code: "not_saved", title, detail: format!("{error:#}"), advice: Some(advice) }
}

async fn result(client: &Client, id: &str) -> anyhow::Result<Response> {
    match client.result(id).await? {
        Some(response) => Ok(response),
        None => bail!("the job {id} has ended and is running again"),
    }
}

async fn save_result(client: &Client, id: &str, path: &Path, as_json: bool) -> anyhow::Result<()> {
    let response = result(client, id).await?;
    let bar = transfer_bar(response.content_length().unwrap_or(0), "receiving");
    let mut size = 0;
    let progress = |bytes| {
        size += bytes;
        bar.inc(bytes);
    };
    client.save(response, path, progress).await?;
    bar.finish_and_clear();
    notes::tell(as_json, &Note::new("saved", format!("{} saved in {}", bytes(size), path.display())));
    Ok(())
}

/// Prints a result as it is, unless it would only upset a terminal.
async fn print_result(client: &Client, id: &str) -> anyhow::Result<()> {
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

async fn save_artifacts(client: &Client, id: &str, folder: &Path, as_json: bool) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    let files = client.save_artifacts(id, folder, |name, _| bar.set_message(printable(name).into_owned())).await;
    bar.finish_and_clear();
    say_saved(files?.len(), folder, as_json);
    Ok(())
}

pub(super) fn say_saved(count: usize, folder: &Path, as_json: bool) {
    let sentence = format!("{} saved in {}", counted(count as u64, "file"), folder.display());
    notes::tell(as_json, &Note::new("saved", sentence));
}

/// Whether a terminal can show it.
pub(super) fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type.contains("json") || media_type.contains("xml")
}

pub(super) fn say_not_shown(size: u64, media_type: &str) {
    eprintln!("the result is {} of {}; save it with --output FILE", bytes(size), printable(media_type));
}
