//! `dropforge verify | export | import | compact`: a data folder without a host.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::exit::{Complaint, Exit};
use super::text::counted;
use super::typed;
use crate::{store, tokens};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The data folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Say what was found as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Fails, so that the exit code says it, if anything is wrong.
    pub(super) fn run(self) -> anyhow::Result<()> {
        typed::must_be_there("the data folder", &self.folder)?;
        let bar = bar();
        let mut verdict = store::verify(&self.folder, |looked_at, total| {
            bar.set_length(total);
            bar.set_position(looked_at);
        })?;
        verdict.problems.extend(tokens::list(self.folder.clone()).err().map(|error| error.to_string()));
        bar.finish_and_clear();
        let mut output = stdout().lock();
        if self.json {
            let found = json!({
                "jobs": verdict.jobs, "succeeded": verdict.succeeded, "failed": verdict.failed,
                "cancelled": verdict.cancelled, "pending": verdict.pending,
                "checkpoints": verdict.checkpoints, "webhooks": verdict.webhooks, "blobs": verdict.blobs,
                "unnamed_blobs": verdict.unnamed_blobs, "problems": verdict.problems,
            });
            writeln!(output, "{found}")?;
        } else {
            for problem in &verdict.problems {
                writeln!(output, "{problem}")?;
            }
            writeln!(
                output,
                "{} = {} succeeded + {} failed + {} cancelled + {} pending; {}, {}, {}",
                counted(verdict.jobs, "job"),
                verdict.succeeded,
                verdict.failed,
                verdict.cancelled,
                verdict.pending,
                counted(verdict.checkpoints, "checkpoint"),
                counted(verdict.blobs, "blob"),
                counted(verdict.webhooks, "webhook")
            )?;
        }
        match verdict.problems.len() {
            0 => Ok(()),
            count => {
                bail!("{} in {}; restore it from a backup", counted(count as u64, "problem"), self.folder.display())
            }
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The data folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file to write, which must not exist; - for standard output
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Say what was written as JSON, on standard error
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(super) fn run(self) -> anyhow::Result<()> {
        must_be_data_folder(&self.folder)?;
        let jobs = if self.file == Path::new("-") {
            store::export(&self.folder, &mut BufWriter::new(stdout().lock()))?
        } else {
            let file = File::create_new(&self.file).with_context(|| format!("cannot make {}", self.file.display()))?;
            let mut output = BufWriter::new(file);
            let jobs = store::export(&self.folder, &mut output)?;
            output.into_inner().map_err(|error| error.into_error())?.sync_all()?;
            jobs
        };
        if self.json {
            writeln!(std::io::stderr(), "{}", json!({"jobs": jobs}))?;
        } else {
            writeln!(std::io::stderr(), "exported {}", counted(jobs, "job"))?;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The export; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder to make; it must be empty or not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Say what was read as JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut input: Box<dyn BufRead> = if self.file == Path::new("-") {
            Box::new(stdin().lock())
        } else {
            let file = File::open(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
            Box::new(BufReader::new(file))
        };
        let was_there = self.folder.join("db").exists();
        let jobs = store::import(&self.folder, &mut input).map_err(anyhow::Error::from).map_err(|error| {
            // Whoever has mended the export would be told that the folder is not empty.
            let is_left = !was_there && self.folder.join("db").exists();
            if is_left { incomplete(&error, &self.folder).into() } else { error }
        })?;
        if self.json {
            writeln!(stdout(), "{}", json!({"jobs": jobs, "folder": self.folder}))?;
        } else {
            writeln!(std::io::stderr(), "imported {} into {}", counted(jobs, "job"), self.folder.display())?;
        }
        Ok(())
    }
}

fn incomplete(error: &anyhow::Error, folder: &Path) -> Complaint {
    Complaint {
        exit: Exit::of(error),
        code: "error",
        title: "The command failed",
        detail: format!("{error:#}"),
        advice: Some(format!("delete {}, which is incomplete, before the import is tried again", folder.display())),
    }
}

#[derive(Debug, Args)]
pub(super) struct Compact {
    /// The data folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Say what it was and is as JSON
    #[arg(long)]
    json: bool,
}

impl Compact {
    pub(super) fn run(self) -> anyhow::Result<()> {
        must_be_data_folder(&self.folder)?;
        let bar = bar();
        let (before, after) = store::compact(&self.folder, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        if self.json {
            writeln!(stdout(), "{}", json!({"bytes_before": before, "bytes_now": after}))?;
        } else {
            writeln!(stdout(), "{before} bytes before, {after} bytes now")?;
        }
        Ok(())
    }
}

/// Opening makes a folder; a misspelt name must not.
fn must_be_data_folder(folder: &Path) -> anyhow::Result<()> {
    typed::must_be_there("the data folder", folder)?;
    if !folder.join("db").is_dir() {
        bail!("{} is no data folder: it has no db in it", folder.display());
    }
    Ok(())
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("  {wide_bar} {pos}/{len} records  {eta}");
    let bar = ProgressBar::new(0);
    // The template is a constant that the library has accepted before.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
