//! Jobs on disk: each transition all or nothing, and durable before anybody hears of it.
//!
//! The words of this interface are the domain's; sled appears in the files below only. Policy (who may run,
//! how often to retry, how long a queue may get) comes in as arguments and is decided above.
//!
//! What memory holds (which jobs are ready, who is running) is rebuilt from the records at every open: a process may
//! die on any line and nothing accepted is lost. "Running" is never written, so jobs that were running are
//! simply ready again.

mod blobs;
mod disk;
mod index;
mod record;
mod writer;

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::blobs::{Blobs, Content, ContentReader, Upload};
use self::disk::{Disk, SharedDisk};
pub use self::index::{Counts, Token};
use self::record::{Part, Record, StoredArtifact};
use self::writer::Change;
use crate::job::{Backoff, Ended, Job, JobId, Kind, Progress, State, Usage};
use crate::time::Time;

/// Changes waiting for the writer; beyond that callers wait to be heard.
const CHANGES_WAITING_MAX: usize = 1024;
/// Records looked at for one page of a list. A page may come out short and still have a next one.
const SCAN_MAX: usize = 20_000;
/// Encoded parameters and arguments of one job.
const OPTIONS_BYTES_MAX: usize = 64 * 1024;

/// Why the store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// No such job.
    NotFound,
    /// The claim is no longer valid: somebody else ended the job, or has it now.
    Fenced,
    /// As many unfinished jobs of the kind as allowed.
    QueueFull {
        /// How many that is.
        queue_max: u64,
    },
    /// The request cannot be stored as it is.
    Refused(String),
    /// Something on disk is not what was written.
    Damaged(String),
    /// Another process has the folder.
    Locked(PathBuf),
    /// The disk failed. What was being written is not acknowledged.
    Disk(io::Error),
    /// An earlier commit failed, or the store is closing; nothing is accepted any more.
    Closed,
}

impl StoreError {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::NotFound => f.write_str("no such job"),
            StoreError::Fenced => f.write_str("the claim is no longer valid"),
            StoreError::QueueFull { queue_max } => write!(f, "the queue holds {queue_max} unfinished jobs already"),
            StoreError::Refused(why) => f.write_str(why),
            StoreError::Damaged(what) => write!(f, "the data folder is damaged: {what}"),
            StoreError::Locked(path) => {
                write!(f, "{} is in use by another dropforge process; stop it or choose another --data", path.display())
            }
            StoreError::Disk(error) => write!(f, "the disk failed: {error}"),
            StoreError::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Disk(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Bytes and what they are.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Such as `application/json`; at most 255 bytes.
    pub media_type: String,
    /// The bytes.
    pub content: Content,
}

/// A file a job wrote.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Unique within the job.
    pub name: String,
    /// Address of the content.
    pub sha256: [u8; 32],
    /// The file.
    pub payload: Payload,
}

/// What a client passes to the plugin besides the input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Names and values, in the client's order.
    pub parameters: Vec<(String, String)>,
    /// Extra command-line arguments.
    pub arguments: Vec<String>,
}

impl Options {
    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        let bytes = postcard::to_stdvec(self).map_err(|error| StoreError::Refused(error.to_string()))?;
        if bytes.len() > OPTIONS_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "parameters and arguments take {} bytes; {OPTIONS_BYTES_MAX} is the most",
                bytes.len()
            )));
        }
        Ok(bytes)
    }
}

/// A job to be accepted. Its `state` says whether it is queued or scheduled.
#[derive(Debug)]
pub struct NewJob {
    /// The record as clients will see it.
    pub job: Job,
    /// What the plugin will read.
    pub input: Payload,
    /// What else the plugin is told.
    pub options: Options,
}

/// A job handed to a worker.
#[derive(Debug)]
pub struct Claimed {
    /// The job, in state running.
    pub job: Job,
    /// Needed to finish it.
    pub token: Token,
    /// What the plugin reads.
    pub input: Payload,
    /// What else the plugin is told.
    pub options: Options,
}

/// How an attempt ended, with everything needed to decide and record what comes next.
#[derive(Debug)]
pub struct Attempt {
    /// How it ended.
    pub ended: Ended,
    /// What it used.
    pub usage: Usage,
    /// Its newest progress.
    pub progress: Progress,
    /// Its result; kept if it succeeded.
    pub output: Option<Payload>,
    /// Its files; kept if it succeeded.
    pub artifacts: Vec<Artifact>,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub now: Time,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// From 0.0 to 1.0, different for every attempt.
    pub jitter: f64,
}

