//! Commands about a job that is there: how it is, what holds it back.

use std::time::Duration;

use clap::Args;
use console::style;
use reqwest::Method;

use super::exit::Exit;
use super::remote::{Remote, say};
use super::text::{as_commands, bytes, duration, fuel, painted, paragraph, printable, progress};
use super::typed;
use crate::client::JobView;
use crate::client::view::{ExplanationView, UsageView};

/// Lines of a backtrace that are shown; `--json` has all that were kept.
const BACKTRACE_LINES_MAX: usize = 12;

/// One job and the host that has it.
#[derive(Debug, Args)]
pub(super) struct One {
    /// The job
    #[arg(value_name = "ID", value_parser = typed::id)]
    id: String,
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
    let mut lines = vec![paragraph(&as_commands(&explanation.sentence), "")];
    if let Some(position) = explanation.position {
        lines.push(format!("number {position} in its kind's queue"));
    }
    if let Some(estimate) = explanation.estimate {
        let starts_in = duration(Duration::from_millis(estimate.starts_in_ms));
        let start = if estimate.starts_in_ms > 0 { format!("start in {starts_in} and ") } else { String::new() };
        let ends_in = duration(Duration::from_millis(estimate.ends_in_ms));
        lines.push(match estimate.ends_in_ms {
            0 => "has taken as long as jobs of its kind did so far, and may end at any moment".to_owned(),
            _ => format!("may {start}end in {ends_in}, by the run times measured so far"),
        });
    }
    say(&lines.join("\n"))?;
    Ok(Exit::Success)
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
    let bound = match usage.bound.as_deref() {
        None => String::new(),
        Some("cancelled") => ", cancelled".to_owned(),
        Some(bound) => format!(", stopped by {}", printable(bound)),
    };
    let mut lines = format!(
        "attempt {} took {}: {} computing, {} waiting; {}, {} of memory, {} in, {} out{bound}\n",
        usage.attempt,
        ms(usage.wall_ms),
        ms(usage.cpu_ms),
        ms(usage.parked_ms),
        fuel(usage.fuel),
        bytes(usage.memory_bytes_peak),
        bytes(usage.bytes_in),
        bytes(usage.bytes_out),
    );
    for frame in usage.backtrace.iter().take(BACKTRACE_LINES_MAX) {
        lines.push_str(&format!("          at {}\n", printable(frame)));
    }
    lines
}
