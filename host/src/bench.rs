//! `dropforge bench`: how fast this host is on this machine, beside what its parts can do alone.
//!
//! Everything is measured in one run, in turns, so that a ratio holds even where the machine's speed drifts. The load comes from
//! this same process, on a thread of its own, and shares the processors with the host.

#[doc(hidden)]
pub mod alone;
mod attacks;
mod busy;
mod client;
mod computing;
mod crowd;
mod failed;
mod floors;
mod fuel;
mod growth;
mod host;
mod idle;
mod joined;
mod load;
mod open_loop;
mod report;
mod sizes;
mod start;
mod table;
mod targets;
mod waiting;
mod works;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, value_parser};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use self::failed::Failed;
use self::report::{LeftOut, Report};
use self::sizes::Size;
use self::table::{Row, Sample};
use self::works::{Given, WORKS, Work};
use crate::config::Config;
// A job of it does next to nothing if it has no seconds to compute.
use crate::interrupts::Interrupts;
use crate::shipped::{INTEGRATE, MESSAGE as NO_OP};

const NO_OP_INPUT: &str = r#"{"message":"hi","seconds":0}"#;
/// What it is called.
const NO_OP_KIND: &str = "message";
/// What memory is called together.
const MEMORY: &str = "memory";
/// The heading of options that leave the table out.
const INSTEAD: &str = "Measured instead of all that";
/// What has that heading: one of them at a time.
const ONE_INSTEAD: &str = "instead";
/// More jobs than any round can submit.
const QUEUE_MAX: u64 = 100_000_000;

/// Measure how fast this host is here, beside what its parts can do alone
///
/// Starts hosts of its own, in temporary folders and on loopback, and puts load on them. Without options: everything that the end of this
/// help lists, in three rounds, which takes several minutes. Each line of the table has the median of the rounds, with the lowest and
/// the highest; how it compares with its floor, what a part of the work can do alone; and the targets of this project, for a machine
/// with two processors. Have nothing else running, and a program built with --release.
#[derive(Debug, Args)]
#[command(after_long_help = guide())]
pub struct Bench {
    /// Seconds per measurement
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Rounds; the median is quoted, with the lowest and the highest
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Connections, or submitters, at a time
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,16,64,256", value_parser = value_parser!(u16).range(1..=10_000))]
    connections: Vec<u16>,
    /// Only what has this in its name, or else one of these
    #[arg(long, value_name = "NAME,NAME,…", conflicts_with = ONE_INSTEAD)]
    only: Vec<String>,
    /// Figures as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: Given,
    /// The store's time per operation and its size with so many finished, or queued, jobs in it
    #[arg(long, help_heading = INSTEAD, group = ONE_INSTEAD, value_name = "N,N,…", value_delimiter = ',')]
    growth: Vec<usize>,
    /// How soon each family of attacks is stopped, in so many runs (20), and the memory after 10,000 hostile jobs
    #[arg(long, help_heading = INSTEAD, group = ONE_INSTEAD, value_name = "RUNS", num_args = 0..=1, default_missing_value = "20")]
    attacks: Option<usize>,
    /// What counting fuel costs a plugin that computes, against the same code without, in so many runs of each (15)
    #[arg(long, help_heading = INSTEAD, group = ONE_INSTEAD, value_name = "RUNS", num_args = 0..=1, default_missing_value = "15")]
    fuel: Option<usize>,
    /// One cell of that table, in this process
    #[arg(long, hide = true)]
    growth_cell: Option<growth::Cell>,
    /// Open so many streams of events at once, in steps, then so many WebSockets, and say what each costs the host
    #[arg(long, help_heading = INSTEAD, group = ONE_INSTEAD, value_name = "N")]
    idle: Option<usize>,
}

impl Bench {
    /// Measures everything and prints it, unless Ctrl-C comes before. Answers whether it came to its end.
    pub async fn run(self) -> anyhow::Result<bool> {
        crate::logging::start("error")?;
        let mut interrupts = Interrupts::listen()?;
        tokio::select! {
            measured = self.measure() => measured.map(|()| true),
            // What was measured in is dropped, and its folders go with it.
            () = interrupts.next() => {
                // Where standard error is closed there is nobody to tell.
                let _ = writeln!(std::io::stderr(), "interrupted; what was measured until then is not shown");
                Ok(false)
            }
        }
    }

