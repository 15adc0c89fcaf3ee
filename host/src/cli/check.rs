//! `dropforge check`: what the plugin folder would say about a file.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::config::{Config, Flags};
use crate::job::printable;
use crate::plugins::{self, Verdict};
use crate::server;

/// A longer answer is cut.
const TEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The plugin file; settings beside it, NAME.toml, are checked as well
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// TOML file with the settings of the host it is for
    #[arg(long, value_name = "FILE", env = "DROPFORGE_CONFIG")]
    config: Option<PathBuf>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Fails, so that the exit code says it, if the file cannot be used.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&Flags::default(), self.config.as_deref())?;
        must_be_file(&self.file)?;
        let file = self.file.display().to_string();
        // Compiling takes a while, and asking the plugin what it is needs a thread that waits.
        let check = move || plugins::check(&self.file, server::plugin_settings(&config));
        let verdict = tokio::task::spawn_blocking(check).await?;
        let verdict = verdict.with_context(|| format!("cannot check {file}"))?;
        let mut output = stdout().lock();
        if self.json {
            writeln!(output, "{}", as_json(&file, &verdict))?;
        } else {
            output.write_all(as_text(&file, &verdict).as_bytes())?;
        }
        match verdict.result {
            Ok(_) => Ok(()),
            Err(_) => bail!("{file} cannot be used"),
        }
    }
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
        "reason": verdict.result.as_ref().err(),
        "problems": verdict.examination.problems,
        "may_need": verdict.examination.needs,
    })
}

pub(super) fn as_text(file: &str, verdict: &Verdict) -> String {
    let mut lines = vec![match &verdict.result {
        Ok(plugin) => format!("{file}: can be used, as kind {}", plugin.kind),
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
        Ok(plugin) if !plugin.description.summary.is_empty() => {
            lines.push(format!("  summary: {}", plugin.description.summary));
        }
        Ok(_) => {}
        Err(reason) => {
            lines.extend(verdict.examination.problems.iter().map(|problem| format!("  - {problem}")));
            // Found later: by the compiler, the linker, the plugin itself, or in the name or the settings.
            if verdict.examination.reason().as_ref() != Some(reason) {
                lines.push(format!("  - {reason}"));
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
