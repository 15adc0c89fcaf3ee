//! Submit, claim, finish, look up: the rules of the queue above the store that remembers it.
//!
//! Knows who is running what in this process, wakes workers when there is work and clients when their job has
//! ended, and is fair between kinds. What it holds in memory may vanish at any moment; nothing accepted is in it alone.

mod checkpoints;
mod claiming;
mod clock;
mod estimate;
mod holding;
mod places;
mod telling;
mod waiters;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::clock::{Clock, Jump};
pub use self::estimate::Estimate;
use self::estimate::RunTimes;
use self::holding::Held;
pub use self::places::Runnable;
use self::places::{Place, Places};
pub use self::telling::UnderWay;
use self::waiters::Waiters;
use crate::events::{Events, What};
use crate::job::{Backoff, Ended, Job, JobId, Kind, Owner, State, Usage};
use crate::metrics;
use crate::running::{Running, Stop};
use crate::store::{
    Admission, Artifact, Attempt, Claimed, Content, Counts, EXPIRE_MAX, Filter, IdempotencyKey, NewJob, NewWebhook,
    Options, Payload, Retention, Share, Store, StoreError, Upload,
};
use crate::time::Time;

/// How often time is looked at when no scheduled job says when.
const TICK: Duration = Duration::from_secs(1);
/// Results and artifacts in memory whose records are still on their way to the disk. A disk that stalls holds up further ends.
const UNRECORDED_KIB_MAX: u32 = 64 * 1024;
/// Rounds of tidying per tick; what is left waits for the next.
const RETAIN_ROUNDS_MAX: usize = 20;

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

/// A job as a client wants it, checked.
#[derive(Debug)]
pub struct Submission {
    /// What it is for.
    pub kind: Kind,
    /// What the plugin reads.
    pub input: Payload,
    /// What else the plugin is told.
    pub options: Options,
    /// The blobs the input names, each once.
    pub blobs: Vec<Payload>,
    /// Who is to be told how it ended.
    pub webhook: Option<NewWebhook>,
    /// 0 to 9.
    pub priority: u8,
    /// The most attempts.
    pub max_attempts: u32,
    /// Not before this moment.
    pub run_at: Option<Time>,
    /// Limit of one attempt, if it differs from the kind's.
    pub timeout: Option<Duration>,
    /// Not started by then: failed.
    pub expires_in: Option<Duration>,
    /// Labels.
    pub tags: Vec<String>,
    /// Unfinished jobs of its kind, if not as many as the host allows.
    pub queue_max: Option<u64>,
    /// Who submits it.
    pub owner: Option<Owner>,
    /// The digests of the client's idempotency key and of its request, if it gave a key.
    pub key: Option<([u8; 32], [u8; 32])>,
}

/// A job in a worker's hands.
#[derive(Debug)]
pub struct Assignment {
    /// The job and its input.
    pub claimed: Claimed,
    /// Shared with those who watch it.
    pub running: Arc<Running>,
    place: Place,
}

/// How a worker says that an attempt ended.
#[derive(Debug)]
pub struct Finished {
    /// What becomes of the job.
    pub ended: Ended,
    /// What it used.
    pub usage: Usage,
    /// Its result.
    pub output: Option<Payload>,
    /// Its files.
    pub artifacts: Vec<Artifact>,
    /// Pauses before another attempt, if not the host's.
    pub backoff: Option<Backoff>,
    /// When it started.
    pub started_at: Time,
}

/// What is left to do for an attempt once its end is recorded, or once that has failed.
struct Ending {
    // The store tells it, and is the queue's own.
    queue: Weak<Queue>,
    id: JobId,
    running: Arc<Running>,
    place: Option<Place>,
    result: Option<Result<Job, StoreError>>,
    _held: OwnedSemaphorePermit,
}

impl Ending {
    fn note(mut self, result: Result<Job, StoreError>) {
        self.result = Some(result);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.running.end();
        let Some(queue) = self.queue.upgrade() else { return };
        queue.forget_running(self.id, &self.running);
        // Only now does nobody see the job running any more.
        drop(self.place.take());
        match self.result.take().unwrap_or(Err(StoreError::Closed)) {
            Ok(job) if job.state.is_terminal() => queue.waiters.wake(self.id),
            Ok(job) => queue.announce(job.state),
            Err(error) => tracing::warn!(job.id = %self.id, %error, "the end of an attempt was not recorded"),
        }
    }
}

