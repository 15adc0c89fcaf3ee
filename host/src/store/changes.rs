//! What each change does to a job: checked against the newest state, then added to the group's commit. `submit` is how a job
//! comes in, `removal` how it goes; what moves it on the way is here.

mod removal;
mod report;
mod submit;

use self::report::write_usage;
use super::group::Group;
use super::keys::{self, Part};
use super::record::{Record, StoredArtifact};
use super::stored::Stored;
use super::writes::Writes;
use super::{Attempt, StoreError, Token};
use crate::job::{Backoff, Ended, Job, JobId, Progress, State, Usage};
use crate::time::Time;

impl Group<'_> {
    pub(super) fn finish(&mut self, id: JobId, token: Token, attempt: Attempt) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        let mut writes = Writes::default();
        write_usage(&mut writes, &mut record, Usage { run: token.run(), ..attempt.usage })?;
        if record.job.state == State::Cancelled {
            // The cancel is on disk already; of the attempt it stopped only the report is still wanted.
            return self.put(record, writes, &[]);
        }
        if record.job.state.is_terminal() || self.is_changed(id) || !self.disk.index().holds(id, token) {
            return Err(StoreError::Fenced);
        }
        record.job.progress = attempt.progress;
        record.job.started_at = Some(attempt.started_at);
        // It came back, so it did not bring the host down. An interrupted one has not shown that yet.
        record.suspect &= attempt.ended == Ended::Interrupted;
        record.job = record.job.after_attempt(attempt.ended, attempt.backoff, attempt.jitter, attempt.now);
        let mut blobs = Vec::new();
        if record.job.state == State::Succeeded {
            if let Some(output) = attempt.output {
                let mut room = record.room();
                record.output = Some(writes.payload(id, Part::Output, &output, &mut room)?);
                record.bytes += output.content.size();
                blobs.extend(output.content.into_blob());
            }
            for (number, artifact) in (0u32..).zip(attempt.artifacts) {
                let content = artifact.payload.content;
                writes.content(id, Part::Artifact(number), &content)?;
                let stored = Stored::of(&artifact.payload.media_type, &content);
                let entry = StoredArtifact { name: artifact.name, sha256: artifact.sha256, stored };
                writes.record(&keys::artifact_key(id, number), &entry)?;
                record.artifacts = number + 1;
                record.bytes += content.size();
                blobs.extend(content.into_blob());
            }
        }
        self.put(record, writes, &blobs)
    }

    pub(super) fn cancel(&mut self, id: JobId, progress: Option<Progress>, now: Time) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        if record.job.state.is_terminal() {
            // Idempotent; still answered after the flush, since the state may come from this very group.
            return Ok(record.job);
        }
        // An attempt under way leaves its traces: when it started, how far it came.
        self.disk.index().overlay(&mut record.job);
        record.job.progress = progress.unwrap_or(record.job.progress);
        record.job = record.job.cancelled(now);
        record.suspect = false;
        self.put(record, Writes::default(), &[])
    }

    /// Refuses what cannot be done to a job as readers see it: its record does not know that it runs.
    fn wrong_state(&self, mut job: Job) -> StoreError {
        self.disk.index().overlay(&mut job);
        StoreError::WrongState(job.state)
    }

    pub(super) fn retry(&mut self, id: JobId, queue_max: u64) -> Result<Job, StoreError> {
        let record = self.load(id)?;
        match record.job.state {
            _ if record.content_gone => return Err(StoreError::Gone),
            State::Failed | State::Cancelled => {}
            _ => return Err(self.wrong_state(record.job)),
        }
        let kind = record.job.kind.clone();
        self.add_to_queue(&kind, queue_max, |group| group.reopen(record))
    }

    fn reopen(&mut self, mut record: Record) -> Result<Job, StoreError> {
        let id = record.job.id;
        record.job = record.job.reopened();
        let mut writes = Writes::default();
        let renewed = self.renew_webhook(id, &mut writes)?;
        let job = self.put(record, writes, &[])?;
        if renewed.is_some() {
            self.set_webhook(id, renewed);
        }
        Ok(job)
    }

    pub(super) fn expire(&mut self, id: JobId, now: Time) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        let started = self.disk.index().state(id) == Some(State::Running);
        if started || record.job.state.is_terminal() {
            return Err(StoreError::Fenced);
        }
        record.job = record.job.expired(now);
        self.put(record, Writes::default(), &[])
    }

    /// Puts a job under suspicion, and charges it with a crash if it was the only one that can have caused it.
    pub(super) fn judge(&mut self, id: JobId, charge: Option<u32>, now: Time) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        if record.job.state.is_terminal() {
            return Err(StoreError::Fenced);
        }
        record.suspect = true;
        // It was started in time.
        record.job.expires_at = None;
        let mut writes = Writes::default();
        if let Some(crashes_max) = charge {
            // No pause follows a crash, so how long it would be does not matter.
            let backoff = Backoff { first: std::time::Duration::ZERO, longest: std::time::Duration::ZERO };
            record.job = record.job.after_attempt(Ended::Crashed { crashes_max }, backoff, 0.0, now);
            writes.record(keys::JUDGED_KEY, &self.disk.left.opens)?;
        }
        self.put(record, writes, &[])
    }
}
