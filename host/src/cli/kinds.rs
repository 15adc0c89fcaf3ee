//! Commands about what a host can run: its kinds and its plugin files.

use std::fmt::Write;

use clap::Args;
use console::style;
use reqwest::Method;
use serde_json::Value;

use super::exit::Exit;
use super::remote::{Remote, say};
use super::text::{painted, paragraph, printable, table};
use crate::client::view::{KindView, Kinds as KindList, PluginFiles};

#[derive(Debug, Args)]
pub(super) struct Kinds {
    /// Show all about this one: what it reads, limits, an example
    #[arg(value_name = "KIND")]
    kind: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// A kind and the host that serves it.
#[derive(Debug, Args)]
pub(super) struct OneKind {
    /// The kind
    #[arg(value_name = "KIND")]
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
            (false, None) => listed(&client.parse::<KindList>(&answer)?.kinds),
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
                let twins = Some(file.same_as.join(", ")).filter(|twins| !twins.is_empty());
                let twins = twins.map(|twins| format!("the same file as: {twins}"));
                let notes: Vec<String> = file.reason.clone().into_iter().chain(twins).collect();
                vec![printable(&file.file).into_owned(), painted(&file.state), paragraph(&notes.join("; "), "")]
            })
            .collect();
        let about_folder =
            reason.map(|reason| format!("{}\n", style(paragraph(&reason, "")).red())).unwrap_or_default();
        say(&(table(&["FILE", "STATE", "REASON"], &rows) + &about_folder))?;
        Ok(Exit::Success)
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
    if let Some(input) = kind["examples"].get(0).map(|example| &example["input"]).filter(|input| !input.is_null()) {
        let input = input.to_string().replace('\'', "'\\''");
        let _ = write!(
            text,
            "\n{}\n  dropforge submit {name} --wait --input '{}'\n",
            style("try").bold(),
            printable(&input)
        );
    }
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
