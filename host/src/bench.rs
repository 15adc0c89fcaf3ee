//! `dropforge bench`: how fast this host is on this machine, beside what its parts can do alone.
//!
//! Everything is measured in one run, in turns, so that a ratio holds even where the machine's speed drifts. The load comes from
//! this same process, on a thread of its own, and shares the processors with the host.

#[doc(hidden)]
pub mod alone;
mod attacks;
mod computing;
mod crowd;
mod floors;
mod fuel;
mod growth;
mod host;
mod idle;
mod load;
mod memory;
mod start;
mod table;
mod works;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::table::{Row, Sample};
use self::works::{WORKS, Work};
use crate::config::Config;
// A job of it does next to nothing if it has no seconds to compute.
use crate::demo::{INTEGRATE, MESSAGE as NO_OP};

const NO_OP_INPUT: &str = r#"{"message":"hi","seconds":0}"#;
/// What is measured once, below the table.
const MEMORY: &str = "memory";
/// More jobs than any round can submit.
const QUEUE_MAX: u64 = 100_000_000;

/// Measure submits, jobs from end to end, computing and starting, beside the floors they stand on.
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
    /// Only what has one of these in its name
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    only: Vec<String>,
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
    /// Instead: open so many streams of events at once, in steps, then so many WebSockets, and say what each costs the host
    #[arg(long, value_name = "N")]
    idle: Option<usize>,
    /// Figures as JSON
    #[arg(long)]
    json: bool,
}

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
        self.compare().await
    }

    /// Measures what is wanted, in turns, and prints the table.
    async fn compare(&self) -> anyhow::Result<()> {
        let wanted = WORKS.into_iter().filter(|work| self.wants(work.what));
        let mut cells: Vec<Cell> = wanted.flat_map(|work| self.cells(work)).collect();
        if cells.is_empty() && !self.wants(MEMORY) {
            let names: Vec<_> = WORKS.iter().map(|work| work.what).chain([MEMORY]).collect();
            bail!("--only: nothing is called so; there are: {}", names.join("; "));
        }
        let bar = bar((cells.len() * self.rounds) as u64);
        for _ in 0..self.rounds {
            for cell in &mut cells {
                bar.set_message(format!("{}, {}", cell.work.what, cell.connections));
                let sample = cell.work.measure(cell.connections, Duration::from_secs(self.seconds)).await;
                cell.samples.push(sample.context(cell.work.what)?);
                bar.inc(1);
            }
        }
        let memory = if self.wants(MEMORY) { Some(memory::measure().await.context(MEMORY)?) } else { None };
        bar.finish_and_clear();
        let mut rows: Vec<Row> = Vec::with_capacity(cells.len());
        for Cell { work, connections, samples } in &cells {
            rows.push(Row::of(work.what, *connections, samples, work.floor, &rows));
        }
        if self.json {
            let report = serde_json::json!({ "rows": rows, "memory": memory });
            writeln!(std::io::stdout(), "{report:#}")?;
            return Ok(());
        }
        table::print(&rows)?;
        Ok(memory.map_or(Ok(()), |memory| memory.print())?)
    }

    fn wants(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| what.contains(part))
    }

    fn cells(&self, work: Work) -> impl Iterator<Item = Cell> {
        let connections = if work.per_connections { self.connections.clone() } else { vec![1] };
        connections.into_iter().map(move |connections| Cell { work, connections, samples: Vec::new() })
    }
}

/// A line of the table while it is measured.
struct Cell {
    work: Work,
    connections: usize,
    samples: Vec<Sample>,
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
