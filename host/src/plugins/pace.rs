//! Why a kind cannot be used now, and when it is worth asking again: from what compiling has cost on this host so far.

use std::sync::Arc;
use std::time::Duration;

use super::folder::QUIET;
use super::table::{FileReport, FileState, Step, Table};
use super::{Plugin, Plugins};
use crate::job::Kind;

/// Smaller files mostly show what it takes to begin.
const TELLING_BYTES_MIN: u64 = 512 * 1024;
/// After so many bytes what was known before counts half: the last few large files decide.
const HALF_LIFE_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// Until something is known: half a megabyte takes a second.
const BYTES_AT_FIRST: f64 = HALF_LIFE_BYTES;
const SECONDS_AT_FIRST: f64 = 8.0;
/// No file is expected to take longer, in seconds; so that sums of such times stay within what can be represented.
const EXPECTED_S_MAX: f64 = 3600.0;
/// Asking a component to describe itself takes no longer, by its limits.
const DESCRIBING: Duration = Duration::from_secs(1);
/// Bounds of what anybody is told to wait.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// What takes longer than expected is looked at again after this part of the time it has taken.
const OVERDUE_PART: u32 = 4;

/// What compiling costs, from the files that were compiled since the host was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    bytes: f64,
    seconds: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bytes: BYTES_AT_FIRST, seconds: SECONDS_AT_FIRST }
    }
}

impl Pace {
    pub(super) fn note(&mut self, bytes: u64, took: Duration) {
        if bytes < TELLING_BYTES_MIN {
            return;
        }
        let kept = 0.5_f64.powf(bytes as f64 / HALF_LIFE_BYTES);
        self.bytes = self.bytes * kept + bytes as f64;
        self.seconds = self.seconds * kept + took.as_secs_f64();
    }

    /// How long a file of this size is likely to take.
    fn expect(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64((bytes as f64 * self.seconds / self.bytes).min(EXPECTED_S_MAX))
    }
}

/// Why nothing can be submitted to a kind now.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its file is being checked, or the folder has not been read yet.
    NotReady {
        /// What is being done, and since when: a sentence without its end.
        what: String,
        /// When it is worth asking again: 1 s to 60 s.
        again_in: Duration,
    },
    /// It has a file, which cannot be used.
    Rejected {
        /// The file.
        file: String,
        /// Why; for those who may see the list of files.
        reason: String,
    },
    /// There is no such file.
    Unknown,
}

impl Plugins {
    /// The plugin serving a kind, or why there is none.
    pub fn find(&self, kind: &Kind) -> Result<Arc<Plugin>, Unusable> {
        self.read(|table| table.serving.get(kind).cloned().ok_or_else(|| table.why_not(kind)))
    }
}

impl Table {
    fn why_not(&self, kind: &Kind) -> Unusable {
        let report = self.files.values().find(|report| report.kind.as_ref() == Some(kind));
        match report {
            Some(report) if report.state == FileState::Compiling => self.not_ready(report),
            Some(FileReport { file, reason: Some(reason), .. }) => {
                Unusable::Rejected { file: file.clone(), reason: reason.clone() }
            }
            _ if !self.scanned => {
                let took = self.began.elapsed();
                let what = format!(
                    "the host was started {} ago and reads its plugin folder for the first time",
                    whole_seconds(took)
                );
                let left = self.files.values().map(|report| self.left(report)).sum::<Duration>();
                Unusable::NotReady { what, again_in: again(left, took) }
            }
            _ => Unusable::Unknown,
        }
    }

    fn not_ready(&self, report: &FileReport) -> Unusable {
        let FileReport { file, size, .. } = report;
        let took = report.began.elapsed();
        let (so_far, expected) = (whole_seconds(took), whole_seconds(self.pace.expect(*size)));
        let mut left = self.left(report);
        let what = match report.step {
            Some(Step::Settling) | None => {
                let quiet = whole_seconds(QUIET);
                format!(
                    "{file} was found {so_far} ago, has {size} bytes, and counts as complete once nothing has happened to it for {quiet}"
                )
            }
            Some(Step::Waiting) => {
                let before: Vec<_> = self.files.values().filter(|other| goes_before(other, report)).collect();
                left += before.iter().map(|other| self.left(other)).sum::<Duration>();
                format!("{file} has waited {so_far} to be compiled, with {} before it", files(before.len()))
            }
            Some(Step::Compiling) => format!(
                "{file} has been compiling for {so_far}; {size} bytes are expected to take {expected} on this host as it is"
            ),
            Some(Step::Describing) => {
                format!("{file} is compiled, and has been asked to describe itself {so_far} ago")
            }
        };
        Unusable::NotReady { what, again_in: again(left, took) }
    }