/// The jobs of one host.
#[derive(Debug)]
pub struct Queue {
    store: Store,
    settings: Settings,
    running: Mutex<HashMap<JobId, UnderWay>>,
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

    /// Accepts a job. When this returns it will survive anything but the loss of the disk.
    pub async fn submit(&self, wanted: Submission) -> Result<Job, StoreError> {
        let now = Time::now();
        let job = Job {
            state: if wanted.run_at.is_some_and(|at| at > now) { State::Scheduled } else { State::Queued },
            priority: wanted.priority,
            max_attempts: wanted.max_attempts,
            tags: wanted.tags,
            run_at: wanted.run_at.filter(|at| *at > now),
            timeout_ms: wanted.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            expires_at: wanted.expires_in.map(|span| now.after(span)),
            owner: wanted.owner,
            ..Job::new(JobId::now_v7(), wanted.kind, now)
        };
        let Submission { input, options, blobs, webhook, .. } = wanted;
        let new = NewJob { job, input, options, blobs, webhook };
        let kept_until = now.after(self.settings.keys_kept);
        let key = wanted.key.map(|(name, request)| IdempotencyKey { name, request, now, kept_until });
        let queue_max = wanted.queue_max.unwrap_or(self.settings.queue_max);
        let job = self.store.submit(new, Admission { queue_max, key }).await?;
        self.announce(job.state);
        Ok(job)
    }

    /// Judges how the last process ended. To be called once, before the first claim.
    pub async fn recover(&self) -> Result<(), StoreError> {
        for job in self.store.recover(self.settings.crashes_max, Time::now()).await? {
            let (id, crashes) = (job.id, job.crashes);
            tracing::warn!(job.id = %id, job.kind = %job.kind, crashes, "the last host died while this job ran; it is suspected");
        }
        Ok(())
    }

    /// Has the end of an attempt recorded. Returns once that is under way; whoever waits for the job hears of it when it is durable.
    pub async fn finish(self: &Arc<Self>, assignment: Assignment, finished: Finished) {
        let Assignment { claimed, running, place } = assignment;
        let id = claimed.job.id;
        let attempt = Attempt {
            ended: finished.ended,
            usage: finished.usage,
            progress: running.progress(),
            output: finished.output,
            artifacts: finished.artifacts,
            started_at: finished.started_at,
            now: Time::now(),
            backoff: finished.backoff.unwrap_or(self.settings.backoff),
            jitter: jitter(&claimed.job),
        };
        // What it said comes before how it ended.
        self.tell_news(&UnderWay::new(&claimed, &running));
        metrics::note_attempt(&claimed.job.kind, attempt.ended.as_str(), &attempt.usage);
        if attempt.ended != Ended::Interrupted {
            self.run_times.note(&claimed.job.kind, attempt.usage.wall_ms);
        }
        let held = self.hold(&attempt).await;
        let queue = Arc::downgrade(self);
        let ending = Ending { queue, id, running, place: Some(place), result: None, _held: held };
        let told = Box::new(move |result| ending.note(result));
        self.store.finish_and_tell(id, claimed.token, attempt, told).await;
    }