/// Which jobs a list is about. Empty means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only with this tag.
    pub tag: Option<String>,
}

impl Filter {
    fn admits(&self, job: &Job) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == job.kind)
            && self.state.is_none_or(|state| state == job.state)
            && self.tag.as_ref().is_none_or(|tag| job.tags.contains(tag))
    }
}

/// The jobs of one data folder. Dropped, it finishes what it was asked and closes the folder.
#[derive(Debug)]
pub struct Store {
    disk: SharedDisk,
    changes: Mutex<Option<mpsc::Sender<Change>>>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Store {
    /// Opens the folder, which need not exist, and takes up where the last process stopped, however it stopped.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let disk = Arc::new(Disk::open(path)?);
        let (changes, waiting) = mpsc::channel(CHANGES_WAITING_MAX);
        let writers_disk = Arc::clone(&disk);
        let write = move || {
            // Nobody would write any more, and nobody would know: a panic is a failed commit as well.
            let ended = panic::catch_unwind(AssertUnwindSafe(|| writer::run(&writers_disk, waiting)));
            if ended.is_err() {
                writers_disk.failed.send_replace(Some("the store's writer panicked".to_owned()));
            }
        };
        let writer = thread::Builder::new().name("store".into()).spawn(write)?;
        Ok(Self { disk, changes: Mutex::new(Some(changes)), writer: Mutex::new(Some(writer)) })
    }

    /// Accepts a job unless its kind has `queue_max` unfinished ones. Durable when this returns.
    pub async fn submit(&self, job: NewJob, queue_max: u64) -> Result<Job, StoreError> {
        self.change(|reply| Change::Submit { job: Box::new(job), queue_max, reply }).await
    }

    /// Hands out up to `total` ready jobs, at most so many of each kind, kinds in the order given. Costs no flush.
    pub fn claim(&self, free: &[(Kind, usize)], total: usize, now: Time) -> Vec<Claimed> {
        let claims = self.disk.index().claim(free, total, now);
        claims.into_iter().filter_map(|(id, token)| self.read_claimed(id, token)).collect()
    }

    /// Records how a claimed job's attempt ended and answers the job as it is then. If the job was cancelled
    /// meanwhile only the usage report is added; if the claim does not hold for another reason, [`StoreError::Fenced`].
    pub async fn finish(&self, id: JobId, token: Token, attempt: Attempt) -> Result<Job, StoreError> {
        self.change(|reply| Change::Finish { id, token, attempt: Box::new(attempt), reply }).await
    }

    /// Makes an unfinished job cancelled, whoever has it, and notes how far it had come. A finished one is answered
    /// as it is.
    pub async fn cancel(&self, id: JobId, progress: Option<Progress>, now: Time) -> Result<Job, StoreError> {
        self.change(|reply| Change::Cancel { id, progress, now, reply }).await
    }

