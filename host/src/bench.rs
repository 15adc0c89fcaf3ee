//! `dropforge bench`: how fast this host is on this machine, beside what its parts can do alone.
//!
//! Everything is measured in one run, in turns, so that a ratio holds even where the machine's speed drifts. The load comes from
//! this same process, on a thread of its own, and shares the processors with the host.

mod attacks;
mod floors;
mod fuel;
mod growth;
mod idle;
mod load;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::load::{Load, Request};
use crate::config::Config;
use crate::server::Server;

/// A job that does next to nothing: `message` with no seconds to compute.
const NO_OP: &[u8] = include_bytes!("../../plugins/message.wasm");
const NO_OP_INPUT: &str = r#"{"message":"hi","seconds":0}"#;
/// More jobs than any round can submit.
const QUEUE_MAX: u64 = 100_000_000;

/// Measure durable submits, jobs from end to end, and latency, beside the floors they stand on.
#[derive(Debug, Args)]
pub struct Bench {
    /// Seconds per measurement
    #[arg(long, value_name = "N", default_value_t = 2)]
    seconds: u64,
    /// Rounds; the median is quoted, with the lowest and the highest
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Connections, or submitters, at a time
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,16,64,256")]
    connections: Vec<usize>,
    /// Instead: the store's time per operation and its size with so many finished, or queued, jobs in it
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    growth: Vec<usize>,
    /// Instead: how soon each family of attacks is stopped, in so many runs, and the memory after 10,000 hostile jobs
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "20")]
    attacks: Option<usize>,
    /// Instead: what counting fuel costs a plugin that computes, against the same code without, in so many runs of each
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "15")]
    fuel: Option<usize>,
    /// One cell of that table, in this process
    #[arg(long, hide = true)]
    growth_cell: Option<growth::Cell>,
    /// Instead: open so many streams of events at once, in steps, and say what each costs the host
    #[arg(long, value_name = "N")]
    idle: Option<usize>,
    /// Figures as JSON
    #[arg(long)]
    json: bool,
}

/// What was done so many times, and how long each took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Operations per second.
    per_second: f64,
    /// Latencies in milliseconds, sorted.
    latencies: Vec<f64>,
    /// Commits of the store per operation, where a store was part of it.
    flushes_per_op: Option<f64>,
    /// Bytes the process wrote per operation, likewise.
    written_per_op: Option<f64>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    connections: usize,
    per_second: f64,
    per_second_min: f64,
    per_second_max: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    flushes_per_op: Option<f64>,
    written_bytes_per_op: Option<f64>,
    /// Against the line `floor` with as many connections.
    ratio: Option<f64>,
    floor: Option<&'static str>,
}

/// What is measured, and against which other line.
const WORKS: [(&str, Option<&str>); 5] = [
    ("axum echo", None),
    ("store commit", None),
    ("durable submit", Some("axum echo")),
    ("submit, wait for result", Some("durable submit")),
    ("submit, poll for result", Some("durable submit")),
];

