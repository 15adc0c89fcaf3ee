//! Submit, claim, finish, look up: the rules of the queue above the store that remembers it.
//!
//! Knows who is running what in this process, wakes workers when there is work and clients when their job has
//! ended, and is fair between kinds. What it holds in memory may vanish at any moment; nothing accepted is in it alone.

mod checkpoints;
mod claiming;
mod clock;
mod estimate;
mod finishing;
mod holding;
mod keeping;
mod places;
mod submission;
mod telling;
mod waiters;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use self::clock::Clock;
pub use self::estimate::Estimate;
use self::estimate::RunTimes;
use self::finishing::UNRECORDED_KIB_MAX;
pub use self::finishing::{Assignment, Finished};
use self::holding::Held;
use self::places::Places;
pub use self::places::Runnable;
pub use self::submission::{NotBefore, Submission};
pub use self::telling::UnderWay;
use self::waiters::Waiters;
use crate::events::{Events, What};
use crate::job::{Backoff, Job, JobId, JobMap, Kind, State};
use crate::running::Stop;
use crate::store::{Counts, Filter, Payload, Retention, Share, Store, StoreError, Upload};
use crate::time::Time;

/// The queue's bounds and habits.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Unfinished jobs per kind; further ones are refused.
    pub queue_max: u64,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Crashes of the host after which a guilty job has failed.
    pub crashes_max: u32,
    /// How long what is left of finished jobs.
    pub retention: Retention,
    /// How long an idempotency key is remembered.
    pub keys_kept: Duration,
    /// How long an upload that no job names is kept.
    pub uploads_kept: Duration,
    /// What one who uploads may keep at a time.
    pub uploads_share: Share,
    /// Clients that may follow events at a time.
    pub listeners_max: usize,
    /// Threads that run jobs.
    pub workers: usize,
}

/// The jobs of one host.
#[derive(Debug)]
pub struct Queue {
    store: Store,
    settings: Settings,
    running: Mutex<JobMap<UnderWay>>,
    places: Arc<Places>,
    waiters: Waiters,
    held: Held,
    run_times: RunTimes,
    events: Arc<Events>,
    /// Woken when a running attempt has something to say.
    news: Arc<Notify>,
    /// Which kind is asked first. Held while a job is picked, and no longer: one worker picks at a time.
    turn: Mutex<usize>,
    work: Arc<Notify>,
    due: Notify,
    unrecorded: Arc<Semaphore>,
    clock: Mutex<Clock>,
}

impl Queue {
    /// A queue over an open store.
    pub fn new(store: Store, settings: Settings) -> Self {
        let work = Arc::new(Notify::new());
        let events = Arc::new(Events::new(settings.listeners_max));
        let told = Arc::clone(&events);
        store.observe(move |job| told.publish(job.id, job.kind.clone(), job.owner, What::State(Box::new(job.clone()))));
        Self {
            store,
            settings,
            running: Mutex::default(),
            places: Arc::new(Places::new(Arc::clone(&work))),
            waiters: Waiters::default(),
            held: Held::default(),
            run_times: RunTimes::default(),
            events,
            news: Arc::default(),
            turn: Mutex::default(),
            work,
            due: Notify::new(),
            unrecorded: Arc::new(Semaphore::new(UNRECORDED_KIB_MAX as usize)),
            clock: Mutex::new(Clock::new(Time::now(), std::time::Instant::now())),
        }
    }

    /// Cancels a job. Durable when this returns; a running attempt stops within milliseconds, and does not wait for the disk.
    pub async fn cancel(&self, id: JobId) -> Result<Job, StoreError> {
        let under_way = self.running().get(&id).cloned();
        let progress = under_way.as_ref().map(|under_way| under_way.attempt.progress());
        let mut recorded = pin!(self.store.cancel(id, progress, Time::now()));
        // Handed in before the attempt is stopped, and so recorded before its end. Were the process to die in between, the job would
        // run again, as if nobody had asked; nobody was answered either.
        let at_once = poll_fn(|context| Poll::Ready(recorded.as_mut().poll(context))).await;
        if let Some(under_way) = under_way {
            under_way.attempt.stop(Stop::Cancelled);
        }
        let job = match at_once {
            Poll::Ready(recorded) => recorded?,
            Poll::Pending => recorded.await?,
        };
        // Looked up again: it may have been claimed in between.
        let under_way = self.running().get(&id).cloned();
        if let Some(under_way) = under_way.filter(|_| job.state == State::Cancelled) {
            under_way.attempt.stop(Stop::Cancelled);
        }
        self.waiters.wake(id);
        Ok(job)
    }

