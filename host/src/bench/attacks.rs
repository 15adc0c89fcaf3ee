//! How soon each family of attacks is stopped, and what ten thousand hostile jobs leave behind.
//!
//! What the attacks are stands in `families.rs`, how one of them is stopped and timed in `stopping.rs`.

#[cfg(test)]
mod built;
mod families;
mod memory;
pub(super) mod stopping;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::StatusCode;
use serde::Serialize;

use self::stopping::{GOOD, PATIENCE, WAIT, config, open, past_cancel, past_deadline};
use super::client::Connection;
use super::table::{milliseconds, quantile};
use super::{NO_OP_INPUT, bar};
use crate::config::Config;
use crate::server::Server;

const ATTACK: &str = "/v1/kinds/attack/jobs";
/// How long a plugin may take to say what it is.
const DESCRIBE_MS: f64 = 1_000.0;
/// Files that never say what they are, at the most: each takes so long.
const DESCRIBED_MAX: usize = 5;

/// What a family says, in milliseconds.
#[derive(Debug, Serialize)]
struct Row {
    attack: &'static str,
    runs: usize,
    deadline_median_ms: f64,
    deadline_worst_ms: f64,
    /// Nothing where there is no job to cancel.
    cancel_median_ms: Option<f64>,
    cancel_worst_ms: Option<f64>,
}

/// Both tables.
#[derive(Debug, Serialize)]
struct Report {
    /// Threads that wanted a processor before this began, as the system averages them: what else the machine was doing.
    load: Option<f64>,
    /// A good job alone, from submit to result: part of what is said for cancels.
    good_job_ms: f64,
    rows: Vec<Row>,
    memory: Vec<memory::Row>,
}

/// Measures each family so many times, and the memory, and prints both tables.
pub(super) async fn run(runs: usize, json: bool) -> anyhow::Result<()> {
    let load = load();
    let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
    let (peer, _taken) = families::silent_peer().await?;
    let config = Config { workers: 1, parked_jobs_max: 0, ..config(folder.path())? };
    families::prepare(&config.plugins, peer)?;
    let server = Server::start(&config).await?;
    let mut client = open(&server).await?;
    let mut good = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        client.expect("POST", GOOD, NO_OP_INPUT, WAIT, StatusCode::OK).await?;
        good.push(milliseconds(started.elapsed()));
    }
    let families = families::families(peer);
    let described = runs.min(DESCRIBED_MAX);
    let bar = bar((families.len() * runs + described) as u64);
    let mut rows = Vec::new();
    for family in &families {
        bar.set_message(family.attack);
        let (mut deadlines, mut cancels) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            deadlines.push(past_deadline(&mut client, family).await.context(family.attack)?);
            cancels.push(past_cancel(&mut client, family).await.context(family.attack)?);
            bar.inc(1);
        }
        rows.push(Row {
            attack: family.attack,
            runs,
            deadline_median_ms: quantile(&mut deadlines, 0.5),
            deadline_worst_ms: quantile(&mut deadlines, 1.0),
            cancel_median_ms: Some(quantile(&mut cancels, 0.5)),
            cancel_worst_ms: Some(quantile(&mut cancels, 1.0)),
        });
    }
    let mut rejections = Vec::new();
    bar.set_message("loop in describe");
    for run in 0..described {
        rejections.push(past_describe(&mut client, &config.plugins, run).await.context("loop in describe")?);
        bar.inc(1);
    }
    rows.push(Row {
        attack: "loop in describe, until it is rejected",
        runs: described,
        deadline_median_ms: quantile(&mut rejections, 0.5),
        deadline_worst_ms: quantile(&mut rejections, 1.0),
        cancel_median_ms: None,
        cancel_worst_ms: None,
    });
    bar.finish_and_clear();
    server.stop().await?;
    let report = Report { load, good_job_ms: quantile(&mut good, 0.5), rows, memory: memory::measure().await? };
    report.print(json)
}

/// How long after its time for that is over a file is rejected that does not say what it is, a plugin's compilation included.
async fn past_describe(client: &mut Connection, plugins: &Path, run: usize) -> anyhow::Result<f64> {
    let kind = format!("silent-{run}");
    let started = Instant::now();
    families::put(plugins, &kind, families::DESCRIBE)?;
    while started.elapsed() < PATIENCE {
        let answer = client.job("/v1/plugins").await?;
        let files = answer["plugins"].as_array().context("a list")?;
        match files.iter().find(|file| file["kind"] == *kind).map(|file| &file["state"]) {
            Some(state) if state == "rejected" => return Ok(milliseconds(started.elapsed()) - DESCRIBE_MS),
            Some(state) if state == "serving" => bail!("it said what it is"),
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    bail!("it was never rejected")
}

fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut output = std::io::stdout().lock();
        if json {
            writeln!(output, "{}", serde_json::to_string_pretty(self)?)?;
            return Ok(());
        }
        writeln!(
            output,
            "milliseconds until the attack's only thread ran another job; that job alone: {:.1}",
            self.good_job_ms
        )?;
        if let Some(load) = self.load {
            writeln!(output, "load of the machine before: {load}")?;
        }
        writeln!(output, "{:<40} {:>5} {:>22} {:>22}", "", "", "after its deadline", "after a cancel")?;
        writeln!(output, "{:<40} {:>5} {:>12} {:>9} {:>12} {:>9}", "", "runs", "median", "worst", "median", "worst")?;
        for row in &self.rows {
            let optional = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
            writeln!(
                output,
                "{:<40} {:>5} {:>12.1} {:>9.1} {:>12} {:>9}",
                row.attack,
                row.runs,
                row.deadline_median_ms,
                row.deadline_worst_ms,
                optional(row.cancel_median_ms),
                optional(row.cancel_worst_ms)
            )?;
        }
        writeln!(output, "\n{:>12} {:>12}", "jobs", "memory MiB")?;
        for row in &self.memory {
            writeln!(output, "{:>12} {:>12.1}", row.jobs, row.memory_bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}
