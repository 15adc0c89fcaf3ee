//! What each change does to a job: checked against the newest state, then added to the group's commit.

use super::blobs::{BlobHandle, Content};
use super::group::Group;
use super::keys::{self, Part};
use super::record::{self, KeyRecord, Record, StoredArtifact};
use super::space::Room;
use super::stored::{Inline, Stored};
use super::writes::Writes;
use super::{Admission, Attempt, NewJob, Payload, StoreError, Token};
use crate::job::{Backoff, Ended, Job, JobId, Progress, State, USAGE_KEPT, Usage, shorten};
use crate::time::Time;

/// Bytes of log and backtrace in a usage report, so that it fits into one value.
const USAGE_TEXT_BYTES_MAX: usize = 3_000;
/// Bytes of one line of them.
const USAGE_LINE_BYTES_MAX: usize = 240;

impl Group<'_> {
    pub(super) fn submit(&mut self, new: NewJob, admission: &Admission) -> Result<Job, StoreError> {
        if let Some(earlier) = self.answered_before(admission)? {
            return Ok(earlier);
        }
        if self.room != Room::Ample {
            return Err(StoreError::DiskFull);
        }
        let NewJob { job, input, options, blobs: named, webhook } = new;
        self.check_queue(&job.kind, admission.queue_max)?;
        let options = options.encode()?;
        let (id, mut writes) = (job.id, Writes::default());
        let mut record = Record {
            options_bytes: u32::try_from(options.len()).unwrap_or(u32::MAX),
            bytes: input.content.size() + options.len() as u64 + named_bytes(&named),
            named: u32::try_from(named.len()).ok(),
            ..Record::new(job)
        };
        let mut room = record.room();
        if (1..=room).contains(&options.len()) {
            room -= options.len();
            record.options = Some(Inline(options.into()));
        } else {
            writes.bytes(id, Part::Options, &options)?;
        }
        record.input = writes.payload(id, Part::Input, &input, &mut room)?;
        Self::write_uses(&mut writes, id, &named)?;
        let owner = record.job.owner;
        let webhook = webhook.map(|new| self.promise_webhook(id, owner, new, &mut writes)).transpose()?;
        let key =
            admission.key.map(|key| (key.name, KeyRecord { id, request: key.request, kept_until: key.kept_until }));
        if let Some((name, key)) = &key {
            writes.record(&keys::idempotency_key(name), key)?;
        }
        let first_named = usize::from(matches!(input.content, Content::Blob(_)));
        let contents = std::iter::once(input).chain(named).map(|payload| payload.content);
        let blobs: Vec<BlobHandle> = contents.filter_map(Content::into_blob).collect();
        // An id is never given twice, so there is nothing to look for that came before.
        self.remember_new(id);
        let job = self.put(record, writes, &blobs)?;
        if let Some(webhook) = webhook {
            *self.promised.entry(webhook.receiver.clone()).or_default().entry(owner).or_insert(0) += 1;
            self.set_webhook(id, Some(webhook));
        }
        // Holds the index until the end.
        let uploads = &mut self.disk.index().uploads;
        blobs.iter().skip(first_named).for_each(|blob| uploads.begin_use(blob.sha256()));
        self.keys.extend(key);
        Ok(job)
    }

    /// The job that the same key was given for, if it was.
    fn answered_before(&self, admission: &Admission) -> Result<Option<Job>, StoreError> {
        let Some(key) = &admission.key else { return Ok(None) };
        let earlier = self.key(&key.name)?.filter(|earlier| earlier.kept_until > key.now);
        let Some(earlier) = earlier else { return Ok(None) };
        if earlier.request != key.request {
            return Err(StoreError::KeyReused);
        }
        match self.load(earlier.id) {
            Ok(mut record) => {
                self.disk.index().overlay(&mut record.job);
                Ok(Some(record.job))
            }
            // The job was deleted meanwhile; the request is a new one then.
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a key stands for as this group leaves it so far.
    fn key(&self, name: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        match self.keys.get(name) {
            Some(key) => Ok(Some(key.clone())),
            None => record::read(&self.disk.db, &keys::idempotency_key(name)),
        }
    }

    /// Forgets a key whose time is over, unless it was given again and has a new one. Nobody misses one that cannot be
    /// read.
    pub(super) fn drop_key(&mut self, name: &[u8; 32], now: Time) {
        if !matches!(self.key(name), Ok(Some(key)) if key.kept_until > now) {
            self.writes.remove(&keys::idempotency_key(name));
        }
    }

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
        let mut record = self.load(id)?;
        match record.job.state {
            _ if record.content_gone => return Err(StoreError::Gone),
            State::Failed | State::Cancelled => {}
            _ => return Err(self.wrong_state(record.job)),
        }
        self.check_queue(&record.job.kind, queue_max)?;
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

    /// Takes input, output and artifacts of a finished job away; the record stays.
    pub(super) fn drop_content(&mut self, id: JobId) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        if !record.job.state.is_terminal() {
            return Err(self.wrong_state(record.job));
        }
        let mut writes = Writes::default();
        self.remove_content(&mut record, &mut writes)?;
        self.put(record, writes, &[])
    }

    /// Takes a finished job away altogether.
    pub(super) fn delete(&mut self, id: JobId) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        if !record.job.state.is_terminal() {
            return Err(self.wrong_state(record.job));
        }
        let mut writes = Writes::default();
        self.remove_content(&mut record, &mut writes)?;
        for number in record.usages.saturating_sub(USAGE_KEPT as u32)..record.usages {
            remove_report(&mut writes, &mut record, number);
        }
        self.forget(record, writes)
    }

    fn remove_content(&mut self, record: &mut Record, writes: &mut Writes) -> Result<(), StoreError> {
        if record.content_gone {
            return Ok(());
        }
        let id = record.job.id;
        let mut blobs = Vec::new();
        writes.remove_stored(id, Part::Input, &record.input);
        record.input.take_out();
        if record.options.take().is_none() {
            writes.remove_chunks(id, Part::Options, u64::from(record.options_bytes));
        }
        blobs.extend(record.input.blob());
        if let Some(output) = &mut record.output {
            writes.remove_stored(id, Part::Output, output);
            output.take_out();
            blobs.extend(output.blob());
        }
        for number in 0..record.artifacts {
            let key = keys::artifact_key(id, number);
            // The attempt that wrote it may have ended in this very group.
            let written = if self.is_changed(id) { self.writes.find(&key)? } else { None };
            let artifact = match written {
                Some(artifact) => Some(artifact),
                None => record::read::<StoredArtifact>(&self.disk.db, &key)?,
            };
            if let Some(artifact) = artifact {
                writes.remove_stored(id, Part::Artifact(number), &artifact.stored);
                blobs.extend(artifact.stored.blob());
            }
            writes.remove(&key);
        }
        // Only once nothing can fail any more: what is let go of is let go of with the commit, whatever becomes of this change.
        let named = if record.named == Some(0) { Vec::new() } else { self.remove_uses(id, writes)? };
        named.iter().for_each(|sha256| self.disk.index().uploads.end_use(sha256));
        self.release(blobs.into_iter().chain(named));
        record.content_gone = true;
        Ok(())
    }
}

