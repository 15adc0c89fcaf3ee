//! Commands about what a host can run: its kinds and its plugin files.

use std::fmt::Write;

use clap::Args;
use console::style;
use reqwest::Method;
use serde_json::Value;

use super::exit::Exit;
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::{bytes, duration, painted, paragraph, printable, table};
use super::typed;
use crate::client::view::{KindView, Kinds as KindList, PluginFiles};
use crate::time::Time;

#[derive(Debug, Args)]
pub(super) struct Kinds {
    /// Show all about this one: what it reads, limits, an example
    #[arg(value_name = "KIND", value_parser = typed::name)]
    kind: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// A kind and the host that serves it.
#[derive(Debug, Args)]
pub(super) struct OneKind {
    /// The kind
    #[arg(value_name = "KIND", value_parser = typed::name)]
    kind: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Plugins {
    #[command(flatten)]
    remote: Remote,
}

impl Kinds {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let path: Vec<&str> = ["v1", "kinds"].into_iter().chain(self.kind.as_deref()).collect();
        let answer = client.text(client.request(Method::GET, &path)).await?;
        let text = match (self.remote.json, &self.kind) {
            (true, _) => answer,
            (false, None) => {
                let kinds = client.parse::<KindList>(&answer)?.kinds;
                if kinds.is_empty() {
                    let sentence = "no kind serves yet; `dropforge plugins` says what became of each plugin file";
                    notes::tell(false, &Note::new("no_kinds", sentence));
                    return Ok(Exit::Success);
                }
                listed(&kinds)
            }
            (false, Some(_)) => described(&client.parse(&answer)?),
        };
        say(&text)?;
        Ok(Exit::Success)
    }
}

impl Plugins {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let answer = client.text(client.request(Method::GET, &["v1", "plugins"])).await?;
        if self.remote.json {
            say(&answer)?;
            return Ok(Exit::Success);
        }
        let PluginFiles { plugins: files, reason } = client.parse(&answer)?;
        let rows: Vec<Vec<String>> = files
            .iter()
            .map(|file| {
                let step = file.step.as_deref().map(|step| step_in_words(step).to_owned());
                let twins = Some(file.same_as.join(", ")).filter(|twins| !twins.is_empty());
                let twins = twins.map(|twins| format!("the same file as: {twins}"));
                let before = file.serves_instead.as_ref().map(|_| "the last good version goes on serving".to_owned());
                // First, as a reason may have many lines.
                let notes: Vec<String> =
                    before.into_iter().chain(step).chain(file.reason.clone()).chain(twins).collect();
                vec![
                    printable(&file.file).into_owned(),
                    painted(&file.state),
                    file.since.map(|since| duration(Time::now().since(since))).unwrap_or_default(),
                    bytes(file.size),
                    paragraph(&notes.join("; "), ""),
                ]
            })
            .collect();
        let about_folder =
            reason.map(|reason| format!("{}\n", style(paragraph(&reason, "")).red())).unwrap_or_default();
        if rows.is_empty() && about_folder.is_empty() {
            let sentence = "no plugin files; put NAME.wasm into the host's plugin folder, and NAME is a kind";
            notes::tell(false, &Note::new("no_plugins", sentence));
            return Ok(Exit::Success);
        }
        say(&(table(&["FILE", "STATE", "FOR", "SIZE", "NOTE"], &rows) + &about_folder))?;
        Ok(Exit::Success)
    }
}

/// A step of the way to serving, for people.
fn step_in_words(step: &str) -> &str {
    match step {
        "settling" => "is complete once nothing has happened to it for a moment",
        "waiting" => "waits for others to be compiled",
        "compiling" => "is being compiled",
        "describing" => "is asked what it does",
        other => other,
    }
}

impl OneKind {
    /// `dropforge pause` and `dropforge resume`.
    pub(super) async fn post(self, verb: &str) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let answer = client.text(client.request(Method::POST, &["v1", "kinds", &self.kind, verb])).await?;
        if self.remote.json {
            say(&answer)?;
        } else {
            say(&format!("{}: {verb}d", printable(&self.kind)))?;
        }
        Ok(Exit::Success)
    }
}

fn listed(kinds: &[KindView]) -> String {
    let count = |kind: &KindView, state: &str| kind.counts.get(state).copied().unwrap_or(0).to_string();
    let rows: Vec<Vec<String>> = kinds
        .iter()
        .map(|kind| {
            let paused = if kind.paused { style(" (paused)").yellow().to_string() } else { String::new() };
            vec![
                format!("{}{paused}", printable(&kind.kind)),
                printable(&kind.version).into_owned(),
                count(kind, "queued"),
                count(kind, "running"),
                count(kind, "succeeded"),
                count(kind, "failed"),
                printable(&kind.summary).into_owned(),
            ]
        })
        .collect();
    table(&["KIND", "VERSION", "QUEUED", "RUNNING", "DONE", "FAILED", "WHAT IT DOES"], &rows)
}

/// Everything a client has to know, in the order of need.
fn described(kind: &Value) -> String {
    let name = printable(kind["kind"].as_str().unwrap_or_default());
    let summary = printable(kind["summary"].as_str().unwrap_or_default());
    let mut text = format!("{} {summary}\n", style(&name).bold());
    section(&mut text, "reads", &kind["input"]);
    section(&mut text, "parameters", &kind["parameters"]);
    section(&mut text, "gives", &kind["output"]);
    section(&mut text, "limits", &kind["limits"]);
    let reads_json = !kind["input"]["schema"].is_null();
    let example = kind["examples"].get(0).map(|example| &example["input"]).filter(|input| !input.is_null());
    let input = match example {
        Some(input) => format!("--wait --input '{}'", printable(&input.to_string().replace('\'', "'\\''"))),
        None if reads_json => "--wait --input JSON".to_owned(),
        None => "FILE --wait".to_owned(),
    };
    let _ = writeln!(text, "\n{}\n  dropforge submit {name} {input}", style("try").bold());
    text
}

/// Writing into a `String` cannot fail.
fn section(text: &mut String, title: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    let _ = writeln!(text, "\n{}", style(title).bold());
    for line in serde_json::to_string_pretty(value).unwrap_or_default().lines() {
        let _ = writeln!(text, "  {}", printable(line));
    }
}
