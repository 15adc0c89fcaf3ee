//! How soon each family of attacks is stopped, and what ten thousand hostile jobs leave behind.
//!
//! One host with a single worker thread and no room for jobs that wait, so that the next job starts when the attack has let go of
//! its thread, computing or waiting. Both are seen from outside: by the time a client gets the result of a good job that was
//! queued behind the attack, and by the times in the records of both.

mod families;
mod memory;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use self::families::Family;
use super::load::{Connection, Load};
use super::table::quantile;
use super::{NO_OP, NO_OP_INPUT, bar};
use crate::config::Config;
use crate::server::Server;
use crate::time::parse_time;

const ATTACK: &str = "/v1/kinds/attack/jobs";
const GOOD: &str = "/v1/kinds/good/jobs";
const WAIT: Option<&str> = Some("wait=60");
/// Time limit of the attacks that run into it.
const TIMEOUT_MS: u64 = 200;
/// The same of those that are cancelled.
const LONG_MS: u64 = 60_000;
/// How far into an attack it is cancelled.
const INTO_THE_ATTACK: Duration = Duration::from_millis(30);
/// The longest an attack may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// How long after the attack's deadline the next job started.
async fn past_deadline(client: &mut Connection, family: &Family) -> anyhow::Result<f64> {
    let (attack, good) = attack_before_good(client, family, TIMEOUT_MS).await?;
    client.expect("GET", &format!("{good}/result"), "", WAIT, StatusCode::OK).await?;
    let (attack, good) = (client.job(&attack).await?, client.job(&good).await?);
    if attack["failure"]["code"] != "deadline_exceeded" {
        bail!("it ended by itself: {attack}");
    }
    let started_at =
        |job: &Value| job["started_at"].as_str().and_then(parse_time).context("a job that ran has started");
    Ok((started_at(&good)?.0 - started_at(&attack)?.0) as f64 - TIMEOUT_MS as f64)
}

/// How long after the attack's cancellation a client has the result of the next job.
async fn past_cancel(client: &mut Connection, family: &Family) -> anyhow::Result<f64> {
    let (attack, good) = attack_before_good(client, family, LONG_MS).await?;
    tokio::time::sleep(INTO_THE_ATTACK).await;
    let cancelled = Instant::now();
    client.expect("POST", &format!("{attack}/cancel"), "", None, StatusCode::OK).await?;
    client.expect("GET", &format!("{good}/result"), "", WAIT, StatusCode::OK).await?;
    Ok(milliseconds(cancelled.elapsed()))
}

/// Starts an attack, and puts a good job behind it.
async fn attack_before_good(
    client: &mut Connection,
    family: &Family,
    timeout_ms: u64,
) -> anyhow::Result<(String, String)> {
    let attack = client.submit(&format!("/v1/kinds/{}/jobs?timeout={timeout_ms}", family.kind), &family.input).await?;
    let end = Instant::now() + PATIENCE;
    // Submitted at once, the good job might be taken first.
    while client.job(&attack).await?["state"] == "queued" {
        if Instant::now() > end {
            bail!("it did not begin");
        }
    }
    Ok((attack, client.submit(GOOD, NO_OP_INPUT).await?))
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

/// A host with the attacks and a good plugin, and limits that an attack soon reaches.
fn config(folder: &Path) -> anyhow::Result<Config> {
    let config = super::config(folder)?;
    families::put(&config.plugins, "attack", families::ATTACKS)?;
    families::put(&config.plugins, "good", NO_OP)?;
    Ok(Config { memory_bytes: 512 << 20, output_bytes: 1 << 20, ..config })
}

async fn open(server: &Server) -> anyhow::Result<Connection> {
    let address = server.address();
    Load { address, connections: 1, duration: Duration::ZERO }.until_ready().await?;
    let mut client = Connection::open(address).await?;
    client.expect("GET", "/v1/kinds/attack", "", None, StatusCode::OK).await.context("the attacks can be loaded")?;
    Ok(client)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
    use wit_parser::Resolve;

    use super::families::{ATTACKS, DESCRIBE, PROGRAM, START};

    const WORLD: &str = "package test:attacks; world attacks {
        include dropforge:job/plugin@0.1.0;
        import wasi:clocks/monotonic-clock@0.2.6;
        import wasi:random/random@0.2.6;
        export things: interface { resource thing; }
    }";
    const MORE_PACKAGES: [&str; 2] = [
        "package wasi:clocks@0.2.6; interface monotonic-clock {
            use wasi:io/poll@0.2.6.{pollable}; subscribe-duration: func(ns: u64) -> pollable;
        }",
        "package wasi:random@0.2.6; interface random { get-random-bytes: func(len: u64) -> list<u8>; }",
    ];

    /// Its `describe`, and one that never ends.
    const DESCRIBES: &str = "(func (export \"describe\") (result i32) (i32.const 16))";
    const NEVER_DESCRIBES: &str = "(func (export \"describe\") (result i32) (call $spin) (i32.const 16))";

    fn component(text: &str) -> Vec<u8> {
        let mut module = wat::parse_str(text).expect("the text is valid");
        let mut resolve = Resolve::default();
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.1.0");
        resolve.push_path(contract).expect("the contract is valid");
        for package in MORE_PACKAGES {
            resolve.push_str("more.wit", package).expect("the package is valid");
        }
        let package = resolve.push_str("attacks.wit", WORLD).expect("the world is valid");
        let world = resolve.select_world(&[package], Some("attacks")).expect("the world is there");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it can be embedded");
        let encoder = ComponentEncoder::default().validate(true).module(&module).expect("the module fits the world");
        encoder.reject_legacy_names(false).encode().expect("the module becomes a component")
    }

    #[test]
    fn attacks_are_built_from_their_text() {
        let text = include_str!("attacks.wat");
        assert!(text.contains(DESCRIBES));
        let module = |text: &str| wat::parse_str(text).expect("the text is valid");
        for (name, built, committed) in [
            ("attacks.wasm", component(text), ATTACKS),
            ("attacks/describe.wasm", component(&text.replace(DESCRIBES, NEVER_DESCRIBES)), DESCRIBE),
            ("attacks/program.wasm", module(include_str!("attacks/program.wat")), PROGRAM),
            ("attacks/start.wasm", module(include_str!("attacks/start.wat")), START),
        ] {
            if std::env::var_os("UPDATE_ATTACKS").is_some() {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench").join(name);
                std::fs::write(path, &built).expect("the source folder can be written");
            } else {
                assert!(built == committed, "{name} is older than its text; see attacks.wat");
            }
        }
    }
}
