//! What is known of the plugin folder: where each file stands, and what serves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::pace::Pace;
use super::{Plugin, Plugins};
use crate::job::{Kind, printable};
use crate::store::Retention;
use crate::time::{Span, Time};

/// A longer reason for rejecting a file is cut.
const REASON_BYTES_MAX: usize = 8 * 1024;

/// Where a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Being checked.
    Compiling,
    /// Jobs run on it.
    Serving,
    /// Not usable; the reason says why.
    Rejected,
}

/// What is being done with a file that is being checked, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It was found a moment ago, or still changes: whoever writes it may not be done.
    Settling,
    /// Other files are compiled before it.
    Waiting,
    /// It is read and compiled, or its compiled code is found.
    Compiling,
    /// It is compiled, and asked to describe itself.
    Describing,
}

/// One file of the folder.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PluginFileReport)]
pub struct FileReport {
    /// Its name.
    pub file: String,
    /// The kind it would serve, if the name allows one.
    #[schema(required)]
    pub kind: Option<Kind>,
    /// Where it stands.
    pub state: FileState,
    /// What is being done with it, while it is `compiling`.
    #[schema(required)]
    pub step: Option<Step>,
    /// Since when it stands there.
    pub since: Time,
    /// Its size in bytes when it was looked at last.
    pub size: u64,
    /// Why it was rejected.
    #[schema(required)]
    pub reason: Option<String>,
    /// SHA-256 of its content, once read.
    #[schema(required)]
    pub digest: Option<String>,
    /// SHA-256 of the last good version, where that serves the kind although the file is not, or not yet, usable as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub serves_instead: Option<String>,
    /// `since`, by a clock that nobody sets.
    #[serde(skip)]
    #[schema(ignore)]
    pub(super) began: Instant,
}

impl FileReport {
    /// A file of which nothing is known yet.
    pub(super) fn new(file: &str, kind: Option<Kind>, size: u64, step: Step) -> Self {
        Self {
            file: file.to_owned(),
            kind,
            state: FileState::Compiling,
            step: Some(step),
            since: Time::now(),
            size,
            reason: None,
            digest: None,
            serves_instead: None,
            began: Instant::now(),
        }
    }

    /// Whether it is being checked, and this is what is done with it.
    pub(super) fn is_at(&self, step: Step) -> bool {
        self.state == FileState::Compiling && self.step == Some(step)
    }

    /// The next thing is done with a file that is being checked.
    fn go_to(&mut self, step: Step) {
        if self.step != Some(step) {
            (self.step, self.since, self.began) = (Some(step), Time::now(), Instant::now());
        }
    }

    /// The check is over.
    fn end_as(&mut self, state: FileState) {
        (self.state, self.step, self.since, self.began) = (state, None, Time::now(), Instant::now());
    }
}

/// All that is known.
pub(super) struct Table {
    pub(super) files: BTreeMap<String, FileReport>,
    /// Kinds that have a file in the folder, also one that is still being written.
    pub(super) present: BTreeSet<Kind>,
    pub(super) serving: BTreeMap<Kind, Arc<Plugin>>,
    pub(super) scanned: bool,
    pub(super) folder_reason: Option<String>,
    /// How long files take to compile here.
    pub(super) pace: Pace,
    /// When the host began to look.
    pub(super) began: Instant,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            present: BTreeSet::new(),
            serving: BTreeMap::new(),
            scanned: false,
            folder_reason: None,
            pace: Pace::default(),
            began: Instant::now(),
        }
    }

    /// Every file, each with what serves in its stead.
    pub(super) fn listed(&self) -> Vec<FileReport> {
        let listed =
            |report: &FileReport| FileReport { serves_instead: self.serving_instead(report), ..report.clone() };
        self.files.values().map(listed).collect()
    }

    fn serving_instead(&self, report: &FileReport) -> Option<String> {
        let kind = report.kind.as_ref().filter(|_| report.state != FileState::Serving)?;
        self.serving.get(kind).map(|plugin| plugin.digest.clone())
    }

    /// How long finished jobs of certain kinds are kept: as their settings say, and for ever where those are not known.
    pub(super) fn retention(&self, host: Retention) -> HashMap<Kind, Retention> {
        let all = Retention { age: Duration::MAX, jobs_max: usize::MAX, bytes_max: u64::MAX };
        let unknown = self.present.iter().filter(|kind| !self.serving.contains_key(*kind));
        let own = self.serving.values().filter(|plugin| plugin.settings.has_retention());
        let own = own.map(|plugin| (plugin.kind.clone(), plugin.settings.retention(host)));
        own.chain(unknown.map(|kind| (kind.clone(), all))).collect()
    }
}

