//! `dropforge check`: what the plugin folder would say about a file.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::exit::{self, Exit};
use super::notes::{self, Note};
use super::text::{self, bytes};
use crate::config::{Config, Flags};
use crate::interrupts::Interrupts;
use crate::job::printable;
use crate::plugins::{Plugin, Verdict};
use crate::time::Span;
use crate::trial::Trial;

/// Between two signs of life.
const TICK: Duration = Duration::from_millis(100);
/// A longer answer is cut.
const TEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The plugin files; settings beside each, NAME.toml, are checked as well
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// TOML file with the settings of the host it is for
    #[arg(long, value_name = "FILE", env = "DROPFORGE_CONFIG")]
    config: Option<PathBuf>,
    /// Say it as JSON, a line for each file
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Checks every file, and ends like the first that cannot be used. Ctrl-C leaves nothing behind.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let mut interrupts = Interrupts::listen()?;
        let config = Config::load(&Flags::default(), self.config.as_deref())?;
        tell_doubts(&config.doubts, self.json);
        let trial = Arc::new(Trial::prepare(&config)?);
        tokio::select! {
            exit = self.check_all(&trial) => Ok(exit),
            () = interrupts.next() => {
                trial.abandon();
                notes::tell(self.json, &Note::new("interrupted", "interrupted; files of which nothing was said were not checked"));
                Ok(Exit::Interrupted)
            }
        }
    }

    async fn check_all(&self, trial: &Arc<Trial>) -> Exit {
        let mut exit = Exit::Success;
        for file in &self.files {
            let checked = self.check(file, trial).await.unwrap_or_else(|error| {
                exit::tell(&error, self.json);
                Exit::of(&error)
            });
            if exit == Exit::Success {
                exit = checked;
            }
        }
        exit
    }

    /// Fails if the file cannot be used. The answer says why, once.
    async fn check(&self, path: &Path, trial: &Arc<Trial>) -> anyhow::Result<Exit> {
        must_be_file(path)?;
        let (file, path, trial) = (path.display().to_string(), path.to_owned(), Arc::clone(trial));
        let verdict = with_spinner(&file, move || trial.check(&path)).await?;
        let verdict = verdict.with_context(|| format!("cannot check {file}"))?;
        let mut output = stdout().lock();
        if self.json {
            writeln!(output, "{}", as_json(&file, &verdict))?;
        } else {
            output.write_all(as_text(&file, &verdict).as_bytes())?;
        }
        Ok(if verdict.result.is_ok() { Exit::Success } else { Exit::Failure })
    }
}

/// Checks something with a sign of life on a terminal: compiling takes a while, and asking the plugin what it is needs a thread that
/// waits.
pub(super) async fn with_spinner(
    what: &str,
    check: impl FnOnce() -> std::io::Result<Verdict> + Send + 'static,
) -> anyhow::Result<std::io::Result<Verdict>> {
    let bar = ProgressBar::new_spinner().with_message(format!("checking and compiling {}", text::printable(what)));
    bar.enable_steady_tick(TICK);
    let checked = tokio::task::spawn_blocking(check).await;
    bar.finish_and_clear();
    Ok(checked?)
}

/// Says what is valid and may not be meant.
pub(super) fn tell_doubts(doubts: &[String], as_json: bool) {
    doubts.iter().for_each(|doubt| notes::tell(as_json, &Note::new("doubt", format!("is this meant? {doubt}"))));
}

/// A name that leads nowhere is the most common mistake, and has nothing to do with plugins.
pub(super) fn must_be_file(path: &Path) -> anyhow::Result<()> {
    let found = std::fs::metadata(path)
        .with_context(|| format!("cannot read {}; name a plugin file, such as plugins/NAME.wasm", path.display()))?;
    if found.is_dir() {
        bail!("{} is a folder; name a plugin file in it, such as {}", path.display(), path.join("NAME.wasm").display());
    }
    Ok(())
}

pub(super) fn as_json(file: &str, verdict: &Verdict) -> Value {
    let about = verdict.result.as_ref().ok().map(|plugin| &plugin.description);
    json!({
        "file": file,
        "usable": verdict.result.is_ok(),
        "kind": verdict.kind,
        "shape": verdict.examination.shape,
        "digest": verdict.digest,
        "same_as": verdict.same_as,
        "summary": about.map(|about| &about.summary),
        "version": about.map(|about| &about.version),
        "limits": verdict.result.as_ref().ok().map(|plugin| json!({
            "timeout_ms": Span(plugin.limits.timeout),
            "timeout_ms_max": Span(plugin.timeout_max()),
            "memory_bytes": plugin.limits.memory_bytes,
            "output_bytes": plugin.limits.output_bytes,
        })),
        "doubts": verdict.result.as_ref().ok().map(|plugin| &plugin.settings.doubts),
        "reason": verdict.result.as_ref().err(),
        "blames": verdict.result.as_ref().err().map(|_| if verdict.blames_settings { "settings" } else { "file" }),
        "problems": verdict.examination.problems,
        "may_need": verdict.examination.needs,
    })
}

/// What a plugin says of itself, and what its jobs may use: as the settings were understood.
fn about(plugin: &Plugin) -> Vec<String> {
    let summary = &plugin.description.summary;
    let mut lines = Vec::new();
    if !summary.is_empty() {
        lines.push(format!("  summary: {summary}"));
    }
    let limits = plugin.limits;
    lines.push(format!(
        "  limits of a job: timeout {} (it may ask for up to {}), memory {}, result and artifacts {}",
        Span(limits.timeout),
        Span(plugin.timeout_max()),
        bytes(limits.memory_bytes),
        bytes(limits.output_bytes),
    ));
    lines.extend(plugin.settings.doubts.iter().map(|doubt| format!("  is this meant? {}.toml: {doubt}", plugin.kind)));
    lines
}

pub(super) fn as_text(file: &str, verdict: &Verdict) -> String {
    let mut lines = vec![match &verdict.result {
        Ok(plugin) => format!("{file}: can be used, as kind {}", plugin.kind),
        Err(_) if verdict.blames_settings => format!("{file}: cannot be used with these settings"),
        Err(_) => format!("{file}: cannot be used"),
    }];
    if let Some(shape) = verdict.examination.shape {
        lines.push(format!("  shape: {}", shape.as_str()));
    }
    if let Some(digest) = &verdict.digest {
        lines.push(format!("  digest: {digest}"));
    }
    if !verdict.same_as.is_empty() {
        let others = verdict.same_as.join(", ");
        lines.push(format!("  the same file as: {others}; each is a kind of its own, with settings of its own"));
    }
    match &verdict.result {
        Ok(plugin) => lines.extend(about(plugin)),
        Err(reason) => {
            lines.extend(verdict.examination.problems.iter().map(|problem| format!("  - {problem}")));
            // Found later: by the compiler, the linker, the plugin itself, or in the name or the settings.
            if verdict.examination.reason().as_ref() != Some(reason) {
                // More lines of it go below its first: what a guest wrote is not to look like what the check says.
                lines.push(format!("  - {}", reason.replace('\n', "\n      ")));
            }
        }
    }
    for (what, imports, grant) in verdict.examination.needs.list() {
        let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
        lines.push(format!(
            "  may need {what}, if it uses what it imports ({}): grant it with {grant}",
            imports.join(", ")
        ));
    }
    // A terminal does what control characters say, and names come from the file.
    printable(lines.join("\n") + "\n", "\n", TEXT_BYTES_MAX)
}
