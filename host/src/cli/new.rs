//! `dropforge new`: a plugin project to begin with.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::json;

use super::remote::say;
use crate::job::Kind;
use crate::scaffold::{self, Language};

#[derive(Debug, Args)]
pub(super) struct New {
    /// The kind, and the folder that is made: 1 to 63 of a-z, 0-9 and -
    #[arg(value_name = "NAME", value_parser = kind)]
    name: Kind,
    /// The language it is written in
    #[arg(long, short, value_enum, default_value = "rust")]
    lang: Language,
    /// The folder to make it in
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// Say what was written as JSON
    #[arg(long)]
    json: bool,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let here = self.into == Path::new(".");
        let project = if here { PathBuf::from(self.name.as_str()) } else { self.into.join(self.name.as_str()) };
        let files = scaffold::create(&self.into, &self.name, self.lang).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => anyhow!("{} is there already; choose another name", project.display()),
            _ => anyhow::Error::new(error).context(format!("cannot make the folder {}", project.display())),
        })?;
        if self.json {
            return say(&json!({"folder": project, "files": files}).to_string());
        }
        let mut lines =
            vec![format!("{} is a plugin that works; README.md there says what is what", project.display())];
        let short = |file: &Path| file.strip_prefix(&project).unwrap_or(file).display().to_string();
        lines.extend(files.iter().map(|file| format!("  {}", short(file))));
        lines.push(format!("next: cd {} && ./test", project.display()));
        say(&lines.join("\n"))
    }
}

fn kind(name: &str) -> anyhow::Result<Kind> {
    match Kind::new(name) {
        Some(kind) => Ok(kind),
        None => bail!("a kind has 1 to 63 of a-z, 0-9 and -, and does not begin with -; try {:?}", suggested(name)),
    }
}

/// The nearest name that can be one.
fn suggested(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(allowed).take(63).collect();
    let text = text.trim_matches('-');
    if text.is_empty() { "my-plugin".to_owned() } else { text.to_owned() }
}
