//! The one thread that changes the database.
//!
//! It takes every change that is waiting (up to [`GROUP_MAX`]), turns them into one atomic batch, makes that batch
//! durable with one flush, and only then tells everybody. Costs per change shrink as the load grows, and since
//! nobody else writes, every check (does this claim still hold, is the queue full) is a plain `if`.
//!
//! Group commit is an old idea; DeWitt et al., "Implementation Techniques for Main Memory Database Systems" (1984),
//! describe it well.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::blobs::BlobHandle;
use super::disk::Disk;
use super::record::{self, Part, Record, Stored, StoredArtifact, Writes};
use super::{Attempt, NewJob, StoreError, Token};
use crate::job::{Job, JobId, Progress, State, USAGE_KEPT, Usage, shorten};
use crate::time::Time;

/// More changes than this in one flush gain nothing: sled's own work dominates from here on.
const GROUP_MAX: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the rest of the store asks the writer to do.
pub(super) enum Change {
    Submit { job: Box<NewJob>, queue_max: u64, reply: Reply<Job> },
    Finish { id: JobId, token: Token, attempt: Box<Attempt>, reply: Reply<Job> },
    Cancel { id: JobId, progress: Option<Progress>, now: Time, reply: Reply<Job> },
    Expire { id: JobId, now: Time, reply: Reply<Job> },
}

/// Runs until every sender is gone, or until a commit failed.
pub(super) fn run(disk: &Disk, mut changes: mpsc::Receiver<Change>) {
    while let Some(first) = changes.blocking_recv() {
        let mut group = Group::new(disk);
        group.add(first);
        while group.size < GROUP_MAX
            && let Ok(change) = changes.try_recv()
        {
            group.add(change);
        }
        if let Err(error) = group.commit() {
            // What sled holds in memory and what the disk holds may differ now, and a second flush could
            // claim success for pages the kernel already dropped. So nobody is told anything, and it ends here.
            tracing::error!(%error, "a commit failed; the store is closed to keep what is on disk as it is");
            disk.failed.send_replace(Some(error.to_string()));
            return;
        }
    }
}

/// Changes on their way to one commit. Later ones see what earlier ones did.
struct Group<'a> {
    disk: &'a Disk,
    writes: Writes,
    size: usize,
    before: HashMap<JobId, Option<Arc<Record>>>,
    after: HashMap<JobId, Record>,
    answers: Vec<(Reply<Job>, Job)>,
}

impl<'a> Group<'a> {
    fn new(disk: &'a Disk) -> Self {
        Self {
            disk,
            writes: Writes::default(),
            size: 0,
            before: HashMap::new(),
            after: HashMap::new(),
            answers: Vec::new(),
        }
    }

    fn add(&mut self, change: Change) {
        self.size += 1;
        let (reply, result) = match change {
            Change::Submit { job, queue_max, reply } => (reply, self.submit(*job, queue_max)),
            Change::Finish { id, token, attempt, reply } => (reply, self.finish(id, token, *attempt)),
            Change::Cancel { id, progress, now, reply } => (reply, self.cancel(id, progress, now)),
            Change::Expire { id, now, reply } => (reply, self.expire(id, now)),
        };
        match result {
            Ok(job) => self.answers.push((reply, job)),
            // Nothing was changed, so there is nothing to wait for. If the caller has gone, nobody needs to know.
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn submit(&mut self, new: NewJob, queue_max: u64) -> Result<Job, StoreError> {
        let NewJob { job, input, options } = new;
        let options = options.encode()?;
        let waiting = self.disk.index().counts(&job.kind).unfinished();
        let joining = self.before.iter().filter(|(id, before)| before.is_none() && self.joins(id, &job)).count();
        if waiting + joining as u64 >= queue_max {
            return Err(StoreError::QueueFull { queue_max });
        }
        let record = Record {
            input: Stored::of(&input.media_type, &input.content),
            options_bytes: u32::try_from(options.len()).unwrap_or(u32::MAX),
            output: None,
            artifacts: 0,
            usages: 0,
            job,
        };
        let id = record.job.id;
        let mut writes = Writes::default();
        writes.content(id, Part::Input, &input.content)?;
        writes.bytes(id, Part::Options, &options)?;
        self.before.insert(id, None);
        self.put(record, writes, input.content.into_blob().into_iter().collect())
    }

    fn joins(&self, id: &JobId, job: &Job) -> bool {
        self.after.get(id).is_some_and(|after| after.job.kind == job.kind)
    }

    fn finish(&mut self, id: JobId, token: Token, attempt: Attempt) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        let mut writes = Writes::default();
        write_usage(&mut writes, &mut record, attempt.usage)?;
        if record.job.state == State::Cancelled {
            // The cancel is on disk already; of the attempt it stopped only the report is still wanted.
            return self.put(record, writes, Vec::new());
        }
        if record.job.state.is_terminal() || self.is_changed(id) || !self.disk.index().holds(id, token) {
            return Err(StoreError::Fenced);
        }
        record.job.progress = attempt.progress;
        record.job.started_at = Some(attempt.started_at);
        record.job = record.job.after_attempt(attempt.ended, attempt.backoff, attempt.jitter, attempt.now);
        let mut blobs = Vec::new();
        if record.job.state == State::Succeeded {
            if let Some(output) = attempt.output {
                writes.content(id, Part::Output, &output.content)?;
                record.output = Some(Stored::of(&output.media_type, &output.content));
                blobs.extend(output.content.into_blob());
            }
            for (number, artifact) in (0u32..).zip(attempt.artifacts) {
                let content = artifact.payload.content;
                writes.content(id, Part::Artifact(number), &content)?;
                let stored = Stored::of(&artifact.payload.media_type, &content);
                let entry = StoredArtifact { name: artifact.name, sha256: artifact.sha256, stored };
                writes.record(&record::artifact_key(id, number), &entry)?;
                record.artifacts = number + 1;
                blobs.extend(content.into_blob());
            }
        }
        self.put(record, writes, blobs)
    }

    fn cancel(&mut self, id: JobId, progress: Option<Progress>, now: Time) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        if record.job.state.is_terminal() {
            // Idempotent; still answered after the flush, since the state may come from this very group.
            return Ok(record.job);
        }
        // An attempt under way leaves its traces: when it started, how far it came.
        self.disk.index().overlay(&mut record.job);
        record.job.progress = progress.unwrap_or(record.job.progress);
        record.job = record.job.cancelled(now);
        self.put(record, Writes::default(), Vec::new())
    }

