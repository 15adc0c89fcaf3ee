//! `dropforge run`: one job of a plugin file, without a host, and all there is to know about it.

use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use console::style;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::bar::{self, job_bar, show};
use super::check;
use super::delivery::{Delivery, is_text, say_not_shown, say_saved};
use super::exit::{Exit, NotTaken};
use super::input::Input;
use super::interrupt::Interrupts;
use super::jobs::reported;
use super::logs::painted_line;
use super::notes::{self, Note};
use super::remote::say;
use super::text::{bytes, counted, printable};
use super::wait::summary;
use crate::client::{JobView, NewFile, Refusal, path_in};
use crate::config::{Config, Flags};
use crate::job::{Backoff, Ended, Job, JobId, Progress};
use crate::plugins::Plugin;
use crate::queue::{Finished, Submission};
use crate::running::{Running, Stop};
use crate::store::{Artifact, Content};
use crate::time::Time;
use crate::trial::Trial;

/// Log lines shown at a time; the host tells no more either.
const LINES_MAX: usize = 1_000;
/// Artifacts named in the answer for people.
const NAMED_MAX: usize = 5;
/// A file is written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The plugin file
    #[arg(value_name = "PLUGIN")]
    plugin: PathBuf,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    delivery: Delivery,
    /// Settings of the kind: limits and grants [default: NAME.toml beside the plugin file, if it is there]
    #[arg(long, value_name = "NAME.toml")]
    settings: Option<PathBuf>,
    /// TOML file with the settings of the host it is for
    #[arg(long, value_name = "FILE", env = "DROPFORGE_CONFIG")]
    config: Option<PathBuf>,
    /// Say what became of the job as JSON; the result only goes to --output
    #[arg(long)]
    json: bool,
}

impl Run {
    /// Ctrl-C stops the job as a cancel would; pressed twice, or before there is a job, it ends everything at once. Nothing is left
    /// behind either way.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let mut interrupts = Interrupts::listen()?;
        let config = Config::load(&Flags::default(), self.config.as_deref())?;
        let trial = Arc::new(Trial::prepare(&config, cache_folder())?);
        let begun = tokio::select! {
            begun = self.begin(&trial) => begun?,
            () = interrupts.next() => return Ok(self.abandon(&trial)),
        };
        let (plugin, submission) = begun;