impl Plugins {
    /// Takes note of what is done with a file that is being checked.
    pub(super) fn note_step(&self, file: &str, step: Step) {
        self.note(|table| {
            if let Some(report) = table.files.get_mut(file).filter(|report| report.state == FileState::Compiling) {
                report.go_to(step);
            }
        });
    }

    /// Lists a file that is not complete yet, as far as one can tell from outside. One that serves goes on being listed as what it is.
    pub(super) fn note_settling(&self, file: &str, kind: Kind, size: u64) {
        self.note(|table| match table.files.get_mut(file) {
            Some(report) if report.state == FileState::Serving => {}
            Some(report) if report.state == FileState::Compiling => {
                report.size = size;
                report.go_to(Step::Settling);
            }
            _ => drop(table.files.insert(file.to_owned(), FileReport::new(file, Some(kind), size, Step::Settling))),
        });
    }

    /// Takes note that the compiler took so long for so many bytes.
    pub(super) fn note_compiled(&self, bytes: u64, took: Duration) {
        self.note(|table| table.pace.note(bytes, took));
    }

    /// Swaps in what was found good.
    pub(super) fn serve(&self, mut report: FileReport, plugin: Arc<Plugin>, took_ms: u64) {
        report.end_as(FileState::Serving);
        tracing::info!(
            plugin.file = report.file,
            plugin.digest = plugin.digest,
            timeout = %Span(plugin.limits.timeout),
            duration_ms = took_ms,
            "plugin serves"
        );
        for doubt in &plugin.settings.doubts {
            tracing::warn!(plugin.file = report.file, doubt, "a setting of the kind may not be meant");
        }
        let others = self.all_serving().into_iter().filter(|other| other.digest == plugin.digest);
        for twin in others.filter(|other| other.kind != plugin.kind) {
            tracing::info!(plugin.file = report.file, kind = %twin.kind, "the same file serves as another kind as well");
        }
        self.change(|table| {
            table.serving.insert(plugin.kind.clone(), plugin);
            table.files.insert(report.file.clone(), report);
        });
    }

    /// Lists a file with the reason why it is not used, and lets the last good version serve where nothing does.
    pub(super) fn reject(&self, mut report: FileReport, reason: String, fall_back: Option<Arc<Plugin>>) {
        report.end_as(FileState::Rejected);
        // It speaks of names that stand in the file.
        let reason = printable(reason, "\n", REASON_BYTES_MAX);
        report.reason = Some(reason.clone());
        self.change(|table| {
            table.serving.extend(fall_back.map(|plugin| (plugin.kind.clone(), plugin)));
            let serves_instead = table.serving_instead(&report);
            tracing::warn!(plugin.file = report.file, reason, serves_instead, "plugin file rejected");
            table.files.insert(report.file.clone(), report);
        });
    }

    /// Lets go of a file that was removed, and of its kind.
    pub(super) fn retire(&self, file: &str) {
        self.change(|table| {
            if let Some(kind) = table.files.remove(file).and_then(|report| report.kind) {
                table.serving.remove(&kind);
                tracing::info!(plugin.file = file, "plugin removed");
            }
        });
    }

    /// Says, once in the log and as long as it lasts in the list, why what lies in the folder is not known. What serves goes on
    /// serving: it may come back.
    pub(super) fn complain(&self, reason: Option<String>) {
        let reason = reason.map(|reason| printable(reason, "", REASON_BYTES_MAX));
        if self.folder_reason() == reason {
            return;
        }
        match &reason {
            Some(reason) => {
                tracing::error!(reason, "what lies in the plugin folder is not known; what serves goes on serving")
            }
            None => tracing::info!("the plugin folder can be read again"),
        }
        self.note(|table| table.folder_reason = reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault: a file that is still being written when the first scan is over, or is rejected, costs its kind what it keeps for longer.
    #[test]
    fn what_a_kind_has_kept_stays_while_it_has_a_file_that_does_not_serve() {
        let kind = |name: &str| Kind::new(name).expect("well-formed");
        let host = Retention { age: Duration::from_secs(1), jobs_max: 1, bytes_max: 1 };
        let mut table = Table { present: BTreeSet::from([kind("a")]), ..Table::new() };
        let rules = table.retention(host);
        assert_eq!((rules.len(), rules[&kind("a")].age), (1, Duration::MAX));
        assert_eq!((rules[&kind("a")].jobs_max, rules[&kind("a")].bytes_max), (usize::MAX, u64::MAX));
        table.present.clear();
        assert!(table.retention(host).is_empty());
    }
}