    fn expire(&mut self, id: JobId, now: Time) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        let started = self.disk.index().state(id) == Some(State::Running);
        if started || record.job.state.is_terminal() {
            return Err(StoreError::Fenced);
        }
        record.job = record.job.expired(now);
        self.put(record, Writes::default(), Vec::new())
    }

    /// The job as this group leaves it so far.
    fn load(&self, id: JobId) -> Result<Record, StoreError> {
        match self.after.get(&id) {
            Some(record) => Ok(record.clone()),
            None => record::read(&self.disk.db, &record::job_key(id))?.ok_or(StoreError::NotFound),
        }
    }

    /// Whether an earlier change of this group moved the job, so that the index is out of date for it.
    fn is_changed(&self, id: JobId) -> bool {
        self.after.contains_key(&id)
    }

    /// Adds a changed job to the commit. Everything that can fail has happened before the first line that adds.
    fn put(&mut self, record: Record, mut writes: Writes, blobs: Vec<BlobHandle>) -> Result<Job, StoreError> {
        let id = record.job.id;
        writes.record(&record::job_key(id), &record)?;
        if !self.before.contains_key(&id) {
            let before = record::read(&self.disk.db, &record::job_key(id))?.map(Arc::new);
            self.before.insert(id, before);
        }
        self.writes.append(writes);
        for blob in blobs {
            self.disk.blobs.retain(blob.sha256());
        }
        let job = record.job.clone();
        self.after.insert(id, record);
        Ok(job)
    }

    /// Makes the changes durable, then visible, then known.
    fn commit(mut self) -> Result<(), StoreError> {
        if !self.after.is_empty() {
            self.disk.index().in_flight = std::mem::take(&mut self.before);
            self.disk.commit(std::mem::take(&mut self.writes))?;
            let mut index = self.disk.index();
            for (id, before) in std::mem::take(&mut index.in_flight) {
                if let Some(before) = before.filter(|before| before.job.state.is_terminal()) {
                    index.uncount_finished(&before.job.kind, before.job.state);
                }
                if let Some(record) = self.after.get(&id) {
                    index.put(&record.job);
                }
            }
        }
        for (reply, job) in self.answers {
            // A caller that has gone away needs no answer; what it asked for is done all the same.
            drop(reply.send(Ok(job)));
        }
        Ok(())
    }
}

/// The newest reports stay; each fits into one value, so of a long one the log and the backtrace are shortened.
fn write_usage(writes: &mut Writes, record: &mut Record, mut usage: Usage) -> Result<(), StoreError> {
    let mut budget = 3_000;
    for line in usage.backtrace.iter_mut().chain(usage.log.iter_mut().rev()) {
        *line = shorten(std::mem::take(line), budget.min(240));
        budget -= line.len().min(budget);
    }
    usage.backtrace.retain(|line| !line.is_empty() && line != "…");
    usage.log.retain(|line| !line.is_empty() && line != "…");
    let id = record.job.id;
    writes.record(&record::usage_key(id, record.usages), &usage)?;
    if let Some(oldest) = record.usages.checked_sub(USAGE_KEPT as u32) {
        writes.remove(&record::usage_key(id, oldest));
    }
    record.usages += 1;
    Ok(())
}
