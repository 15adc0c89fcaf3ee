//! How an attempt ends: handed to the store, which does not keep the worker waiting, and told to whoever waits once it is durable.

use std::sync::{Arc, Weak};

use tokio::sync::OwnedSemaphorePermit;

use super::Queue;
use super::places::Place;
use super::telling::UnderWay;
use crate::job::{Backoff, Ended, Job, JobId, Usage};
use crate::metrics;
use crate::running::Running;
use crate::store::{Artifact, Attempt, Claimed, Content, Payload, StoreError};
use crate::time::Time;

/// Results and artifacts in memory whose records are still on their way to the disk. A disk that stalls holds up further ends.
pub(super) const UNRECORDED_KIB_MAX: u32 = 64 * 1024;

/// A job in a worker's hands.
#[derive(Debug)]
pub struct Assignment {
    /// The job and its input.
    pub claimed: Claimed,
    /// Shared with those who watch it.
    pub running: Arc<Running>,
    pub(super) place: Place,
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

impl Queue {
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
        // What it said comes before how it ended, and after that there is such a job at all.
        if !(claimed.is_early && running.has_news()) || self.store.settle().await.is_ok() {
            self.tell_news(&UnderWay::new(&claimed, &running));
        }
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
}

/// A number from 0.0 to 1.0, from the random part of the job's id, another for each attempt.
fn jitter(job: &Job) -> f64 {
    // Steps of the golden ratio, so that the numbers of one job lie far apart.
    let steps = u64::from(job.attempts + job.crashes + job.interruptions).wrapping_mul(0x9e37_79b9);
    let number = job.id.as_u64_pair().1.wrapping_add(steps) & 0xffff_ffff;
    number as f64 / f64::from(u32::MAX)
}
