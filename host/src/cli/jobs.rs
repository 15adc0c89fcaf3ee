//! Commands about jobs that are there: how one is, what holds it back, stop it, run it again, forget it.

use std::time::Duration;

use clap::Args;
use console::style;
use reqwest::Method;
use serde_json::json;

use super::exit::Exit;
use super::remote::{Remote, say};
use super::text::{bytes, duration, painted, paragraph, printable, progress};
use super::wait::summary;
use crate::client::view::{ExplanationView, UsageView};
use crate::client::{Client, ClientError, JobView};

/// Lines of a backtrace that are shown; `--json` has all that were kept.
const BACKTRACE_LINES_MAX: usize = 12;

/// One job and the host that has it.
#[derive(Debug, Args)]
pub(super) struct One {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    remote: Remote,
}

/// Some jobs and the host that has them.
#[derive(Debug, Args)]
pub(super) struct Some {
    /// The jobs
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// `dropforge status`
pub(super) async fn status(one: One) -> anyhow::Result<Exit> {
    let client = one.remote.client()?;
    let answer = client.job(&one.id).await?;
    if one.remote.json {
        say(&answer)?;
    } else {
        say(&described(&client.parse(&answer)?))?;
    }
    Ok(Exit::Success)
}

/// `dropforge explain`
pub(super) async fn explain(one: One) -> anyhow::Result<Exit> {
    let client = one.remote.client()?;
    let answer = client.text(client.request(Method::GET, &["v1", "jobs", &one.id, "explain"])).await?;
    if one.remote.json {
        say(&answer)?;
        return Ok(Exit::Success);
    }
    let explanation: ExplanationView = client.parse(&answer)?;
    let mut lines = vec![paragraph(&explanation.sentence, "")];
    if let Some(position) = explanation.position {
        lines.push(format!("{position}. in its kind's queue"));
    }
    if let Some(estimate) = explanation.estimate {
        let starts_in = duration(Duration::from_millis(estimate.starts_in_ms));
        let start = if estimate.starts_in_ms > 0 { format!("start in {starts_in} and ") } else { String::new() };
        let ends_in = duration(Duration::from_millis(estimate.ends_in_ms));
        lines.push(format!("may {start}end in {ends_in}, by the run times measured so far"));
    }
    say(&lines.join("\n"))?;
    Ok(Exit::Success)
}

/// `dropforge cancel`
pub(super) async fn cancel(some: Some) -> anyhow::Result<Exit> {
    post_each(some, "cancel").await
}

/// `dropforge retry`
pub(super) async fn retry(some: Some) -> anyhow::Result<Exit> {
    post_each(some, "retry").await
}

/// `dropforge delete`
pub(super) async fn delete(some: Some) -> anyhow::Result<Exit> {
    let client = some.remote.client()?;
    for id in &some.ids {
        client.send(client.request(Method::DELETE, &["v1", "jobs", id])).await?;
        if some.remote.json {
            say(&json!({"id": id, "deleted": true}).to_string())?;
        } else {
            say(&format!("deleted {}", style(printable(id)).dim()))?;
        }
    }
    Ok(Exit::Success)
}

/// Stops at the first that is refused: what was named wrongly once may be wrong in the rest too.
async fn post_each(some: Some, verb: &str) -> anyhow::Result<Exit> {
    let client = some.remote.client()?;
    for id in &some.ids {
        let answer = post(&client, id, verb).await?;
        if some.remote.json {
            say(&answer)?;
        } else {
            say(&summary(&client.parse(&answer)?))?;
        }
    }
    Ok(Exit::Success)
}

async fn post(client: &Client, id: &str, verb: &str) -> Result<String, ClientError> {
    client.text(client.request(Method::POST, &["v1", "jobs", id, verb])).await
}

/// A job on a few lines.
fn described(job: &JobView) -> String {
    let mut rows = vec![
        ("job", job.id.clone()),
        ("kind", printable(&job.kind).into_owned()),
        ("state", painted(&job.state)),
        // Once it has succeeded it does not matter how far it was when it last said so.
        ("progress", if job.state == "succeeded" { String::new() } else { progress(job) }),
        ("tags", printable(&job.tags.join(", ")).into_owned()),
        ("created", job.created_at.to_string()),
        ("runs at", job.run_at.map(|time| time.to_string()).unwrap_or_default()),
        ("started", job.started_at.map(|time| time.to_string()).unwrap_or_default()),
        ("finished", job.finished_at.map(|time| time.to_string()).unwrap_or_default()),
        ("attempts", attempts(job)),
    ];
    if job.crashes + job.interruptions > 0 {
        rows.push(("lost", format!("{} to crashes, {} to stops of the host", job.crashes, job.interruptions)));
    }
    if let Some(webhook) = &job.webhook {
        let error = webhook.last_error.as_ref().map(|error| format!(", last error: {error}")).unwrap_or_default();
        let how = format!("{} after {}: {}{error}", webhook.state, tries(webhook.tries), webhook.url);
        rows.push(("webhook", printable(&how).into_owned()));
    }
    if let Some(failure) = &job.failure {
        let why = format!("{} ({}'s doing): {}", failure.code, failure.fault, failure.message);
        rows.push(("failure", style(paragraph(&why, "          ")).red().to_string()));
    }
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    let lines = rows.map(|(name, value)| format!("{:<9} {value}\n", name));
    lines.chain(job.usage.iter().map(reported)).collect()
}

fn tries(count: u32) -> String {
    if count == 1 { "1 try".to_owned() } else { format!("{count} tries") }
}

/// How often it was tried. The counter is of attempts that have ended; people count the one that is being made too.
fn attempts(job: &JobView) -> String {
    match job.state.as_str() {
        "running" => format!("{} of {} is being made", job.attempts + 1, job.max_attempts),
        _ => format!("{} of {}", job.attempts, job.max_attempts),
    }
}

/// The usage report of an attempt.
pub(super) fn reported(usage: &UsageView) -> String {
    let ms = |ms| duration(Duration::from_millis(ms));
    let bound = usage.bound.as_ref().map(|bound| format!(", stopped by {}", printable(bound))).unwrap_or_default();
    let mut lines = format!(
        "attempt {} took {}: {} computing, {} waiting; {:.1} M fuel, {} of memory, {} in, {} out{bound}\n",
        usage.attempt,
        ms(usage.wall_ms),
        ms(usage.cpu_ms),
        ms(usage.parked_ms),
        usage.fuel as f64 / 1e6,
        bytes(usage.memory_bytes_peak),
        bytes(usage.bytes_in),
        bytes(usage.bytes_out),
    );
    for frame in usage.backtrace.iter().take(BACKTRACE_LINES_MAX) {
        lines.push_str(&format!("          at {}\n", printable(frame)));
    }
    lines
}
