//! `dropforge logs`: what a job's attempts wrote, once or as they write it.

use clap::Args;
use console::{Style, style};
use reqwest::Method;
use serde::Deserialize;

use super::exit::Exit;
use super::remote::{Remote, say};
use super::text::printable;
use crate::client::{Client, ClientError};

/// The host cuts lines far below this.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    /// Go on until the job has ended
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize)]
struct Line {
    attempt: u32,
    at: Option<String>,
    level: Option<String>,
    message: String,
}

impl Logs {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let query: &[(&str, &str)] = if self.follow { &[("follow", "true")] } else { &[] };
        let request = client.request_with(Method::GET, &["v1", "jobs", &self.id, "logs"], query);
        let mut response = client.send(request.header("accept", "application/x-ndjson")).await?;
        let mut received = Vec::new();
        while let Some(chunk) = client.chunk(&mut response).await? {
            received.extend_from_slice(&chunk);
            while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = received.drain(..=end).collect();
                self.print(&client, &String::from_utf8_lossy(&line))?;
            }
            if received.len() > LINE_BYTES_MAX {
                let reason = format!("a line of more than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::NotUnderstood(client.url().to_owned(), reason).into());
            }
        }
        Ok(Exit::Success)
    }

    fn print(&self, client: &Client, line: &str) -> anyhow::Result<()> {
        if self.remote.json {
            return say(line);
        }
        let Line { attempt, at, level, message } = client.parse(line)?;
        let at = at.unwrap_or_default();
        let start = style(format!("{attempt} {}", printable(&at))).dim();
        say(&format!("{start} {}", painted_line(level.as_deref().unwrap_or_default(), &message)))
    }
}

/// A line with its level in the level's colour.
pub(super) fn painted_line(level: &str, message: &str) -> String {
    let colour = match level {
        "error" | "ERROR" => Style::new().red(),
        "warn" | "WARN" => Style::new().yellow(),
        "debug" | "DEBUG" | "trace" | "TRACE" => Style::new().dim(),
        _ => Style::new().cyan(),
    };
    let level = format!("{:<5}", printable(level).to_uppercase());
    format!("{} {}", colour.apply_to(level), printable(message)).trim_end().to_owned()
}