    async fn measure(self) -> anyhow::Result<()> {
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

    /// Measures what is wanted, in turns, and prints the table; as far as it came, if something could not be measured.
    async fn compare(&self) -> anyhow::Result<()> {
        self.given.check()?;
        let wanted: Vec<Work> = WORKS.into_iter().filter(|work| self.wants(work.what)).collect();
        if wanted.is_empty() && !self.wants(MEMORY) && !self.wants(sizes::PROGRAM) {
            bail!("--only: nothing is called so; there are: {}", names().join("; "));
        }
        let left_out: Vec<LeftOut> = wanted.iter().filter_map(|work| LeftOut::of(*work, &self.given)).collect();
        let possible = wanted.into_iter().filter(|work| work.lacks(&self.given).is_none());
        let mut cells: Vec<Cell> = possible.flat_map(|work| self.cells(work)).collect();
        let mut sizes: Vec<Size> = Vec::new();
        let failed = self.fill(&mut cells, &mut sizes).await.err();
        let mut rows: Vec<Row> = Vec::with_capacity(cells.len());
        for Cell { work, connections, samples } in cells.iter().filter(|cell| !cell.samples.is_empty()) {
            rows.push(Row::of(work.what, *connections, samples, (work.floor, work.parts), &rows));
        }
        Report::new(rows, sizes, left_out, failed).print(self.json)
    }

    /// Measures until all is there, or something fails.
    async fn fill(&self, cells: &mut [Cell], sizes: &mut Vec<Size>) -> Result<(), Failed> {
        let bar = bar((cells.len() * usize::from(self.rounds)) as u64);
        for _ in 0..self.rounds {
            for Cell { work, connections, samples } in &mut *cells {
                bar.set_message(connections.map_or(work.what.to_owned(), |number| format!("{}, {number}", work.what)));
                let duration = Duration::from_secs(self.seconds);
                let sample = work.measure(connections.unwrap_or(1), duration, &self.given).await;
                samples.push(sample.map_err(|error| Failed::new(work.what, &error).with_advice(work.advice()))?);
                bar.inc(1);
            }
        }
        if self.wants(MEMORY) {
            sizes.extend(sizes::memory().await.map_err(|error| Failed::new(MEMORY, &error))?);
        }
        if self.wants(sizes::PROGRAM) {
            sizes.push(sizes::program().map_err(|error| Failed::new(sizes::PROGRAM, &error))?);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn wants(&self, what: &str) -> bool {
        // A name may have commas of its own.
        let is_name = |text: &str| names().iter().any(|name| name.contains(text));
        let wanted = |text: &String| match is_name(text) {
            true => what.contains(text.as_str()),
            false => text.split(',').any(|part| what.contains(part)),
        };
        self.only.is_empty() || self.only.iter().any(wanted)
    }

    fn cells(&self, work: Work) -> impl Iterator<Item = Cell> {
        let each = || self.connections.iter().map(|connections| Some(usize::from(*connections))).collect();
        let connections: Vec<Option<usize>> = if work.per_connections { each() } else { vec![None] };
        connections.into_iter().map(move |connections| Cell { work, connections, samples: Vec::new() })
    }
}

/// A line of the table while it is measured.
struct Cell {
    work: Work,
    /// Nothing where the work says itself how many.
    connections: Option<usize>,
    samples: Vec<Sample>,
}

/// All that can be measured.
fn names() -> Vec<&'static str> {
    let works = WORKS.iter().map(|work| work.what);
    works.chain([sizes::IDLE, sizes::QUEUED, sizes::PROGRAM]).collect()
}

/// The end of the help.
fn guide() -> String {
    format!(
        "Measured, floors first:\n  {}\n\n\
         \"durable submit\" is what a client sees: the jobs it submits run meanwhile, on the same processors. With the kind paused none runs.\n\
         \"bare parts joined\": a request parsed, a call, a record appended and synced together with others, an answer, and nothing besides:\n  \
         the least we know that does so, to see what the machine leaves for a host.\n\
         \"open loop\": requests come on a schedule, and each is timed from the moment it was due, to its answer or to its job's result.\n\
         \"cancel to next job\": from the cancel of a job on the only worker until a client has the result of the job behind it.\n\
         \"deadline to next\": from a job's deadline until the next one starts, by what their records say.\n\
         \"ratio\" is speed against the floor, as far as that was measured as well: 1.00 is as fast.\n\
         \"cpu us\": processor time of the host, its jobs and the client together, in microseconds for each operation. It holds still where the\n  \
         machine is slowed down by others. \"parts\": the same of the parts of the work, measured alone in this run (a submit is an echo, a\n  \
         commit, a call, and a commit of the end). Nothing can be done oftener than they leave time for, so a target beyond says so.\n\n\
         The floor of pdf-to-png is the same code without a sandbox, from the sources of this program:\n  \
         cargo build --release --manifest-path plugins/Cargo.toml --package pdf-to-png --example native\n  \
         dropforge bench --only pdf --native-pdf plugins/target/release/examples/native",
        names().join("\n  ")
    )
}

fn config(folder: &Path) -> anyhow::Result<Config> {
    let plugins = folder.join("plugins");
    std::fs::create_dir(&plugins)?;
    std::fs::write(plugins.join("message.wasm"), NO_OP.as_slice())?;
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
