//! Whether the store gets slower, and how large it gets, as jobs pile up: finished ones, and queued ones.
//!
//! Each cell of the table is filled and measured in a process of its own, so that its memory can be told. Every operation is
//! done by many at once, as under load, and is quoted as the time that passed for each.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{NO_OP_KIND, QUEUE_MAX, bar, floors};
use crate::job::{Backoff, Ended, Kind, Progress, Usage};
use crate::store::{Admission, Attempt, Claimed, Content, Filter, Payload, Retention, Settings, Store};
use crate::time::Time;

/// Operations under way at a time while they are timed.
const PROBES_AT_ONCE: usize = 64;
/// The same while a store is being filled.
const FILL_AT_ONCE: usize = 256;
/// Times each operation is timed; the median is quoted.
const ROUNDS: usize = 150;
/// Nothing is old enough, and nothing too much.
const KEEP_ALL: Retention =
    Retention { age: std::time::Duration::from_secs(1 << 40), jobs_max: usize::MAX, bytes_max: u64::MAX };

/// What there are many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Crowd {
    /// Jobs that have succeeded.
    Finished,
    /// Jobs that wait.
    Queued,
}

/// One cell, as text: `finished:1000`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    crowd: Crowd,
    jobs: usize,
}

impl std::str::FromStr for Cell {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (crowd, jobs) = text.split_once(':').ok_or("a crowd, a colon and a number")?;
        let crowd = Crowd::from_str(crowd, false).map_err(|_| "finished or queued")?;
        Ok(Self { crowd, jobs: jobs.parse().map_err(|_| "a number of jobs")? })
    }
}

/// What a cell says.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    crowd: Crowd,
    jobs: usize,
    /// Microseconds that pass for each operation.
    submit_us: f64,
    claim_and_finish_us: f64,
    get_us: f64,
    /// For a page of 50.
    list_us: f64,
    /// What the passing of time costs: due, expired and overdue jobs are looked for and none is found.
    tick_us: f64,
    /// Memory of the process per job, beyond that of an empty store.
    memory_bytes_per_job: f64,
    disk_bytes_per_job: f64,
    reopen_ms: f64,
    /// The slowest operation against the same in the first line of the crowd.
    slowest_ratio: Option<f64>,
}

impl Row {
    fn operations(&self) -> [f64; 5] {
        [self.submit_us, self.claim_and_finish_us, self.get_us, self.list_us, self.tick_us]
    }
}

/// Measures each number of jobs, of both crowds, and prints the table.
pub(super) async fn run(sizes: &[usize], json: bool) -> anyhow::Result<()> {
    let cells =
        [Crowd::Finished, Crowd::Queued].into_iter().flat_map(|crowd| sizes.iter().map(move |jobs| (crowd, *jobs)));
    let cells: Vec<_> = cells.collect();
    let bar = bar(cells.len() as u64);
    let mut rows: Vec<Row> = Vec::new();
    for (crowd, jobs) in cells {
        bar.set_message(format!("{jobs} {crowd:?}").to_lowercase());
        let mut row = measure_apart(crowd, jobs).await?;
        let first = rows.iter().find(|first| first.crowd == crowd);
        row.slowest_ratio = first.map(|first| {
            let ratios = row.operations().into_iter().zip(first.operations()).map(|(now, then)| now / then);
            ratios.fold(0.0, f64::max)
        });
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    print(&rows, json)
}

/// Runs a cell in a process of its own.
async fn measure_apart(crowd: Crowd, jobs: usize) -> anyhow::Result<Row> {
    let name = crowd.to_possible_value().context("no crowd is hidden")?.get_name().to_owned();
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["bench", "--growth-cell", &format!("{name}:{jobs}")])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("measuring {jobs} {name} jobs ended with {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Fills a store, measures it, and prints the row as JSON.
pub(super) async fn run_cell(cell: Cell) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
    let data = folder.path().join("data");
    let settings = Settings { claims_max: FILL_AT_ONCE, reserve_bytes: 0 };
    let store = Store::open(&data, &settings)?;
    // What is only allocated once is not the jobs'.
    fill(&store, Crowd::Finished, FILL_AT_ONCE).await?;
    let memory_before = memory_bytes();
    fill(&store, cell.crowd, cell.jobs).await?;
    let memory = memory_bytes().saturating_sub(memory_before);
    let mut row = probe(&store, cell).await?;
    store.close();
    drop(store);
    let jobs = cell.jobs as f64;
    row.memory_bytes_per_job = memory as f64 / jobs;
    row.disk_bytes_per_job = fs::metadata(data.join("db/db"))?.len() as f64 / jobs;
    let started = Instant::now();
    Store::open(&data, &settings)?.close();
    row.reopen_ms = started.elapsed().as_secs_f64() * 1_000.0;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&row)?)?;
    Ok(())
}

async fn fill(store: &Store, crowd: Crowd, jobs: usize) -> anyhow::Result<()> {
    let mut left = jobs;
    while left > 0 {
        let now = left.min(FILL_AT_ONCE);
        submit(store, now).await?;
        if crowd == Crowd::Finished {
            finish(store, claim(store, now)?).await?;
        }
        left -= now;
    }
    Ok(())
}

