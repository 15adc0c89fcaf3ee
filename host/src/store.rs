//! Jobs on disk: each transition all or nothing, and durable before anybody hears of it.
//!
//! The words of this interface are the domain's; sled appears in the files below only. Policy (who may run,
//! how often to retry, how long a queue may get) comes in as arguments and is decided above.
//!
//! What memory holds (which jobs are ready, who is running) is rebuilt from the records at every open: a process may
//! die on any line and nothing accepted is lost. "Running" is never written, so jobs that were running are
//! simply ready again.

mod blobs;
mod changes;
mod checkpoint;
mod claiming;
mod commits;
mod compact;
mod disk;
mod error;
mod exchange;
mod export;
mod group;
mod hold;
#[doc(hidden)]
pub mod hot;
mod import;
mod incoming;
mod index;
mod inflight;
mod journal;
mod keys;
mod left;
mod log;
mod overdue;
mod paused;
mod recent;
mod record;
mod recover;
mod retained;
mod space;
mod stored;
mod table;
mod transfer;
mod untouched;
mod uploads;
mod verify;
mod webhooks;
mod writer;
mod writes;

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use self::blobs::{Blobs, Content, ContentReader, Leftover, RoomForOutput, Scratch, Together, Upload};
pub(crate) use self::checkpoint::too_large;
pub use self::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
pub use self::compact::compact;
use self::disk::{Disk, Observer};
pub use self::error::StoreError;
pub use self::exchange::{
    Accepted, Admission, Artifact, ArtifactEntry, Attempt, Claimed, Filter, IdempotencyKey, NewJob, Options, Payload,
    Settings,
};
pub use self::export::export;
pub use self::import::import;
use self::incoming::Incoming;
pub use self::index::{Counts, HandedOut, Token};
pub use self::inflight::Mark;
pub use self::overdue::EXPIRE_MAX;
pub use self::retained::Retention;
use self::space::Room;
pub use self::transfer::TransferError;
pub use self::uploads::{Share, UPLOADS_MAX};
pub use self::verify::{Verdict, verify};
pub use self::webhooks::{NewWebhook, Slots, WebhookCounts, WebhookTry};
use self::writer::Change;
pub use self::writer::Told;
use crate::job::{Job, JobId, Kind, Progress};
use crate::time::Time;

/// Changes waiting for the writer; beyond that callers wait to be heard.
const CHANGES_WAITING_MAX: usize = 1024;