impl Bench {
    /// Measures everything and prints it.
    pub async fn run(self) -> anyhow::Result<()> {
        crate::logging::start("error")?;
        if let Some(cell) = self.growth_cell {
            return growth::run_cell(cell).await;
        }
        if let Some(wanted) = self.idle {
            return idle::run(wanted, self.json).await;
        }
        if !self.growth.is_empty() {
            return growth::run(&self.growth, self.json).await;
        }
        if let Some(runs) = self.attacks {
            return attacks::run(runs.max(1), self.json).await;
        }
        if let Some(runs) = self.fuel {
            let json = self.json;
            return tokio::task::spawn_blocking(move || fuel::run(runs.max(1), json)).await?;
        }
        let bar = bar((WORKS.len() * self.connections.len() * self.rounds) as u64);
        let mut samples = vec![Vec::new(); WORKS.len() * self.connections.len()];
        for _ in 0..self.rounds {
            let mut cells = samples.iter_mut();
            for (what, _) in WORKS {
                for connections in &self.connections {
                    bar.set_message(format!("{what}, {connections}"));
                    let sample = self.measure(what, *connections).await.with_context(|| what.to_owned())?;
                    cells.next().context("a cell for each")?.push(sample);
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        self.print(&self.rows(&samples))
    }

    async fn measure(&self, what: &str, connections: usize) -> anyhow::Result<Sample> {
        let seconds = Duration::from_secs(self.seconds);
        // A fresh host for each, so that none inherits the backlog of another.
        let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
        match what {
            "axum echo" => floors::echo(connections, seconds).await,
            "store commit" => floors::store_commit(folder.path(), connections, seconds).await,
            _ => {
                let server = Server::start(&config(folder.path())?).await?;
                let load = Load { address: server.address(), connections, duration: seconds };
                load.until_ready().await?;
                let request = match what {
                    "durable submit" => Request::Submit,
                    "submit, wait for result" => Request::SubmitAndWait,
                    _ => Request::SubmitAndPoll,
                };
                let before = Counters::of(&server)?;
                let mut sample = load.run(request).await?;
                before.until(&Counters::of(&server)?, &mut sample, seconds);
                server.stop().await?;
                Ok(sample)
            }
        }
    }

    fn rows(&self, samples: &[Vec<Sample>]) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for ((what, floor), samples) in WORKS.into_iter().zip(samples.chunks(self.connections.len())) {
            for (connections, samples) in self.connections.iter().zip(samples) {
                let mut row = Row::of(what, *connections, samples);
                let beside = rows.iter().find(|row| Some(row.what) == floor && row.connections == *connections);
                row.ratio = beside.map(|beside| row.per_second / beside.per_second);
                row.floor = floor;
                rows.push(row);
            }
        }
        rows
    }

    fn print(&self, rows: &[Row]) -> anyhow::Result<()> {
        let mut output = std::io::stdout().lock();
        if self.json {
            writeln!(output, "{}", serde_json::to_string_pretty(rows)?)?;
            return Ok(());
        }
        writeln!(
            output,
            "{:<24} {:>5} {:>10} {:>21} {:>8} {:>8} {:>8} {:>8} {:>8}  ratio",
            "", "conn", "per s", "(lowest-highest)", "p50 ms", "p99 ms", "p99.9", "flush/op", "bytes/op"
        )?;
        for row in rows {
            let spread = format!("({:.0}-{:.0})", row.per_second_min, row.per_second_max);
            let optional =
                |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
            let ratio =
                row.ratio.zip(row.floor).map_or(String::new(), |(ratio, floor)| format!("{ratio:.2} of {floor}"));
            writeln!(
                output,
                "{:<24} {:>5} {:>10.0} {spread:>21} {:>8.2} {:>8.2} {:>8.2} {:>8} {:>8}  {ratio}",
                row.what,
                row.connections,
                row.per_second,
                row.p50_ms,
                row.p99_ms,
                row.p999_ms,
                optional(row.flushes_per_op, 3),
                optional(row.written_bytes_per_op, 0),
            )?;
        }
        Ok(())
    }
}

impl Row {
    fn of(what: &'static str, connections: usize, samples: &[Sample]) -> Self {
        let each = |value: &dyn Fn(&Sample) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |value: &dyn Fn(&Sample) -> f64| each(value).get(samples.len() / 2).copied().unwrap_or(0.0);
        let rates = each(&|sample| sample.per_second);
        let has_store = samples.iter().any(|sample| sample.flushes_per_op.is_some());
        Self {
            what,
            connections,
            per_second: median(&|sample| sample.per_second),
            per_second_min: rates.first().copied().unwrap_or(0.0),
            per_second_max: rates.last().copied().unwrap_or(0.0),
            p50_ms: median(&|sample| sample.quantile(0.5)),
            p99_ms: median(&|sample| sample.quantile(0.99)),
            p999_ms: median(&|sample| sample.quantile(0.999)),
            flushes_per_op: has_store.then(|| median(&|sample| sample.flushes_per_op.unwrap_or(0.0))),
            written_bytes_per_op: has_store.then(|| median(&|sample| sample.written_per_op.unwrap_or(0.0))),
            ratio: None,
            floor: None,
        }
    }
}

impl Sample {
    fn new(mut latencies: Vec<f64>, duration: Duration) -> Self {
        latencies.sort_by(f64::total_cmp);
        Self { per_second: latencies.len() as f64 / duration.as_secs_f64(), latencies, ..Self::default() }
    }

    fn quantile(&self, quantile: f64) -> f64 {
        of_sorted(&self.latencies, quantile)
    }
}

fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    of_sorted(values, quantile)
}

fn of_sorted(values: &[f64], quantile: f64) -> f64 {
    let at = ((values.len() as f64 - 1.0) * quantile).round();
    values.get(at.max(0.0) as usize).copied().unwrap_or(0.0)
}

/// Counters of the store and the process, to be compared after a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    commits: u64,
    written_bytes: u64,
}

impl Counters {
    fn of(server: &Server) -> anyhow::Result<Self> {
        Self::with(server.commits())
    }

    /// The process's own count of bytes written, beside the store's count of commits.
    pub(crate) fn with(commits: u64) -> anyhow::Result<Self> {
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).and_then(|text| text.parse().ok());
        Ok(Self { commits, written_bytes: written.unwrap_or(0) })
    }

    /// Puts the difference, per operation, into the sample.
    pub(crate) fn until(&self, after: &Self, sample: &mut Sample, duration: Duration) {
        let operations = (sample.per_second * duration.as_secs_f64()).max(1.0);
        sample.flushes_per_op = Some((after.commits - self.commits) as f64 / operations);
        sample.written_per_op = Some((after.written_bytes - self.written_bytes) as f64 / operations);
    }
}

fn config(folder: &Path) -> anyhow::Result<Config> {
    let plugins = folder.join("plugins");
    std::fs::create_dir(&plugins)?;
    std::fs::write(plugins.join("message.wasm"), NO_OP)?;
    let listen = "127.0.0.1:0".parse()?;
    Ok(Config { listen, data: folder.join("data"), plugins, queue_max: QUEUE_MAX, ..Config::default() })
}

fn bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    // The template is a constant that the library has accepted before.
    let style = ProgressStyle::with_template("  {wide_bar} {pos}/{len}  {eta}  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
