//! Samples, and the table that is made of them.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

/// What was done so many times, and how long each took.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Operations per second.
    pub(super) per_second: f64,
    /// Latencies in milliseconds, sorted.
    latencies: Vec<f64>,
    /// Commits of the store per operation, where a store was part of it.
    flushes_per_op: Option<f64>,
    /// Bytes the process wrote per operation, likewise.
    written_per_op: Option<f64>,
}

impl Sample {
    /// So many latencies, in milliseconds, within this time.
    pub(super) fn new(mut latencies: Vec<f64>, duration: Duration) -> Self {
        latencies.sort_by(f64::total_cmp);
        Self { per_second: latencies.len() as f64 / duration.as_secs_f64(), latencies, ..Self::default() }
    }

    /// So many operations whose single latencies mean nothing, within this time.
    pub(super) fn of_many(operations: usize, duration: Duration) -> Self {
        Self { per_second: operations as f64 / duration.as_secs_f64(), ..Self::default() }
    }

    fn quantile(&self, quantile: f64) -> Option<f64> {
        (!self.latencies.is_empty()).then(|| of_sorted(&self.latencies, quantile))
    }
}

/// Sorts the values and takes the one at this share of their number.
pub(super) fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    of_sorted(values, quantile)
}

fn of_sorted(values: &[f64], quantile: f64) -> f64 {
    let at = ((values.len() as f64 - 1.0) * quantile).round();
    values.get(at.max(0.0) as usize).copied().unwrap_or(0.0)
}

/// Counters of the store and the process, to be compared after a measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    commits: u64,
    written_bytes: u64,
}

impl Counters {
    /// The process's own count of bytes written, beside the store's count of commits.
    pub(super) fn with(commits: u64) -> Self {
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).and_then(|text| text.parse().ok());
        Self { commits, written_bytes: written.unwrap_or(0) }
    }

    /// Puts the difference, per operation, into the sample.
    pub(super) fn until(&self, after: &Self, sample: &mut Sample, duration: Duration) {
        let operations = (sample.per_second * duration.as_secs_f64()).max(1.0);
        sample.flushes_per_op = Some((after.commits - self.commits) as f64 / operations);
        sample.written_per_op = Some((after.written_bytes - self.written_bytes) as f64 / operations);
    }
}

/// One line of the table: medians of the rounds, and the lowest and the highest.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    what: &'static str,
    connections: usize,
    per_second: f64,
    per_second_min: f64,
    per_second_max: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    flushes_per_op: Option<f64>,
    written_bytes_per_op: Option<f64>,
    /// Against the line `floor` with as many connections, or with one if that has none with as many.
    ratio: Option<f64>,
    floor: Option<&'static str>,
}

impl Row {
    /// What the rounds come to, held against its floor among earlier rows.
    pub(super) fn of(
        what: &'static str,
        connections: usize,
        samples: &[Sample],
        floor: Option<&'static str>,
        earlier: &[Self],
    ) -> Self {
        let each = |value: &dyn Fn(&Sample) -> Option<f64>| {
            let mut values: Vec<f64> = samples.iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |value: &dyn Fn(&Sample) -> Option<f64>| {
            let values = each(value);
            values.get(values.len() / 2).copied()
        };
        let rates = each(&|sample| Some(sample.per_second));
        let per_second = median(&|sample| Some(sample.per_second)).unwrap_or(0.0);
        let with = |number| earlier.iter().find(|row| Some(row.what) == floor && row.connections == number);
        Self {
            what,
            connections,
            per_second,
            per_second_min: rates.first().copied().unwrap_or(0.0),
            per_second_max: rates.last().copied().unwrap_or(0.0),
            p50_ms: median(&|sample| sample.quantile(0.5)),
            p99_ms: median(&|sample| sample.quantile(0.99)),
            p999_ms: median(&|sample| sample.quantile(0.999)),
            flushes_per_op: median(&|sample| sample.flushes_per_op),
            written_bytes_per_op: median(&|sample| sample.written_per_op),
            ratio: with(connections).or_else(|| with(1)).map(|beside| per_second / beside.per_second),
            floor,
        }
    }
}

/// Prints the rows as a table.
pub(super) fn print(rows: &[Row]) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "{:<30} {:>5} {:>10} {:>21} {:>9} {:>9} {:>9} {:>8} {:>8}  ratio",
        "", "conn", "per s", "(lowest-highest)", "p50 ms", "p99 ms", "p99.9", "flush/op", "bytes/op"
    )?;
    for row in rows {
        // Of what takes seconds the digits after the point matter.
        let digits = if row.per_second < 100.0 { 2 } else { 0 };
        let spread = format!("({:.digits$}-{:.digits$})", row.per_second_min, row.per_second_max);
        let optional =
            |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
        let ratio = row.ratio.zip(row.floor).map_or(String::new(), |(ratio, floor)| format!("{ratio:.2} of {floor}"));
        writeln!(
            output,
            "{:<30} {:>5} {:>10.digits$} {spread:>21} {:>9} {:>9} {:>9} {:>8} {:>8}  {ratio}",
            row.what,
            row.connections,
            row.per_second,
            optional(row.p50_ms, 2),
            optional(row.p99_ms, 2),
            optional(row.p999_ms, 2),
            optional(row.flushes_per_op, 3),
            optional(row.written_bytes_per_op, 0),
        )?;
    }
    Ok(())
}