    /// Fails the jobs whose time to be started is over, and answers them.
    pub async fn expire(&self, now: Time) -> Result<Vec<Job>, StoreError> {
        let expired = self.disk.index().expired(now);
        let mut jobs = Vec::with_capacity(expired.len());
        for id in expired {
            match self.change(|reply| Change::Expire { id, now, reply }).await {
                Ok(job) => jobs.push(job),
                // A worker or a client was quicker.
                Err(StoreError::Fenced | StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(jobs)
    }

    /// The job, if there is one.
    pub fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.disk.load(id)?.map(|record| record.job))
    }

    /// The reports of its last attempts, oldest first.
    pub fn usage(&self, id: JobId) -> Result<Vec<Usage>, StoreError> {
        let Some(record) = self.disk.load(id)? else { return Ok(Vec::new()) };
        let first = record.usages.saturating_sub(crate::job::USAGE_KEPT as u32);
        let reports = (first..record.usages).map(|number| record::read(&self.disk.db, &record::usage_key(id, number)));
        reports.filter_map(Result::transpose).collect()
    }

    /// A succeeded job's result.
    pub fn output(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        let Some(stored) = self.disk.load(id)?.and_then(|record| record.output) else { return Ok(None) };
        let content = record::read_content(&self.disk.db, &self.disk.blobs, id, Part::Output, &stored)?;
        Ok(Some(Payload { media_type: stored.media_type, content }))
    }

    /// What a job's artifacts are: name, media type, size and SHA-256, in creation order.
    pub fn artifacts(&self, id: JobId) -> Result<Vec<(String, String, u64, [u8; 32])>, StoreError> {
        let describe = |entry: StoredArtifact| (entry.name, entry.stored.media_type, entry.stored.size, entry.sha256);
        Ok(self.stored_artifacts(id)?.into_iter().map(describe).collect())
    }

    /// A job's artifact of that name.
    pub fn artifact(&self, id: JobId, name: &str) -> Result<Option<Artifact>, StoreError> {
        let artifacts = self.stored_artifacts(id)?;
        let Some((number, entry)) = (0u32..).zip(artifacts).find(|(_, entry)| entry.name == name) else {
            return Ok(None);
        };
        let part = Part::Artifact(number);
        let content = record::read_content(&self.disk.db, &self.disk.blobs, id, part, &entry.stored)?;
        let payload = Payload { media_type: entry.stored.media_type, content };
        Ok(Some(Artifact { name: entry.name, sha256: entry.sha256, payload }))
    }

    /// Up to `limit` jobs older than `before`, newest first, and where the next page begins.
    pub fn list(
        &self,
        filter: &Filter,
        limit: usize,
        before: Option<JobId>,
    ) -> Result<(Vec<Job>, Option<JobId>), StoreError> {
        let end = before.map_or_else(|| b"k".to_vec(), |id| record::job_key(id).to_vec());
        let mut jobs = Vec::new();
        let mut last = None;
        for (looked_at, entry) in self.disk.db.range(b"j".to_vec()..end).rev().enumerate() {
            if jobs.len() == limit || looked_at == SCAN_MAX {
                return Ok((jobs, last));
            }
            let (key, sealed) = entry?;
            last = record::job_id(&key);
            let Some(id) = last else { continue };
            // A damaged record was reported at open; it must not keep the others from being listed.
            let Ok(record) = record::decode::<Record>(&sealed) else { continue };
            jobs.extend(
                self.disk.as_durable(id, Some(record)).map(|record| record.job).filter(|job| filter.admits(job)),
            );
        }
        Ok((jobs, None))
    }

    /// How many jobs of a kind stand where.
    pub fn counts(&self, kind: &Kind) -> Counts {
        self.disk.index().counts(kind)
    }

    /// How long until a scheduled job becomes ready.
    pub fn next_due(&self, now: Time) -> Option<Duration> {
        self.disk.index().next_due().map(|due| due.since(now))
    }

    /// Where payloads go before a record names them.
    pub fn blobs(&self) -> Blobs {
        self.disk.blobs.clone()
    }

    /// Turns to the reason once a commit has failed. The process should end then and be started again.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.disk.failed.subscribe()
    }

    /// Finishes every change that was asked for and stops accepting more. Blocks.
    pub fn close(&self) {
        drop(self.changes.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer panicked; what it had not acknowledged is lost");
        }
    }

    async fn change<T>(
        &self,
        change: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Change,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        changes.ok_or(StoreError::Closed)?.send(change(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn read_claimed(&self, id: JobId, token: Token) -> Option<Claimed> {
        let read = || {
            let record = self.disk.load(id)?.ok_or(StoreError::NotFound)?;
            let content = record::read_content(&self.disk.db, &self.disk.blobs, id, Part::Input, &record.input)?;
            let input = Payload { media_type: record.input.media_type, content };
            let options = match u64::from(record.options_bytes) {
                0 => Options::default(),
                size => postcard::from_bytes(&record::read_bytes(&self.disk.db, id, Part::Options, size)?)
                    .map_err(|error| StoreError::damaged(error.to_string()))?,
            };
            Ok::<_, StoreError>(Claimed { job: record.job, token, input, options })
        };
        match read() {
            Ok(claimed) => Some(claimed),
            Err(error) => {
                tracing::error!(job.id = %id, %error, "a job cannot be read and is set aside; it stays on disk as it is");
                self.disk.index().set_aside(id);
                None
            }
        }
    }

    fn stored_artifacts(&self, id: JobId) -> Result<Vec<StoredArtifact>, StoreError> {
        let Some(record) = self.disk.load(id)? else { return Ok(Vec::new()) };
        let entries = (0..record.artifacts).map(|number| {
            record::read(&self.disk.db, &record::artifact_key(id, number))?
                .ok_or_else(|| StoreError::damaged(format!("job {id}: the record of artifact {number} is missing")))
        });
        entries.collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