/// The jobs of one data folder. Dropped, it finishes what it was asked and closes the folder.
#[derive(Debug)]
pub struct Store {
    /// Shared by readers and the writer.
    disk: Arc<Disk>,
    changes: Mutex<Option<mpsc::Sender<Change>>>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Store {
    /// Opens the folder, which need not exist, and takes up where the last process stopped, however it stopped.
    pub fn open(path: &Path, settings: &Settings) -> Result<Self, StoreError> {
        let disk = Arc::new(Disk::open(path, settings)?);
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

    /// Has every move of a job told to `observer`, in order: durable ones once they are, a claim when it is made, or when the job is
    /// durable. It must be
    /// quick and must not ask the store anything. There is one observer; a second one is not heard.
    pub fn observe(&self, observer: impl Fn(&Job) + Send + Sync + 'static) {
        if self.disk.observer.set(Observer(Box::new(observer))).is_err() {
            tracing::error!("the store has an observer already");
        }
    }

    /// Accepts a job, or answers the job that was accepted with the same key before. Durable when this returns.
    pub async fn submit(&self, job: NewJob, admission: Admission) -> Result<Job, StoreError> {
        // Said at once, and not only when the writer, which may be waiting for room, comes to it. A key that was used before
        // still gets its answer there, as long as the writer does not wait. What has begun by the time the room goes waits for it.
        if self.is_out_of_room() {
            return Err(StoreError::DiskFull);
        }
        let (job, (reply, mut answer)) = (Incoming::new(job, admission), oneshot::channel());
        let changes = self.changes().ok_or(StoreError::Closed)?;
        job.hand_in(&self.disk, changes.reserve().await.map_err(|_| StoreError::Closed)?, reply);
        if changes.is_closed() {
            // Since the place was reserved; nobody will look at what came after that.
            return answer.try_recv().unwrap_or(Err(StoreError::Closed));
        }
        drop(changes);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The same for many jobs at once, in one change of the store: one that is refused is refused alone, and the answers stand in the
    /// order of the jobs. They share one flush, so whoever asks bounds their number and their bytes.
    pub async fn submit_all(&self, jobs: Vec<(NewJob, Admission)>) -> Vec<Result<Accepted, StoreError>> {
        let count = jobs.len();
        if count == 0 {
            return Vec::new();
        }
        if self.is_out_of_room() {
            return (0..count).map(|_| Err(StoreError::DiskFull)).collect();
        }
        let jobs = jobs.into_iter().map(|(job, admission)| Incoming::new(job, admission)).collect();
        let accepted = self.change(|reply| Change::SubmitAll { jobs, reply }).await;
        // Only a store that has failed or is closed says nothing of each.
        accepted.unwrap_or_else(|_| (0..count).map(|_| Err(StoreError::Closed)).collect())
    }

    /// Returns once all is durable that was asked for before, among it the submits of jobs that started early. Fails where those wait for
    /// room on the disk.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.change(|reply| Change::Settle { reply }).await
    }

    /// Whether the job was handed out before it was durable, and is not so yet.
    pub fn is_early(&self, id: JobId) -> bool {
        self.disk.index().early(id).is_some()
    }

    /// Records how a claimed job's attempt ended and answers the job as it is then. If the job was cancelled
    /// meanwhile only the usage report is added; if the claim does not hold for another reason, [`StoreError::Fenced`].
    pub async fn finish(&self, id: JobId, token: Token, attempt: Attempt) -> Result<Job, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.finish_and_tell(id, token, attempt, Box::new(|told| drop(reply.send(told)))).await;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The same for whoever has better things to do than to wait for the flush: returns once the writer has it, and the writer tells
    /// what became of it.
    pub async fn finish_and_tell(&self, id: JobId, token: Token, attempt: Attempt, told: Told) {
        let Some(changes) = self.changes() else { return told(Err(StoreError::Closed)) };
        // If the store has failed it is dropped untold.
        let _ = changes.send(Change::Finish { id, token, attempt: Box::new(attempt), told }).await;
    }

    /// Makes an unfinished job cancelled, whoever has it, and notes how far it had come. A finished one is answered
    /// as it is.
    pub async fn cancel(&self, id: JobId, progress: Option<Progress>, now: Time) -> Result<Job, StoreError> {
        self.change(|reply| Change::Cancel { id, progress, now, reply }).await
    }

    /// Gives a failed or cancelled job another life under its old id, if its kind then has at most `queue_max` unfinished ones.
    pub async fn retry(&self, id: JobId, queue_max: u64) -> Result<Job, StoreError> {
        self.change(|reply| Change::Retry { id, queue_max, reply }).await
    }

    /// Forgets a finished job and all it left.
    pub async fn delete(&self, id: JobId) -> Result<Job, StoreError> {
        self.change(|reply| Change::Delete { id, reply }).await
    }

    /// Whether new jobs would be refused for want of room on the disk.
    pub fn is_short_of_room(&self) -> bool {
        self.disk.space.room_lately() != Room::Ample
    }

    /// The job, if there is one.
    pub fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.disk.load_job(id)
    }

    /// How many jobs of a kind stand where.
    pub fn counts(&self, kind: &Kind) -> Counts {
        self.disk.index().counts(kind)
    }

    /// How many jobs of each kind that has any stand where.
    pub fn all_counts(&self) -> Vec<(Kind, Counts)> {
        self.disk.index().all_counts()
    }

    /// For each kind of which a job is ready: since when the one that is next has been.
    pub fn next_ready_since(&self) -> Vec<(Kind, Time)> {
        self.disk.index().next_ready_since()
    }

    /// How many ready jobs of its kind go before a ready job, counted up to `most`; nothing for other jobs.
    pub fn ahead(&self, id: JobId, most: usize) -> Option<usize> {
        self.disk.index().ahead(id, most)
    }

    /// Whether a job is under suspicion of having brought a host down, and runs only when no other suspect does.
    pub fn is_suspect(&self, id: JobId) -> bool {
        self.disk.index().is_suspect(id)
    }

    /// Whether nothing is handed out because the disk has no room left for outcomes.
    pub fn is_out_of_room(&self) -> bool {
        self.disk.space.room_lately() >= Room::Freeing
    }

    /// Makes scheduled jobs ready whose time has come, and says whether there were any.
    pub fn promote(&self, now: Time) -> bool {
        self.disk.index().promote(now)
    }

    /// How long until a scheduled job becomes ready.
    pub fn next_due(&self, now: Time) -> Option<Duration> {
        self.disk.index().next_due().map(|due| due.since(now))
    }

    /// Where payloads go before a record names them.
    pub fn blobs(&self) -> Blobs {
        self.disk.blobs.clone()
    }

    /// How many durable commits were made, over all the folder's life.
    pub fn commits(&self) -> u64 {
        self.disk.commits()
    }

    /// For how long the disk has kept the commit waiting that is under way; nothing while there is none.
    pub fn waits_for_disk(&self) -> Duration {
        self.disk.committing_for()
    }

    /// Turns to the reason once a commit has failed. The process should end then and be started again.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.disk.failed.subscribe()
    }

    /// Says that the process should end, as after a commit that failed, and why.
    pub fn give_up(&self, reason: String) {
        self.disk.failed.send_replace(Some(reason));
    }

    /// Finishes every change that was asked for and stops accepting more. Blocks.
    pub fn close(&self) {
        self.disk.closing.store(true, Ordering::Relaxed);
        drop(self.changes.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Whoever is told something there may be the last one to let go of the store.
        let writer = writer.filter(|writer| writer.thread().id() != thread::current().id());
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer panicked; what it had not acknowledged is lost");
        }
    }

    async fn change<T>(
        &self,
        change: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Change,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.changes().ok_or(StoreError::Closed)?.send(change(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn changes(&self) -> Option<mpsc::Sender<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
