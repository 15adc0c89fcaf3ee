//! What counting fuel costs: a plugin that computes, compiled with and without it, in turns.
//!
//! Each run is a whole attempt, from a fresh instance to its result, on this thread; its processor time is what counts.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use indicatif::ProgressBar;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::runtime::{Builder, Runtime};

use super::{bar, quantile};
use crate::job::Ended;
use crate::running::Running;
use crate::sandbox::{Call, Capacity, Checkpoints, CommandSettings, Limits, Program, Sandbox};
use crate::store::{Blobs, Content, Mark, Options, Payload};

const INTEGRATE: &[u8] = include_bytes!("../../../plugins/integrate.wasm");
/// A million columns, some tenths of a second; the plugin knows that a row is like any other.
const INPUT: &str = r#"{"f":"sqrt(4-xs**2)","a":0,"b":2,"c":0,"d":2,"size":1000000}"#;
const LIMITS: Limits =
    Limits { timeout: Duration::from_secs(600), fuel: u64::MAX >> 1, memory_bytes: 256 << 20, output_bytes: 1 << 20 };
const CAPACITY: Capacity = Capacity { guests_max: 1, memory_bytes_max: 256 << 20 };

/// Processor time in milliseconds.
#[derive(Debug, Serialize)]
struct Report {
    runs: usize,
    with_fuel_ms: Spread,
    without_ms: Spread,
    /// Of the medians.
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        let [lowest, median, highest] = [0.0, 0.5, 1.0].map(|at| quantile(&mut values, at));
        Self { median, lowest, highest }
    }
}

/// Measures so many runs of each and prints the ratio. Blocks.
pub(super) fn run(runs: usize, json: bool) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
    let with = Side::new(Sandbox::new(CAPACITY, None)?, folder.path())?;
    let without = Side::new(Arc::new(Sandbox::without_fuel(CAPACITY)?), folder.path())?;
    let bar: ProgressBar = bar(runs as u64);
    let (mut counted, mut free) = (Vec::new(), Vec::new());
    // The first of each is not counted: it touches memory for the first time.
    for number in 0..=runs {
        let pair = (with.milliseconds()?, without.milliseconds()?);
        if number > 0 {
            counted.push(pair.0);
            free.push(pair.1);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let (with_fuel_ms, without_ms) = (Spread::of(counted), Spread::of(free));
    Report { runs, ratio: with_fuel_ms.median / without_ms.median, with_fuel_ms, without_ms }.print(json)
}

/// The plugin in one of the two sandboxes.
struct Side {
    runtime: Runtime,
    sandbox: Arc<Sandbox>,
    program: Program,
    blobs: Blobs,
}

impl Side {
    fn new(sandbox: Arc<Sandbox>, folder: &Path) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let blobs = Blobs::open(folder)?;
        let uploads = blobs.clone();
        let digest = hex::encode(Sha256::digest(INTEGRATE));
        let loaded = runtime.block_on(sandbox.load(INTEGRATE, &digest, Box::new(move || uploads.upload())));
        let (program, _) = loaded.map_err(|reason| anyhow::anyhow!("integrate cannot be loaded: {}", reason.0))?;
        Ok(Self { runtime, sandbox, program, blobs })
    }

    /// Processor time of one attempt.
    fn milliseconds(&self) -> anyhow::Result<f64> {
        let (mark, blobs) = (Mark::none(), self.blobs.clone());
        let content = Content::Inline(INPUT.as_bytes().into());
        let call = Call {
            id: "bench".to_owned(),
            kind: "integrate".to_owned(),
            attempt: 1,
            span: 1,
            input: Payload { media_type: "application/json".to_owned(), content },
            options: Options::default(),
            command: CommandSettings::default(),
            scratch: None,
            blobs: Vec::new(),
            limits: LIMITS,
            grants: Arc::default(),
            running: Arc::new(Running::default()),
            new_upload: Box::new(move || blobs.upload()),
            checkpoints: Checkpoints::none(),
            on_park: Box::new(|_| {}),
            mark: &mark,
        };
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let report = self.runtime.block_on(self.sandbox.run(&self.program, call));
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let Ended::Succeeded = report.ended else {
            bail!("integrate failed: {:?}", report.ended);
        };
        Ok((after.tv_sec - before.tv_sec) as f64 * 1e3 + (after.tv_nsec - before.tv_nsec) as f64 / 1e6)
    }
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
            "integrate, a million columns, milliseconds of processor time, {} runs of each in turns",
            self.runs
        )?;
        for (what, Spread { median, lowest, highest }) in
            [("with fuel", &self.with_fuel_ms), ("without", &self.without_ms)]
        {
            writeln!(output, "{what:<12} {median:>8.1}  ({lowest:.1}-{highest:.1})")?;
        }
        writeln!(output, "{:<12} {:>8.3}", "ratio", self.ratio)?;
        Ok(())
    }
}
