//! What a store should do, in memory and as plainly as possible: the measure for the property test.
//!
//! How one job moves is decided by `dropforge::job` for every engine, so the model asks it, too. Everything else (who is
//! next, whose claim holds, what is kept) is said here a second time, with linear searches and no index.

mod entry;

use std::collections::HashMap;
use std::time::Duration;

use dropforge::job::{Ended, Job, JobId, Kind, Progress, State, USAGE_KEPT};
use dropforge::store::Retention;
use dropforge::time::Time;

use self::entry::Entry;
use crate::parts::BACKOFF;

/// What a step of priority is worth, in milliseconds of waiting.
const PRIORITY_STEP: i64 = 60_000;

#[derive(Debug, Clone)]
struct Key {
    id: JobId,
    request: u8,
    kept_until: Time,
}

/// Why the model refuses, in the words of `StoreError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    Fenced,
    QueueFull,
    KeyReused,
    Gone,
    WrongState,
}

/// How an attempt ended, as far as the model cares.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) ended: Ended,
    pub(crate) output: Vec<u8>,
    pub(crate) report: u64,
    pub(crate) now: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    entries: HashMap<JobId, Entry>,
    keys: HashMap<u8, Key>,
    claims: u64,
}

impl Model {
    pub(crate) fn get(&self, id: JobId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    fn entry(&mut self, id: JobId) -> Result<&mut Entry, Refusal> {
        self.entries.get_mut(&id).ok_or(Refusal::NotFound)
    }

    /// Every job, newest first.
    pub(crate) fn all(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.entries.values().map(Entry::seen).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        jobs
    }

    /// `key` is its name, the request it came with, and until when it is kept.
    pub(crate) fn submit(
        &mut self,
        job: Job,
        input: Vec<u8>,
        queue_max: u64,
        key: Option<(u8, u8, Time)>,
    ) -> Result<Job, Refusal> {
        let now = job.created_at;
        if let Some((name, request, _)) = key
            && let Some(earlier) = self.keys.get(&name).filter(|earlier| earlier.kept_until > now)
        {
            if earlier.request != request {
                return Err(Refusal::KeyReused);
            }
            if let Some(entry) = self.entries.get(&earlier.id) {
                return Ok(entry.seen());
            }
        }
        let of_kind = self.entries.values().filter(|entry| entry.job.kind == job.kind);
        if of_kind.filter(|entry| !entry.is_finished()).count() as u64 >= queue_max {
            return Err(Refusal::QueueFull);
        }
        if let Some((name, request, kept_until)) = key {
            self.keys.insert(name, Key { id: job.id, request, kept_until });
        }
        let kept = job.clone();
        let (output, usage, checkpoint, holder) = (None, Vec::new(), None, None);
        let entry = Entry { job, input, output, usage, content_gone: false, checkpoint, holder };
        self.entries.insert(kept.id, entry);
        Ok(kept)
    }

    /// Who is handed out, in which order, and the number of each claim.
    pub(crate) fn claim(&mut self, free: &[(Kind, usize)], total: usize, now: Time) -> Vec<(JobId, u64)> {
        let mut claimed = Vec::new();
        for (kind, slots) in free {
            let ready = |entry: &&mut Entry| {
                let is_late = entry.job.expires_at.is_some_and(|at| at <= now);
                let is_free = !entry.is_finished() && entry.holder.is_none();
                entry.job.kind == *kind && is_free && entry.due() <= now && !is_late
            };
            let mut ready: Vec<&mut Entry> = self.entries.values_mut().filter(ready).collect();
            ready.sort_by_key(|entry| (entry.due().0 - i64::from(entry.job.priority) * PRIORITY_STEP, entry.job.id));
            for entry in ready.into_iter().take((*slots).min(total - claimed.len())) {
                self.claims += 1;
                entry.holder = Some((self.claims, now));
                claimed.push((entry.job.id, self.claims));
            }
        }
        claimed
    }

    pub(crate) fn finish(&mut self, id: JobId, claim: u64, ending: Ending) -> Result<Job, Refusal> {
        let entry = self.entry(id)?;
        let holds = entry.holder.is_some_and(|(holder, _)| holder == claim);
        if entry.job.state != State::Cancelled && !holds {
            return Err(Refusal::Fenced);
        }
        entry.usage.push(ending.report);
        let surplus = entry.usage.len().saturating_sub(USAGE_KEPT);
        entry.usage.drain(..surplus);
        if holds {
            entry.holder = None;
            let mut job = entry.job.clone();
            (job.started_at, job.progress) = (Some(ending.now), progress(ending.report));
            entry.job = job.after_attempt(ending.ended, BACKOFF, 0.0, ending.now);
            entry.output = Some(ending.output).filter(|_| entry.job.state == State::Succeeded);
            entry.moved();
        }
        Ok(entry.seen())
    }

    pub(crate) fn save(&mut self, id: JobId, claim: u64, checkpoint: Vec<u8>) -> Result<(), Refusal> {
        match self.entries.get_mut(&id) {
            Some(entry) if entry.holder.is_some_and(|(holder, _)| holder == claim) => {
                entry.checkpoint = Some(checkpoint);
                Ok(())
            }
            _ => Err(Refusal::Fenced),
        }
    }

    pub(crate) fn cancel(&mut self, id: JobId, now: Time) -> Result<Job, Refusal> {
        let entry = self.entry(id)?;
        if !entry.is_finished() {
            entry.job = entry.seen().cancelled(now);
            entry.holder = None;
            entry.moved();
        }
        Ok(entry.seen())
    }

    pub(crate) fn retry(&mut self, id: JobId) -> Result<Job, Refusal> {
        let entry = self.entry(id)?;
        match entry.job.state {
            _ if entry.content_gone => Err(Refusal::Gone),
            State::Failed | State::Cancelled => {
                entry.job = entry.job.clone().reopened();
                Ok(entry.seen())
            }
            _ => Err(Refusal::WrongState),
        }
    }

    pub(crate) fn delete(&mut self, id: JobId) -> Result<Job, Refusal> {
        match self.entry(id)? {
            entry if !entry.is_finished() => Err(Refusal::WrongState),
            entry => {
                let job = entry.seen();
                self.entries.remove(&id);
                Ok(job)
            }
        }
    }

    /// Which jobs are failed for not having been started in time.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<JobId> {
        let mut expired = Vec::new();
        for entry in self.entries.values_mut() {
            let is_over = entry.job.expires_at.is_some_and(|at| at <= now);
            if is_over && entry.holder.is_none() && !entry.is_finished() {
                entry.job = entry.job.clone().expired(now);
                entry.moved();
                expired.push(entry.job.id);
            }
        }
        expired.sort();
        expired
    }