        let (id, started_at) = (JobId::now_v7(), Time::now());
        let news = Arc::new(Notify::new());
        let running = Arc::new(Running::new(Arc::clone(&news)));
        let bar = job_bar().with_prefix("running");
        let mut job = std::pin::pin!(trial.run(id, Arc::clone(&plugin), submission, Arc::clone(&running)));
        let finished = loop {
            tokio::select! {
                finished = &mut job => break finished,
                () = news.notified() => tell(&bar, &running),
                () = interrupts.next() => {
                    if running.stop_requested().is_some() {
                        return Ok(self.abandon(&trial));
                    }
                    running.stop(Stop::Cancelled);
                }
            }
        }?;
        tell(&bar, &running);
        let job = ended_job(id, &plugin, started_at, &finished, running.progress());
        bar::end(&bar, job["state"].as_str().unwrap_or_default());
        let exit = self.deliver(&job, &plugin, finished)?;
        Ok(if running.stop_requested().is_some() { Exit::Interrupted } else { exit })
    }

    fn abandon(&self, trial: &Trial) -> Exit {
        trial.abandon();
        notes::tell(self.json, &Note::new("interrupted", "interrupted; nothing is left of the job"));
        Exit::Interrupted
    }

    /// All that comes before the job runs.
    async fn begin(&self, trial: &Arc<Trial>) -> anyhow::Result<(Arc<Plugin>, Submission)> {
        let plugin = self.load(trial).await?;
        let (input, media_type) = self.input.read().await?;
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.input.query()).finish();
        let submission = trial.submit(&plugin, &query, media_type, input.pieces().await?).await.map_err(not_taken)?;
        Ok((plugin, submission))
    }

    /// Checks the file, and says all that is wrong with it.
    async fn load(&self, trial: &Arc<Trial>) -> anyhow::Result<Arc<Plugin>> {
        let (file, toml, trial) = (self.plugin.clone(), self.settings.clone(), Arc::clone(trial));
        check::must_be_file(&file)?;
        let bar = ProgressBar::new_spinner().with_message("checking and compiling the plugin");
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        // Compiling takes a while, and asking the plugin what it is needs a thread that waits.
        let check = move || trial.check(&file, toml.as_deref());
        let checked = tokio::task::spawn_blocking(check).await?;
        bar.finish_and_clear();
        let file = self.plugin.display().to_string();
        let verdict = checked.with_context(|| format!("cannot run {file}"))?;
        match &verdict.result {
            Ok(plugin) => Ok(Arc::clone(plugin)),
            Err(reason) if self.json => bail!("{file} cannot be used: {reason}"),
            Err(_) => {
                eprint!("{}", check::as_text(&file, &verdict));
                bail!("{file} cannot be used")
            }
        }
    }

    fn deliver(&self, job: &Value, plugin: &Plugin, finished: Finished) -> anyhow::Result<Exit> {
        let view: JobView = serde_json::from_value(job.clone()).context("the job cannot be shown")?;
        if let Some(folder) = &self.delivery.save_artifacts
            && !finished.artifacts.is_empty()
        {
            save_artifacts(&finished.artifacts, folder)?;
        }
        match (&finished.output, &self.delivery.output) {
            (Some(output), Some(path)) => save(&output.content, path)?,
            (Some(output), None) if !self.json => print(&output.media_type, &output.content)?,
            _ => {}
        }
        if self.json {
            say(&job.to_string())?;
            return Ok(Exit::of_state(&view.state));
        }
        if self.delivery.save_artifacts.is_none() && !finished.artifacts.is_empty() {
            eprintln!("{}; --save-artifacts DIR keeps them", listed(&finished.artifacts));
        }
        eprintln!("{}", summary(&view));
        if view.state == "failed" && matches!(&finished.ended, Ended::Failed(failure, _) if failure.retryable) {
            let most = plugin.max_attempts();
            eprintln!("{}", style(format!("a host would try this again, up to {most} attempts in all")).dim());
        }
        eprint!("{}", view.usage.iter().map(reported).collect::<String>());
        Ok(Exit::of_state(&view.state))
    }
}

/// Where compiled code of the file that was tried last is kept for this user.
fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("dropforge");
    // Without it, every run compiles anew.
    std::fs::create_dir_all(&caches).ok().map(|()| caches.join("compiled"))
}

fn not_taken(document: Vec<u8>) -> anyhow::Error {
    let document = String::from_utf8_lossy(&document).into_owned();
    let refusal: Refusal = serde_json::from_str(&document).unwrap_or_default();
    NotTaken(Box::new(Refusal { document, ..refusal })).into()
}

/// Shows what the job has said since it was last asked.
fn tell(bar: &ProgressBar, running: &Running) {
    let news = running.news(LINES_MAX);
    if news.left_out > 0 {
        bar.suspend(|| eprintln!("{}", style(format!("({} left out)", counted(news.left_out, "line"))).dim()));
    }
    for line in news.lines {
        bar.suspend(|| eprintln!("{}", painted_line(line.level.unwrap_or_default(), &line.message)));
    }
    if let Some(Progress { fraction, message }) = news.progress {
        show(bar, fraction, &message);
    }
}

/// The job as a host would show it once it has ended, and what it made.
fn ended_job(id: JobId, plugin: &Plugin, started_at: Time, finished: &Finished, progress: Progress) -> Value {
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

fn listed(artifacts: &[Artifact]) -> String {
    let count = artifacts.len();
    let named = artifacts.iter().take(NAMED_MAX).map(|artifact| {
        format!("{} {}", printable(&artifact.name), style(bytes(artifact.payload.content.size())).dim())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = if count > NAMED_MAX { ", …" } else { "" };
    format!("{} {} made: {named}{more}", counted(count as u64, "file"), if count == 1 { "was" } else { "were" })
}

fn print(media_type: &str, content: &Content) -> anyhow::Result<()> {
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

fn save_artifacts(artifacts: &[Artifact], folder: &Path) -> anyhow::Result<()> {
    for artifact in artifacts {
        save(&artifact.payload.content, &path_in(folder, &artifact.name)?)?;
    }
    say_saved(artifacts.len(), folder);
    Ok(())
}

fn save(content: &Content, path: &Path) -> anyhow::Result<()> {
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
