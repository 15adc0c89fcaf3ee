//! `dropforge run`: one job of a plugin file, without a host, and all there is to know about it.

mod made;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use console::style;
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::sync::Notify;

use self::made::{ended_job, listed, print, save, save_artifacts};
use super::bar::{self, job_bar, show};
use super::check;
use super::delivery::Delivery;
use super::exit::{Exit, NotTaken};
use super::input::Input;
use super::jobs::reported;
use super::logs::painted_line;
use super::notes::{self, Note};
use super::remote::say;
use super::text::counted;
use super::typed;
use super::wait::summary;
use crate::client::{JobView, Refusal};
use crate::config::{Config, Flags};
use crate::interrupts::Interrupts;
use crate::job::{Ended, Failure, JobId, Progress};
use crate::plugins::Plugin;
use crate::queue::{Finished, Submission};
use crate::running::{Running, Stop};
use crate::time::Time;
use crate::trial::Trial;

/// Log lines shown at a time; the host tells no more either.
const LINES_MAX: usize = 1_000;

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

/// A job that is about to run.
struct Begun {
    plugin: Arc<Plugin>,
    submission: Submission,
    /// Whether the plugin can read files, and there are none for it.
    lacks_files: bool,
}

impl Run {
    /// Ctrl-C stops the job as a cancel would; pressed twice, or before there is a job, it ends everything at once. Nothing is left
    /// behind either way.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let mut interrupts = Interrupts::listen()?;
        self.delivery.check()?;
        self.settings.as_deref().map_or(Ok(()), |path| typed::must_be_there("the settings", path))?;
        let config = Config::load(&Flags::default(), self.config.as_deref())?;
        check::tell_doubts(&config.doubts, self.json);
        let trial = Arc::new(Trial::prepare(&config)?);
        let begun = tokio::select! {
            begun = self.begin(&trial) => begun?,
            () = interrupts.next() => return Ok(self.abandon(&trial)),
        };
        let Begun { plugin, submission, lacks_files } = begun;

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
        let words = job["failure"]["message"].as_str().unwrap_or_default().to_ascii_lowercase();
        if lacks_files && words.contains("no such file") && !self.json {
            let hint = format!(
                "if it looked for files: no folder is granted; [[folders]] or scratch = true in {} does that",
                self.settings_of(&plugin).display()
            );
            eprintln!("{}", style(hint).dim());
        }
        Ok(if running.stop_requested().is_some() { Exit::Interrupted } else { exit })
    }

    fn abandon(&self, trial: &Trial) -> Exit {
        trial.abandon();
        notes::tell(self.json, &Note::new("interrupted", "interrupted; nothing is left of the job"));
        Exit::Interrupted
    }

    /// All that comes before the job runs.
    async fn begin(&self, trial: &Arc<Trial>) -> anyhow::Result<Begun> {
        let (plugin, lacks_files) = self.load(trial).await?;
        let (input, media_type) = self.input.read().await?;
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.input.query()).finish();
        let submitted = trial.submit(&plugin, &query, media_type, input.pieces().await?).await;
        input.tell_unread(self.json);
        match submitted {
            Ok(submission) => Ok(Begun { plugin, submission, lacks_files }),
            Err(document) => {
                let refusal = refusal(document);
                Err(match input.complaint_about(&refusal).await {
                    Some(complaint) => complaint.into(),
                    None => NotTaken(Box::new(refusal)).into(),
                })
            }
        }
    }

    /// Checks the file, and says all that is wrong with it; and whether it can read files and gets none.
    async fn load(&self, trial: &Arc<Trial>) -> anyhow::Result<(Arc<Plugin>, bool)> {
        let (file, toml, trial) = (self.plugin.clone(), self.settings.clone(), Arc::clone(trial));
        check::must_be_file(&file)?;
        let checked = check::with_spinner("the plugin", move || trial.check_to_run(&file, toml.as_deref())).await?;
        let file = self.plugin.display().to_string();
        let verdict = checked.with_context(|| format!("cannot run {file}"))?;
        match &verdict.result {
            Ok(plugin) => {
                let settings = self.settings_of(plugin);
                let doubts = plugin.settings.doubts.iter().map(|doubt| format!("{}: {doubt}", settings.display()));
                check::tell_doubts(&doubts.collect::<Vec<_>>(), self.json);
                let has_files = plugin.settings.scratch || !plugin.settings.folders.is_empty();
                Ok((Arc::clone(plugin), !has_files && !verdict.examination.needs.files.is_empty()))
            }
            Err(reason) if verdict.blames_settings => bail!("the settings cannot be used: {reason}"),
            Err(reason) if self.json => bail!("{file} cannot be used: {reason}"),
            Err(_) => bail!("{}", check::as_text(&file, &verdict)),
        }
    }

    /// The file of settings that counts, whether or not it is there.
    fn settings_of(&self, plugin: &Plugin) -> PathBuf {
        let beside = || self.plugin.with_file_name(format!("{}.toml", plugin.kind));
        self.settings.clone().unwrap_or_else(beside)
    }

    fn deliver(&self, job: &Value, plugin: &Plugin, finished: Finished) -> anyhow::Result<Exit> {
        let mut view: JobView = serde_json::from_value(job.clone()).context("the job cannot be shown")?;
        if let Some(folder) = &self.delivery.save_artifacts
            && !finished.artifacts.is_empty()
        {
            save_artifacts(&finished.artifacts, folder, self.json)?;
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
        if let Some(failure) = &mut view.failure {
            // What it wrote was shown as it came.
            failure.message.truncate(failure.message.find(Failure::LAST_WORDS).unwrap_or(failure.message.len()));
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

fn refusal(document: Vec<u8>) -> Refusal {
    let document = String::from_utf8_lossy(&document).into_owned();
    let refusal: Refusal = serde_json::from_str(&document).unwrap_or_default();
    Refusal { document, ..refusal }
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