    pub(crate) fn retain(&mut self, retention: &Retention, now: Time) {
        let is_old = |entry: &Entry, ages: u32| {
            now.since(entry.job.finished_at.unwrap_or(now)) >= retention.age.saturating_mul(ages)
        };
        let mut finished: Vec<&mut Entry> = self.entries.values_mut().filter(|entry| entry.is_finished()).collect();
        finished.sort_by_key(|entry| entry.ended_at());
        let surplus = finished.len().saturating_sub(retention.jobs_max);
        let mut bytes: u64 = finished.iter().filter(|entry| !entry.content_gone).map(|entry| entry.bytes()).sum();
        let mut forgotten = Vec::new();
        for (nth, entry) in finished.into_iter().enumerate() {
            if !entry.content_gone && (bytes > retention.bytes_max || is_old(entry, 1)) {
                bytes -= entry.bytes();
                entry.content_gone = true;
            }
            if nth < surplus || is_old(entry, 2) {
                forgotten.push(entry.job.id);
            }
        }
        forgotten.iter().for_each(|id| drop(self.entries.remove(id)));
    }

    /// The process ends in good order and another begins: nobody has a job any more.
    pub(crate) fn reopen(&mut self) {
        for entry in self.entries.values_mut() {
            // It was started in time.
            if entry.holder.take().is_some() {
                entry.job.expires_at = None;
            }
        }
    }
}

/// A scheduled job whose moment has come may be called queued at any time from then on.
pub(crate) fn settled(mut job: Job, now: Time) -> Job {
    if job.state == State::Scheduled && job.run_at.is_some_and(|at| at <= now) {
        job.state = State::Queued;
    }
    job
}

/// How far an attempt came that left this report.
pub(crate) fn progress(report: u64) -> Progress {
    Progress { fraction: 0.5, message: format!("report {report}") }
}

/// A retention with these bounds; nothing means none.
pub(crate) fn retention(age_s: Option<u64>, jobs_max: Option<usize>, bytes_max: Option<u64>) -> Retention {
    Retention {
        age: age_s.map_or(Duration::MAX, Duration::from_secs),
        jobs_max: jobs_max.unwrap_or(usize::MAX),
        bytes_max: bytes_max.unwrap_or(u64::MAX),
    }
}
