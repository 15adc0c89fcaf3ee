//! The checks of files: who is next, how many at a time, and what becomes of what they tell.

use std::time::Duration;

use super::{Watcher, kind_of};
use crate::metrics;
use crate::plugins::Plugins;
use crate::plugins::checker::{Checked, Rejection, Task};
use crate::plugins::look::Found;
use crate::plugins::table::{FileReport, Step};

/// A larger file takes seconds to compile. Such files never take the last place, so that small ones need not wait for them.
const QUICK_BYTES_MAX: u64 = 8 << 20;

impl Watcher {
    /// Lines up a complete file for its checks, or says at once why there is nothing to check.
    pub(super) fn enqueue(&mut self, plugins: &Plugins, name: &str, found: &Found) {
        self.tickets += 1;
        if let Some(seen) = self.seen.get_mut(name) {
            seen.ticket = self.tickets;
        }
        self.has_changed = true;
        self.waiting.retain(|task| task.name != name);
        let kind = kind_of(name);
        let report = FileReport::new(name, kind.clone().ok(), found.wasm.len(), Step::Waiting);
        let kind = match kind {
            Ok(kind) => kind,
            Err(reason) => return plugins.reject(report, reason, None),
        };
        plugins.change(|table| drop(table.files.insert(name.to_owned(), report)));
        let serving = plugins.serving(&kind);
        let (name, found, ticket) = (name.to_owned(), found.clone(), self.tickets);
        self.waiting.push(Task { name, kind, found, serving, ticket });
    }

    /// Starts as many checks as there may be, the smallest files first.
    pub(super) fn start_waiting(&mut self, plugins: &Plugins) {
        self.waiting.sort_by_key(|task| std::cmp::Reverse(task.found.wasm.len()));
        let most = self.checker.settings.checks_max.max(1);
        while self.under_way.len() < most {
            let Some(task) = self.waiting.pop() else { return };
            let is_last_place = self.under_way.len() + 1 == most && most > 1;
            if task.found.wasm.len() > QUICK_BYTES_MAX && is_last_place {
                return self.waiting.push(task);
            }
            match self.checker.start(task.clone(), self.results.0.clone()) {
                Ok(()) => {
                    plugins.note_step(&task.name, Step::Compiling);
                    self.under_way.push(task);
                }
                Err(error) => {
                    let report = plugins.files().into_iter().find(|report| report.file == task.name);
                    if let Some(report) = report {
                        let reason = format!("the host could not start a thread to check it: {error}");
                        plugins.reject(report, reason, None);
                    }
                }
            }
        }
    }

    /// Takes note that a file is compiled and will be asked what it is.
    pub(super) fn note_compiled(&self, name: &str, ticket: u64, bytes: u64, took: Duration) {
        let Some(plugins) = self.plugins.upgrade() else { return };
        plugins.note_compiled(bytes, took);
        if self.seen.get(name).is_some_and(|seen| seen.ticket == ticket) {
            plugins.note_step(name, Step::Describing);
        }
    }

    /// Swaps in what was checked, or says why not, unless the file has changed or gone meanwhile.
    pub(super) fn take(&mut self, checked: Checked) {
        let Checked { name, ticket, learnt, result, fall_back, took_ms } = checked;
        metrics::note_load(Duration::from_millis(took_ms));
        self.under_way.retain(|task| task.ticket != ticket);
        let Some(plugins) = self.plugins.upgrade() else { return };
        let Some(seen) = self.seen.get_mut(&name) else {
            // Removed while it was checked, which may have kept it.
            return self.checker.kept.forget(&name);
        };
        if seen.ticket != ticket {
            return;
        }
        let Some(mut report) = plugins.files().into_iter().find(|report| report.file == name) else { return };
        report.digest = learnt.digest;
        // As they were before they were read: one that has changed since is found changed at the next look.
        seen.stamps.learn(learnt.secrets);
        seen.silent = learnt.silent;
        match result {
            Ok(plugin) => plugins.serve(report, plugin, took_ms),
            Err(Rejection::NotUsable(reason)) => plugins.reject(report, reason, fall_back),
            // The next look finds it the same twice, and it is read again.
            Err(Rejection::Changed) => seen.checked = false,
        }
    }
}