async fn probe(store: &Store, cell: Cell) -> anyhow::Result<Row> {
    let mut times: [Vec<f64>; 5] = Default::default();
    let newest = store.list(&Filter::default(), PROBES_AT_ONCE, None)?.0;
    for _ in 0..ROUNDS {
        let mut timed = Timed { started: Instant::now(), times: &mut times, next: 0 };
        submit(store, PROBES_AT_ONCE).await?;
        timed.lap(PROBES_AT_ONCE);
        let claimed = claim(store, PROBES_AT_ONCE)?;
        finish(store, claimed).await?;
        timed.lap(PROBES_AT_ONCE);
        for job in &newest {
            store.get(job.id)?.context("a job that was listed")?;
        }
        timed.lap(newest.len());
        store.list(&Filter::default(), 50, None)?;
        timed.lap(1);
        let now = Time::now();
        store.promote(now);
        store.expire(now).await?;
        store.retain(&KEEP_ALL, &HashMap::new(), now).await?;
        timed.lap(1);
    }
    let [submit_us, claim_and_finish_us, get_us, list_us, tick_us] = times.map(median);
    let Cell { crowd, jobs } = cell;
    let (memory_bytes_per_job, disk_bytes_per_job, reopen_ms, slowest_ratio) = (0.0, 0.0, 0.0, None);
    Ok(Row {
        crowd,
        jobs,
        submit_us,
        claim_and_finish_us,
        get_us,
        list_us,
        tick_us,
        memory_bytes_per_job,
        disk_bytes_per_job,
        reopen_ms,
        slowest_ratio,
    })
}

/// One operation after the other, each into its own list.
struct Timed<'a> {
    started: Instant,
    times: &'a mut [Vec<f64>; 5],
    next: usize,
}

impl Timed<'_> {
    fn lap(&mut self, operations: usize) {
        let now = Instant::now();
        let each = now.duration_since(self.started).as_secs_f64() * 1e6 / operations.max(1) as f64;
        self.times[self.next].push(each);
        (self.started, self.next) = (now, self.next + 1);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

async fn submit(store: &Store, jobs: usize) -> anyhow::Result<()> {
    let new = (0..jobs).map(|_| floors::job()).collect::<anyhow::Result<Vec<_>>>()?;
    let submits =
        new.into_iter().map(|new| store.submit(new, Admission { queue_max: QUEUE_MAX, key: None, workers: None }));
    for submitted in join_all(submits).await {
        submitted?;
    }
    Ok(())
}

fn claim(store: &Store, jobs: usize) -> anyhow::Result<Vec<Claimed>> {
    let kind = Kind::new(NO_OP_KIND).context("a good name")?;
    let claimed = store.claim(&[(kind, jobs)], jobs, Time::now());
    if claimed.len() == jobs { Ok(claimed) } else { bail!("{} of {jobs} jobs were handed out", claimed.len()) }
}

async fn finish(store: &Store, claimed: Vec<Claimed>) -> anyhow::Result<()> {
    let finishes = claimed.iter().map(|claimed| store.finish(claimed.job.id, claimed.token, success()));
    for finished in join_all(finishes).await {
        finished?;
    }
    Ok(())
}

fn success() -> Attempt {
    let now = Time::now();
    let content = Content::Inline(br#"{"message":"hi"}"#.as_slice().into());
    Attempt {
        ended: Ended::Succeeded,
        usage: Usage::default(),
        progress: Progress::default(),
        output: Some(Payload { media_type: "application/json".to_owned(), content }),
        artifacts: Vec::new(),
        started_at: now,
        now,
        backoff: Backoff { first: std::time::Duration::ZERO, longest: std::time::Duration::ZERO },
        jitter: 0.0,
    }
}

/// Memory of this process that is in use, where the system says so.
pub(super) fn memory_bytes() -> u64 {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn print(rows: &[Row], json: bool) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(rows)?)?;
        return Ok(());
    }
    writeln!(output, "microseconds per operation, {PROBES_AT_ONCE} at a time; bytes per job")?;
    writeln!(
        output,
        "{:>9} {:<9} {:>8} {:>13} {:>7} {:>8} {:>8} {:>9} {:>9} {:>10}  slowest against the first",
        "jobs", "", "submit", "claim+finish", "get", "list 50", "tick", "memory", "disk", "reopen ms"
    )?;
    for row in rows {
        let Row { jobs, crowd, submit_us, claim_and_finish_us, get_us, list_us, tick_us, .. } = row;
        let crowd = format!("{crowd:?}").to_lowercase();
        let ratio = row.slowest_ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        writeln!(
            output,
            "{jobs:>9} {crowd:<9} {submit_us:>8.1} {claim_and_finish_us:>13.1} {get_us:>7.1} {list_us:>8.0} {tick_us:>8.1} {:>9.0} {:>9.0} {:>10.0}  {ratio}",
            row.memory_bytes_per_job, row.disk_bytes_per_job, row.reopen_ms
        )?;
    }
    Ok(())
}
