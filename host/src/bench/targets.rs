//! What this host is to reach, on a machine with two processors and the client on it as well, and whether it did.

use std::fmt;

use serde::Serialize;

use super::{sizes, works};

/// The machine the targets are for.
pub(super) const PROCESSORS: usize = 2;

/// Those of this machine.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a target is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    PerSecond,
    P50Ms,
    P99Ms,
    P999Ms,
    /// Against the row's floor.
    Ratio,
    Bytes,
}

impl Figure {
    /// Whether more is better.
    fn is_at_least(self) -> bool {
        matches!(self, Self::PerSecond | Self::Ratio)
    }
}

/// One target. Rows that are measured once have one connection.
struct Target {
    what: &'static str,
    connections: usize,
    figure: Figure,
    bound: f64,
}

const fn target(what: &'static str, connections: usize, figure: Figure, bound: f64) -> Target {
    Target { what, connections, figure, bound }
}

const TARGETS: [Target; 27] = [
    target(works::SUBMIT, 64, Figure::PerSecond, 30_000.0),
    target(works::SUBMIT, 64, Figure::Ratio, 0.25),
    target(works::SUBMIT, 256, Figure::PerSecond, 40_000.0),
    target(works::SUBMIT, 256, Figure::Ratio, 0.25),
    target(works::BATCH, 1, Figure::PerSecond, 100_000.0),
    // Two requests a job. Whoever asks again without a pause measures mostly their own questions.
    target(works::THEN_WAIT, 64, Figure::PerSecond, 20_000.0),
    target(works::THEN_WAIT, 256, Figure::PerSecond, 25_000.0),
    target(works::WAIT, 64, Figure::PerSecond, 25_000.0),
    // With one in flight, whichever way the result is asked for.
    target(works::WAIT, 1, Figure::P50Ms, 0.6),
    target(works::WAIT, 1, Figure::P99Ms, 1.2),
    target(works::POLL, 1, Figure::P50Ms, 0.6),
    target(works::POLL, 1, Figure::P99Ms, 1.2),
    target(works::SCHEDULED_JOBS, 1, Figure::P999Ms, 10.0),
    target(works::BUSY_SUBMIT, 1, Figure::P99Ms, 3.0),
    // At most one and a half times as long as the same code without a sandbox.
    target(works::ONE_DOCUMENT, 1, Figure::Ratio, 1.0 / 1.5),
    // On two threads: 0.95 of twice as many.
    target(works::EIGHT_DOCUMENTS, 1, Figure::Ratio, 1.9),
    target(works::INTEGRATE, 1, Figure::P50Ms, 50.0),
    target(works::CANCEL_COMPUTING, 1, Figure::P99Ms, 20.0),
    target(works::CANCEL_WAITING, 1, Figure::P99Ms, 20.0),
    target(works::DEADLINE_COMPUTING, 1, Figure::P99Ms, 20.0),
    target(works::DEADLINE_WAITING, 1, Figure::P99Ms, 20.0),
    target(works::START_COMPILING, 1, Figure::P50Ms, 250.0),
    target(works::START_COMPILED, 1, Figure::P50Ms, 60.0),
    target(works::COMPONENT, 1, Figure::PerSecond, 2_000.0),
    target(sizes::IDLE, 1, Figure::Bytes, 40e6),
    target(sizes::QUEUED, 1, Figure::Bytes, 200e6),
    target(sizes::PROGRAM, 1, Figure::Bytes, 40e6),
];

/// A target beside what was measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Judged {
    figure: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    pub(super) met: bool,
    /// What the parts of the work leave time for on this machine, where that is less than the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<f64>,
}

/// Judges a row by its targets. What was not measured is not judged.
///
/// No more than `ceiling` can be done in a second, if there is one.
pub(super) fn judge(
    what: &str,
    connections: usize,
    ceiling: Option<f64>,
    measured: impl Fn(Figure) -> Option<f64>,
) -> Vec<Judged> {
    let of_this = TARGETS.iter().filter(|target| target.what == what && target.connections == connections);
    let judged = of_this.filter_map(|&Target { figure, bound, .. }| {
        let value = measured(figure)?;
        let is_at_least = figure.is_at_least();
        let met = if is_at_least { value >= bound } else { value <= bound };
        let ceiling = ceiling.filter(|ceiling| figure == Figure::PerSecond && *ceiling < bound);
        let (at_least, at_most) = (is_at_least.then_some(bound), (!is_at_least).then_some(bound));
        Some(Judged { figure, at_least, at_most, met, ceiling })
    });
    judged.collect()
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.at_least.or(self.at_most).unwrap_or_default();
        match self.figure {
            Figure::PerSecond => write!(f, "{bound}/s")?,
            Figure::P50Ms => write!(f, "p50 {bound} ms")?,
            Figure::P99Ms => write!(f, "p99 {bound} ms")?,
            Figure::P999Ms => write!(f, "p99.9 {bound} ms")?,
            Figure::Ratio => write!(f, "ratio {bound:.2}")?,
            Figure::Bytes => write!(f, "{} MB", bound / 1e6)?,
        }
        f.write_str(if self.met { " met" } else { " MISSED" })?;
        self.ceiling.map_or(Ok(()), |ceiling| write!(f, " (its parts alone: {ceiling:.0}/s)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_of_something_that_is_measured() {
        for Target { what, connections, .. } in &TARGETS {
            let is_work =
                works::WORKS.iter().any(|work| work.what == *what && (work.per_connections || *connections == 1));
            assert!(is_work || [sizes::IDLE, sizes::QUEUED, sizes::PROGRAM].contains(what), "{what}");
        }
    }

    #[test]
    fn a_figure_that_is_just_what_was_aimed_at_is_enough() {
        let met = |what, figure, value: f64| {
            let judged = judge(what, 64, None, |asked| (asked == figure).then_some(value));
            judged.iter().map(|judged| judged.met).collect::<Vec<_>>()
        };
        assert_eq!(met(works::SUBMIT, Figure::PerSecond, 30_000.0), [true]);
        assert_eq!(met(works::SUBMIT, Figure::PerSecond, 29_999.0), [false]);
        let idle = |bytes| judge(sizes::IDLE, 1, None, |_| Some(bytes)).iter().all(|judged| judged.met);
        assert!(idle(40e6) && !idle(40e6 + 1.0));
        assert!(judge(works::SUBMIT, 64, None, |_| None).is_empty(), "nothing was measured");
    }
}
