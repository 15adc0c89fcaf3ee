//! A job as the model has it: its record, what is kept beside it, and who has it.

use dropforge::job::{Job, JobId, State};
use dropforge::time::Time;

/// A job, and what the store keeps beside its record.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As it would be if nobody had it.
    pub(crate) job: Job,
    pub(crate) input: Vec<u8>,
    pub(crate) output: Option<Vec<u8>>,
    /// The number of each report, oldest first.
    pub(crate) usage: Vec<u64>,
    pub(crate) content_gone: bool,
    /// What an attempt left for the next one.
    pub(crate) checkpoint: Option<Vec<u8>>,
    /// Which claim has it, and since when.
    pub(super) holder: Option<(u64, Time)>,
}

impl Entry {
    /// The job as everybody sees it.
    pub(crate) fn seen(&self) -> Job {
        let mut job = self.job.clone();
        if let Some((_, since)) = self.holder {
            (job.state, job.started_at) = (State::Running, Some(since));
        }
        job
    }

    pub(super) fn due(&self) -> Time {
        self.job.run_at.unwrap_or(self.job.created_at)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.job.state.is_terminal()
    }

    /// To be called after every move: what was kept for the next attempt goes when there is none.
    pub(super) fn moved(&mut self) {
        if self.is_finished() {
            self.checkpoint = None;
        }
    }

    /// When a finished one ended.
    pub(super) fn ended_at(&self) -> (Option<Time>, JobId) {
        (self.job.finished_at, self.job.id)
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.input.len() + self.output.as_ref().map_or(0, Vec::len)) as u64
    }
}