/// A blob counts for each job that names it, as equal results do.
fn named_bytes(named: &[Payload]) -> u64 {
    named.iter().map(|payload| payload.content.size()).sum()
}

/// The newest reports stay; each fits into one value, so of a long one the log and the backtrace are shortened.
fn write_usage(writes: &mut Writes, record: &mut Record, mut usage: Usage) -> Result<(), StoreError> {
    let mut budget = USAGE_TEXT_BYTES_MAX;
    let mut fits = |line: &mut String| {
        *line = shorten(std::mem::take(line), USAGE_LINE_BYTES_MAX);
        // Up to two bytes on disk say how long a line is.
        let left = budget.checked_sub(line.len() + 2);
        budget = left.unwrap_or(0);
        left.is_some()
    };
    // Of the frames the innermost tell most, of the log the last lines.
    let frames = usage.backtrace.iter_mut().position(|line| !fits(line)).unwrap_or(usage.backtrace.len());
    usage.backtrace.truncate(frames);
    let lines = usage.log.iter_mut().rposition(|line| !fits(line)).map_or(0, |last| last + 1);
    usage.log.drain(..lines);
    let report = record::encode_here(&usage)?;
    if record.usages == 0 && report.len() <= record.room() {
        record.first_report = Some(Inline(report));
    } else {
        writes.sealed(&keys::usage_key(record.job.id, record.usages), &report)?;
    }
    if let Some(oldest) = record.usages.checked_sub(USAGE_KEPT as u32) {
        remove_report(writes, record, oldest);
    }
    record.usages += 1;
    Ok(())
}

fn remove_report(writes: &mut Writes, record: &mut Record, number: u32) {
    if number > 0 || record.first_report.take().is_none() {
        writes.remove(&keys::usage_key(record.job.id, number));
    }
}
