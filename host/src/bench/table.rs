//! Samples, and the table that is made of them.

use std::io::Write;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::targets::{self, Figure, Judged, processors};

/// So many share a commit that more of them would save little.
const MANY: usize = 64;

/// What was done so many times, and how long each took.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Operations per second, where they came one after the other.
    per_second: Option<f64>,
    /// Latencies in milliseconds, sorted.
    latencies: Vec<f64>,
    /// Commits of the store per operation, where a store was part of it.
    flushes_per_op: Option<f64>,
    /// Bytes the process wrote per operation, likewise.
    written_per_op: Option<f64>,
    /// Microseconds of processor time this process spent per operation: the host, its jobs and the client, all threads together. A
    /// machine that others slow down spends more of them by the clock, but hardly more of these.
    cpu_us_per_op: Option<f64>,
}

impl Sample {
    /// So many latencies, in milliseconds, within this time.
    pub(super) fn new(latencies: Vec<f64>, duration: Duration) -> Self {
        let per_second = Some(latencies.len() as f64 / duration.as_secs_f64());
        Self { per_second, ..Self::of_latencies(latencies) }
    }

    /// So many latencies, in milliseconds, with pauses in between, so that there is no rate.
    pub(super) fn of_latencies(mut latencies: Vec<f64>) -> Self {
        latencies.sort_by(f64::total_cmp);
        Self { latencies, ..Self::default() }
    }

    /// So many operations whose single latencies mean nothing, within this time.
    pub(super) fn of_many(operations: usize, duration: Duration) -> Self {
        Self { per_second: Some(operations as f64 / duration.as_secs_f64()), ..Self::default() }
    }

    /// How many there were, if each was timed.
    pub(super) fn operations(&self) -> usize {
        self.latencies.len()
    }

    /// The latency at this share of their number.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        (!self.latencies.is_empty()).then(|| of_sorted(&self.latencies, quantile))
    }
}

/// A duration as the tables have it.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
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

    /// Puts the difference, for each of so many operations, into the sample.
    pub(super) fn until(&self, after: &Self, sample: &mut Sample, operations: usize) {
        let operations = operations.max(1) as f64;
        sample.flushes_per_op = Some((after.commits - self.commits) as f64 / operations);
        sample.written_per_op = Some((after.written_bytes - self.written_bytes) as f64 / operations);
    }
}

/// Processor time this process has used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuTime(Duration);

impl CpuTime {
    pub(super) fn now() -> Self {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        // Neither is ever negative; there are less than 2^32 nanoseconds in a second.
        Self(Duration::new(used.tv_sec as u64, used.tv_nsec as u32))
    }

    /// Puts what was used since then, for each of so many operations, into the sample.
    pub(super) fn until_now(self, sample: &mut Sample, operations: usize) {
        let used = Self::now().0.saturating_sub(self.0);
        sample.cpu_us_per_op = Some(milliseconds(used) * 1_000.0 / operations.max(1) as f64);
    }
}

/// One line of the table: medians of the rounds, and the lowest and the highest.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    what: &'static str,
    /// Nothing where the work says itself how many.
    connections: Option<usize>,
    /// Nothing where operations had pauses in between.
    per_second: Option<f64>,
    per_second_min: Option<f64>,
    per_second_max: Option<f64>,
    p50_ms: Option<f64>,
    p50_ms_min: Option<f64>,
    p50_ms_max: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    flushes_per_op: Option<f64>,
    written_bytes_per_op: Option<f64>,
    cpu_us_per_op: Option<f64>,
    /// The same of its parts, each measured alone.
    parts_cpu_us: Option<f64>,
    /// Operations per second that the processors have time for if only its parts took any.
    ceiling_per_second: Option<f64>,
    /// How fast it is against the line `floor` with as many connections, or with one if that has none with as many: 1 is as fast.
    ratio: Option<f64>,
    floor: Option<&'static str>,
    targets: Vec<Judged>,
}

/// Of the rounds.
struct Spread {
    lowest: Option<f64>,
    median: Option<f64>,
    highest: Option<f64>,
}

