//! What a job without a host made: shown as a host would, printed, saved.

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;

use anyhow::Context;
use console::style;
use serde_json::{Value, json};

use crate::cli::delivery::{is_text, say_not_shown, say_saved};
use crate::cli::text::{bytes, counted, printable};
use crate::client::{NewFile, path_in};
use crate::job::{Backoff, Ended, Job, JobId, Progress};
use crate::plugins::Plugin;
use crate::queue::Finished;
use crate::store::{Artifact, Content};
use crate::time::Time;

/// Artifacts named in the answer for people.
const NAMED_MAX: usize = 5;
/// A file is written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// The job as a host would show it once it has ended, and what it made.
pub(super) fn ended_job(
    id: JobId,
    plugin: &Plugin,
    started_at: Time,
    finished: &Finished,
    progress: Progress,
) -> Value {
    let now = Time::now();
    let job = Job {
        max_attempts: 1,
        started_at: Some(started_at),
        progress,
        ..Job::new(id, plugin.kind.clone(), started_at)
    };
    let job = match finished.ended.clone() {
        // There is no host that could stop but this one.
        Ended::Interrupted => job.cancelled(now),
        ended => job.after_attempt(ended, Backoff { first: Default::default(), longest: Default::default() }, 0.0, now),
    };
    let mut usage = finished.usage.clone();
    usage.attempt = 1;
    let content = |media_type: &str, content: &Content| json!({"media_type": media_type, "size": content.size(), "sha256": hex::encode(content.sha256())});
    let artifact = |artifact: &Artifact| {
        let mut described = content(&artifact.payload.media_type, &artifact.payload.content);
        described["name"] = json!(artifact.name);
        described
    };
    let mut job = json!(job);
    job["usage"] = json!([usage]);
    job["result"] = json!(finished.output.as_ref().map(|output| content(&output.media_type, &output.content)));
    job["artifacts"] = finished.artifacts.iter().map(artifact).collect();
    job
}

/// The files that a job made, some of them by name.
pub(super) fn listed(artifacts: &[Artifact]) -> String {
    let count = artifacts.len();
    let named = artifacts.iter().take(NAMED_MAX).map(|artifact| {
        format!("{} {}", printable(&artifact.name), style(bytes(artifact.payload.content.size())).dim())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = if count > NAMED_MAX { ", …" } else { "" };
    format!("{} {} made: {named}{more}", counted(count as u64, "file"), if count == 1 { "was" } else { "were" })
}

/// Prints a result as it is, unless it would only upset a terminal.
pub(super) fn print(media_type: &str, content: &Content) -> anyhow::Result<()> {
    let to_terminal = stdout().is_terminal();
    if to_terminal && !is_text(media_type) {
        say_not_shown(content.size(), media_type);
        return Ok(());
    }
    let mut output = stdout().lock();
    copy(content, &mut output)?;
    if to_terminal {
        output.write_all(b"\n")?;
    }
    Ok(output.flush()?)
}

/// Saves the files that a job made.
pub(super) fn save_artifacts(artifacts: &[Artifact], folder: &Path, as_json: bool) -> anyhow::Result<()> {
    for artifact in artifacts {
        save(&artifact.payload.content, &path_in(folder, &artifact.name)?)?;
    }
    say_saved(artifacts.len(), folder, as_json);
    Ok(())
}

/// Saves a content in a file, which is there when it is whole.
pub(super) fn save(content: &Content, path: &Path) -> anyhow::Result<()> {
    let mut file = NewFile::create(path)?;
    copy(content, &mut file).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.keep()?)
}

fn copy(content: &Content, to: &mut impl Write) -> std::io::Result<()> {
    let mut reader = content.open(0)?;
    loop {
        let piece = reader.next_chunk(PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(());
        }
        to.write_all(&piece)?;
    }
}
