//! What counting fuel costs: a plugin that computes, compiled with and without it, in turns.
//!
//! Each run is a whole attempt, from a fresh instance to its result, on this thread; its processor time is what counts.

use std::io::Write;
use std::sync::Arc;

use indicatif::ProgressBar;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::alone::{Alone, CAPACITY};
use super::table::quantile;
use super::{INTEGRATE, bar};
use crate::sandbox::Sandbox;

/// A million columns, some tenths of a second; the plugin knows that a row is like any other.
const INPUT: &str = r#"{"f":"sqrt(4-xs**2)","a":0,"b":2,"c":0,"d":2,"size":1000000}"#;

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
    let with = Alone::new(Sandbox::new(CAPACITY, None)?, folder.path(), &INTEGRATE)?;
    let without = Alone::new(Arc::new(Sandbox::without_fuel(CAPACITY)?), folder.path(), &INTEGRATE)?;
    let bar: ProgressBar = bar(runs as u64);
    let (mut counted, mut free) = (Vec::new(), Vec::new());
    // The first of each is not counted: it touches memory for the first time.
    for number in 0..=runs {
        let pair = (milliseconds(&with)?, milliseconds(&without)?);
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

/// Processor time of one attempt.
fn milliseconds(plugin: &Alone) -> anyhow::Result<f64> {
    let before = clock_gettime(ClockId::ThreadCPUTime);
    plugin.attempt(INPUT)?;
    let after = clock_gettime(ClockId::ThreadCPUTime);
    Ok((after.tv_sec - before.tv_sec) as f64 * 1e3 + (after.tv_nsec - before.tv_nsec) as f64 / 1e6)
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