impl Spread {
    fn of(samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Self {
        let mut values: Vec<f64> = samples.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (values.first().copied(), values.last().copied());
        Self { lowest, median: values.get(values.len() / 2).copied(), highest }
    }
}

impl Row {
    /// What the rounds come to, held against its floor among earlier rows, and against its targets.
    pub(super) fn of(
        what: &'static str,
        connections: Option<usize>,
        samples: &[Sample],
        (floor, parts): (Option<&'static str>, &[&str]),
        earlier: &[Self],
    ) -> Self {
        let rate = Spread::of(samples, |sample| sample.per_second);
        let p50 = Spread::of(samples, |sample| sample.quantile(0.5));
        let median = |value: fn(&Sample) -> Option<f64>| Spread::of(samples, value).median;
        let mut row = Self {
            what,
            connections,
            per_second: rate.median,
            per_second_min: rate.lowest,
            per_second_max: rate.highest,
            p50_ms: p50.median,
            p50_ms_min: p50.lowest,
            p50_ms_max: p50.highest,
            p99_ms: median(|sample| sample.quantile(0.99)),
            p999_ms: median(|sample| sample.quantile(0.999)),
            flushes_per_op: median(|sample| sample.flushes_per_op),
            written_bytes_per_op: median(|sample| sample.written_per_op),
            cpu_us_per_op: median(|sample| sample.cpu_us_per_op),
            parts_cpu_us: None,
            ceiling_per_second: None,
            ratio: None,
            floor,
            targets: Vec::new(),
        };
        let number = connections.unwrap_or(1);
        let with =
            |number| earlier.iter().find(|row| Some(row.what) == floor && row.connections.unwrap_or(1) == number);
        row.ratio = with(number).or_else(|| with(1)).and_then(|floor| row.against(floor));
        row.parts_cpu_us = cpu_us_of(parts, connections, earlier);
        row.ceiling_per_second = row.parts_cpu_us.map(|us| processors() as f64 * 1e6 / us);
        row.targets = targets::judge(what, number, row.ceiling_per_second, |figure| row.figure(figure));
        row
    }

    /// How fast it is against another: by rates, or where there are none by latencies.
    fn against(&self, other: &Self) -> Option<f64> {
        let by_rate = self.per_second.zip(other.per_second).map(|(own, other)| own / other);
        by_rate.or_else(|| self.p50_ms.zip(other.p50_ms).map(|(own, other)| other / own))
    }

    fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::PerSecond => self.per_second,
            Figure::P50Ms => self.p50_ms,
            Figure::P99Ms => self.p99_ms,
            Figure::P999Ms => self.p999_ms,
            Figure::Ratio => self.ratio,
            Figure::Bytes => None,
        }
    }

    /// The targets it was held against.
    pub(super) fn targets(&self) -> &[Judged] {
        &self.targets
    }

    /// The lowest and the highest of what stands beside it: of the rates, or where there are none of the medians of latencies.
    fn spread(&self) -> String {
        let text = |lowest: f64, highest: f64, unit: &str| {
            // Of what takes seconds the digits after the point matter.
            let digits = if highest < 100.0 { 2 } else { 0 };
            format!("({lowest:.digits$}-{highest:.digits$}{unit})")
        };
        match (self.per_second_min.zip(self.per_second_max), self.p50_ms_min.zip(self.p50_ms_max)) {
            (Some((lowest, highest)), _) => text(lowest, highest, ""),
            (None, Some((lowest, highest))) => text(lowest, highest, " ms"),
            (None, None) => String::new(),
        }
    }
}

/// Processor time of all these together, each with as many connections; for work that says itself how many, as soon as they are
/// [`MANY`]. Nothing if one of them was not measured.
fn cpu_us_of(parts: &[&str], connections: Option<usize>, rows: &[Row]) -> Option<f64> {
    let stands_for = |row: &&Row| {
        row.connections == connections
            || row.connections.is_none()
            || connections.is_none() && row.connections >= Some(MANY)
    };
    let of_part = |part: &&str| {
        let rows = rows.iter().filter(|row| row.what == *part);
        rows.filter(stands_for).max_by_key(|row| row.connections).and_then(|row| row.cpu_us_per_op)
    };
    if parts.is_empty() { None } else { parts.iter().map(of_part).sum() }
}

/// Prints the rows as a table.
pub(super) fn print(rows: &[Row]) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "{:<30} {:>5} {:>10} {:>21} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7}  {:<32} targets",
        "",
        "conn",
        "per s",
        "(lowest-highest)",
        "p50 ms",
        "p99 ms",
        "p99.9",
        "flush/op",
        "bytes/op",
        "cpu us",
        "parts",
        "ratio"
    )?;
    let optional = |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
    let microseconds = |us: Option<f64>| optional(us, if us.is_some_and(|us| us < 100.0) { 1 } else { 0 });
    for row in rows {
        let digits = if row.per_second.is_some_and(|rate| rate < 100.0) { 2 } else { 0 };
        let ratio = row.ratio.zip(row.floor).map_or(String::new(), |(ratio, floor)| format!("{ratio:.2} of {floor}"));
        let targets: Vec<String> = row.targets.iter().map(ToString::to_string).collect();
        let line = format!(
            "{:<30} {:>5} {:>10} {:>21} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7}  {ratio:<32} {}",
            row.what,
            row.connections.map_or(String::new(), |number| number.to_string()),
            optional(row.per_second, digits),
            row.spread(),
            optional(row.p50_ms, 2),
            optional(row.p99_ms, 2),
            optional(row.p999_ms, 2),
            optional(row.flushes_per_op, 3),
            optional(row.written_bytes_per_op, 0),
            microseconds(row.cpu_us_per_op),
            microseconds(row.parts_cpu_us),
            targets.join(", "),
        );
        writeln!(output, "{}", line.trim_end())?;
    }
    Ok(())
}