    /// Gives a failed or cancelled job another life, if its kind has room for one more of `queue_max` unfinished jobs.
    pub async fn retry(&self, id: JobId, queue_max: Option<u64>) -> Result<Job, StoreError> {
        let job = self.store.retry(id, queue_max.unwrap_or(self.settings.queue_max)).await?;
        self.announce(job.state);
        Ok(job)
    }

    /// Forgets a finished job.
    pub async fn delete(&self, id: JobId) -> Result<(), StoreError> {
        self.store.delete(id).await.map(drop)
    }

    /// The job as it is now.
    pub fn get(&self, id: JobId) -> Result<Job, StoreError> {
        let job = self.store.get(id)?.ok_or(StoreError::NotFound)?;
        Ok(self.with_progress(job))
    }

    /// The job once it has ended, or as it is after `wait`.
    pub async fn wait(&self, id: JobId, wait: Duration) -> Result<Job, StoreError> {
        let end = Instant::now() + wait;
        // Registered before looking, so that an end in between is not missed.
        let (place, ended) = self.waiters.join(id);
        let job = self.get(id)?;
        if job.state.is_terminal() {
            return Ok(job);
        }
        // Both ways out lead to the same look at the job.
        let _ = tokio::time::timeout_at(end, ended).await;
        drop(place);
        self.get(id)
    }

    /// Up to `limit` jobs, newest first, and where the next page begins.
    pub fn list(
        &self,
        filter: &Filter,
        limit: usize,
        before: Option<JobId>,
    ) -> Result<(Vec<Job>, Option<JobId>), StoreError> {
        let (jobs, next) = self.store.list(filter, limit, before)?;
        Ok((jobs.into_iter().map(|job| self.with_progress(job)).collect(), next))
    }

    /// What the store knows besides: results, artifacts, usage, counts, uploads.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Begins to take up a payload of a job to come.
    pub fn upload(&self) -> Upload {
        self.store.blobs().upload_for_new()
    }

    /// Unfinished jobs of a kind whose settings say nothing about it.
    pub fn queue_max(&self) -> u64 {
        self.settings.queue_max
    }

    /// The pauses of a kind whose settings say nothing about them.
    pub fn backoff(&self) -> Backoff {
        self.settings.backoff
    }

    /// What is left of finished jobs of a kind whose settings say nothing about it.
    pub fn retention(&self) -> Retention {
        self.settings.retention
    }

    /// How many jobs of a kind are in workers' hands.
    pub fn running_of(&self, kind: &Kind) -> usize {
        self.places.count(kind)
    }

    /// How many jobs of a kind stand where.
    pub fn counts(&self, kind: &Kind) -> Counts {
        self.store.counts(kind)
    }

    /// Asks every running attempt to stop and be run again later.
    pub fn interrupt_running(&self) {
        self.running().values().for_each(|under_way| under_way.attempt.stop(Stop::Interrupted));
    }

    /// Keeps an upload of this owner for as long as uploads are kept, and answers until when.
    pub async fn keep_upload(&self, upload: Payload, owner: &str) -> Result<Time, StoreError> {
        let until = Time::now().after(self.settings.uploads_kept);
        self.store.keep_upload(upload, owner, until, self.settings.uploads_share).await?;
        Ok(until)
    }

    fn announce(&self, state: State) {
        match state {
            State::Queued => self.work.notify_one(),
            State::Scheduled => self.due.notify_one(),
            _ => {}
        }
    }

    fn with_progress(&self, mut job: Job) -> Job {
        if job.state == State::Running
            && let Some(under_way) = self.running().get(&job.id)
        {
            job.progress = under_way.attempt.progress();
        }
        job
    }

    // The map stays usable if a thread panicked: each change is a single step.
    fn running(&self) -> MutexGuard<'_, JobMap<UnderWay>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