    /// Waits while attempts whose ends are not recorded yet hold too much of what they left in memory.
    async fn hold(&self, attempt: &Attempt) -> OwnedSemaphorePermit {
        let artifacts = attempt.artifacts.iter().map(|artifact| &artifact.payload);
        let inline = attempt.output.iter().chain(artifacts).filter_map(|payload| match &payload.content {
            Content::Inline(bytes) => Some(bytes.len()),
            Content::Blob(_) => None,
        });
        let kib = u32::try_from(inline.sum::<usize>().div_ceil(1024)).unwrap_or(u32::MAX).min(UNRECORDED_KIB_MAX);
        Arc::clone(&self.unrecorded).acquire_many_owned(kib).await.expect("it is never closed")
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

    /// Lets time pass: wakes workers when a scheduled job is due, fails what was not started in time, takes away what is
    /// kept for too long. `of_kinds` answers which kinds are kept in a way of their own, once that is known. Never returns.
    pub async fn keep_time(&self, of_kinds: impl Fn() -> Option<HashMap<Kind, Retention>>) {
        loop {
            let pause = self.store.next_due(Time::now()).map_or(TICK, |due| due.min(TICK));
            // Woken early when a job was scheduled; it may be due before the others.
            let _ = tokio::time::timeout(pause, self.due.notified()).await;
            let (now, is_trusted) = self.read_clock();
            if self.store.promote(now) {
                self.work.notify_waiters();
            }
            self.tidy(now, of_kinds(), is_trusted).await;
            // Whatever kept work from being claimed, such as a full disk, may have passed without anybody saying so.
            self.work.notify_one();
        }
    }

    /// What time it is, and whether that can be believed: not for a while after the clock was set.
    pub fn read_clock(&self) -> (Time, bool) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, steady) = (Time::now(), std::time::Instant::now());
        if let Some(jump) = clock.tick(now, steady) {
            tracing::warn!(
                "{jump}; scheduled jobs follow the clock, and for ten minutes nothing is taken away or given up for its age"
            );
            if let Jump::Back(by) = jump {
                self.store.set_webhooks_back(by);
            }
        }
        (now, clock.is_trusted(steady))
    }

    /// Each by itself: where one of them fails, the others still make room.
    async fn tidy(&self, now: Time, of_kinds: Option<HashMap<Kind, Retention>>, clock_is_trusted: bool) {
        if let Err(error) = self.expire(now).await {
            tracing::error!(%error, "could not fail jobs that were not started in time");
        }
        if !clock_is_trusted {
            return;
        }
        if let Err(error) = self.retain(now, of_kinds).await {
            tracing::error!(%error, "could not take away what is left of finished jobs");
        }
        if let Err(error) = self.sweep_uploads(now).await {
            tracing::error!(%error, "could not take away uploads that nobody names");
        }
    }

    async fn expire(&self, now: Time) -> Result<(), StoreError> {
        for _ in 0..RETAIN_ROUNDS_MAX {
            let expired = self.store.expire(now).await?;
            for job in &expired {
                // Claimed while its end was being written: nothing it does counts any more.
                if let Some(under_way) = self.running().get(&job.id) {
                    under_way.attempt.stop(Stop::Cancelled);
                }
                self.waiters.wake(job.id);
            }
            if expired.len() < EXPIRE_MAX {
                break;
            }
        }
        Ok(())
    }

    async fn retain(&self, now: Time, of_kinds: Option<HashMap<Kind, Retention>>) -> Result<(), StoreError> {
        // A kind may be kept for longer than others. Before that is known nothing goes for its age, but count and size hold.
        let age = of_kinds.as_ref().map_or(Duration::MAX, |_| self.settings.retention.age);
        let (retention, of_kinds) = (Retention { age, ..self.settings.retention }, of_kinds.unwrap_or_default());
        for _ in 0..RETAIN_ROUNDS_MAX {
            if !self.store.retain(&retention, &of_kinds, now).await? {
                break;
            }
        }
        Ok(())
    }

    async fn sweep_uploads(&self, now: Time) -> Result<(), StoreError> {
        for _ in 0..RETAIN_ROUNDS_MAX {
            if !self.store.sweep_uploads(now).await? {
                break;
            }
        }
        Ok(())
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

    fn forget_running(&self, id: JobId, attempt: &Arc<Running>) {
        let mut running = self.running();
        // The job may be in other hands already.
        if running.get(&id).is_some_and(|current| Arc::ptr_eq(&current.attempt, attempt)) {
            running.remove(&id);
            if running.is_empty() {
                self.held.idle();
            }
        }
    }

    // The map stays usable if a thread panicked: each change is a single step.
    fn running(&self) -> MutexGuard<'_, HashMap<JobId, UnderWay>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number from 0.0 to 1.0, from the random part of the job's id, another for each attempt.
fn jitter(job: &Job) -> f64 {
    // Steps of the golden ratio, so that the numbers of one job lie far apart.
    let steps = u64::from(job.attempts + job.crashes + job.interruptions).wrapping_mul(0x9e37_79b9);
    let number = job.id.as_u64_pair().1.wrapping_add(steps) & 0xffff_ffff;
    number as f64 / f64::from(u32::MAX)
}