    /// How much longer a file is likely to take, other files aside.
    fn left(&self, report: &FileReport) -> Duration {
        let expected = self.pace.expect(report.size);
        match report.step {
            _ if report.state != FileState::Compiling => Duration::ZERO,
            Some(Step::Settling) | None => QUIET.saturating_add(expected),
            Some(Step::Waiting) => expected,
            Some(Step::Compiling) => expected.saturating_sub(report.began.elapsed()),
            Some(Step::Describing) => DESCRIBING,
        }
    }
}

/// Whether a file is compiled before one that waits: it is under way, or smaller.
fn goes_before(other: &FileReport, waiting: &FileReport) -> bool {
    other.is_at(Step::Compiling) || other.is_at(Step::Waiting) && other.size < waiting.size
}

fn again(left: Duration, took: Duration) -> Duration {
    left.max(took / OVERDUE_PART).clamp(AGAIN_MIN, AGAIN_MAX)
}

fn whole_seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64().round())
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn report(name: &str, size: u64, step: Step, took: Duration) -> FileReport {
        let kind = Kind::new(name).expect("well-formed");
        let began = Instant::now().checked_sub(took).expect("the machine has run for longer");
        FileReport { began, ..FileReport::new(&format!("{name}.wasm"), Some(kind), size, step) }
    }

    fn table(reports: &[FileReport]) -> Table {
        let mut table = Table::new();
        table.scanned = true;
        table.files = reports.iter().map(|report| (report.file.clone(), report.clone())).collect();
        table
    }

    /// What somebody who wants this kind is told.
    fn told(table: &Table, name: &str) -> (String, u64) {
        match table.why_not(&Kind::new(name).expect("well-formed")) {
            Unusable::NotReady { what, again_in } => (what, again_in.as_secs_f64().round() as u64),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_longer_it_takes_the_later_is_it_worth_asking_again() {
        let seconds = Duration::from_secs;
        for (size, took, expected) in [
            (MIB / 8, 0, 1),
            (8 * MIB, 0, 16),
            (8 * MIB, 10, 6),
            (8 * MIB, 16, 4),
            (8 * MIB, 40, 10),
            (8 * MIB, 400, 60),
            (256 * MIB, 0, 60),
        ] {
            let (what, again) = told(&table(&[report("a", size, Step::Compiling, seconds(took))]), "a");
            assert_eq!(again, expected, "{size} bytes after {took} s");
            assert!(what.contains(&format!("a.wasm has been compiling for {took} s")), "{what}");
        }
    }

    #[test]
    fn every_step_says_what_it_is() {
        let now = Duration::ZERO;
        let large = report("large", 8 * MIB, Step::Compiling, Duration::from_secs(6));
        let files = [
            large.clone(),
            report("next", 4 * MIB, Step::Waiting, now),
            report("last", 8 * MIB, Step::Waiting, now),
            report("new", 2 * MIB, Step::Settling, now),
            report("asked", MIB, Step::Describing, now),
        ];
        let table = table(&files);
        for (name, words, expected) in [
            ("next", "to be compiled, with 1 file before it", 10 + 8),
            ("last", "to be compiled, with 2 files before it", 10 + 8 + 16),
            ("new", "counts as complete once nothing has happened to it for 1 s", 1 + 4),
            ("asked", "asked to describe itself", 1),
        ] {
            let (what, again) = told(&table, name);
            assert!(what.contains(words), "{what}");
            assert_eq!(again, expected, "{name}");
        }
        assert_eq!(table.why_not(&Kind::new("nobody").expect("well-formed")), Unusable::Unknown);
        let unread = Table { scanned: false, ..table };
        assert!(told(&unread, "nobody").0.contains("for the first time"));
    }

    #[test]
    fn what_is_expected_follows_what_compiling_has_cost() {
        let mut pace = Pace::default();
        assert_eq!(pace.expect(MIB), Duration::from_secs(2));
        for _ in 0..20 {
            pace.note(4 * MIB, Duration::from_secs(1));
        }
        let measured = pace.expect(16 * MIB);
        assert!((measured.as_secs_f64() - 4.0).abs() < 0.01, "{measured:?}");
        for (bytes, took) in [(TELLING_BYTES_MIN - 1, Duration::from_secs(9)), (0, Duration::ZERO)] {
            pace.note(bytes, took);
            assert_eq!(pace.expect(16 * MIB), measured, "a file of {bytes} bytes says nothing of large ones");
        }
        pace.note(TELLING_BYTES_MIN, Duration::from_secs(9));
        assert!(pace.expect(16 * MIB) > measured);
        assert_eq!(pace.expect(u64::MAX), Duration::from_secs(3600));
    }
}
