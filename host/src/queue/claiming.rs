//! How a worker comes to a job: picked in memory, one worker at a time, and then read from the disk, while others go on.

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use super::places::{Place, Places, Runnable};
use super::{Assignment, Queue, UnderWay};
use crate::job::{Job, Kind};
use crate::metrics;
use crate::running::{Running, Stop};
use crate::store::HandedOut;
use crate::time::Time;

/// A job that was picked and is still to be read, and its place among those of its kind.
struct Picked {
    job: HandedOut,
    place: Place,
}

impl Queue {
    /// Waits for a job of one of these kinds. Kinds take turns, so a long queue of one does not hold up the others.
    pub async fn claim(&self, kinds: &watch::Receiver<Arc<[Runnable]>>) -> Assignment {
        let mut kinds = kinds.clone();
        loop {
            let known = kinds.borrow_and_update().clone();
            while let Some(picked) = self.pick(&self.claimable(&known)) {
                if let Some(assignment) = self.begin(picked) {
                    return assignment;
                }
            }
            tokio::select! {
                () = self.work.notified() => {}
                // The sender lives as long as the host; if it is gone there is nothing left to wait for here.
                changed = kinds.changed() => if changed.is_err() { self.work.notified().await },
            }
        }
    }

    fn pick(&self, kinds: &[Runnable]) -> Option<Picked> {
        // Held until the place is taken: no other worker can claim a kind's last place between the look at the free ones and the taking.
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = turn.wrapping_add(1);
        let (later, first) = kinds.split_at(*turn % kinds.len().max(1));
        let free = first.iter().chain(later).filter(|runnable| self.places.has_room(runnable));
        let order: Vec<(Kind, usize)> = free.map(|runnable| (runnable.kind.clone(), 1)).collect();
        let job = self.store.hand_out(&order, 1, Time::now()).pop()?;
        let place = Places::take(&self.places, &job.kind);
        Some(Picked { job, place })
    }

    /// Reads a job, which may take as long as the disk likes, and makes it known as running. Nothing if it cannot be read any more.
    fn begin(&self, Picked { job, place }: Picked) -> Option<Assignment> {
        let (id, token) = (job.id, job.token);
        let claimed = self.store.read_claimed(job)?;
        note_wait(&claimed.job);
        let attempt = Arc::new(Running::new(Arc::clone(&self.news)));
        self.running().insert(id, UnderWay::new(&claimed, &attempt));
        // A cancel that was recorded before this look is seen by it, and one that is recorded later finds the entry.
        if !self.store.holds(id, token) {
            attempt.stop(Stop::Cancelled);
        }
        Some(Assignment { claimed, running: attempt, place })
    }
}

/// How long a job waited that starts for the first time.
fn note_wait(job: &Job) {
    if job.attempts + job.crashes + job.interruptions == 0 {
        metrics::note_wait(&job.kind, Time::now().since(job.run_at.unwrap_or(job.created_at)));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::Settings;
    use super::*;
    use crate::job::{Backoff, JobId, State};
    use crate::store::{self, Admission, Content, NewJob, Options, Payload, Retention, Share, Store};

    pub(in crate::queue) fn queue(folder: &std::path::Path) -> Queue {
        let store = Store::open(folder, &store::Settings { claims_max: 4, reserve_bytes: 0 }).expect("it opens");
        let settings = Settings {
            queue_max: 9,
            backoff: Backoff { first: Duration::ZERO, longest: Duration::ZERO },
            crashes_max: 3,
            retention: Retention { age: Duration::MAX, jobs_max: 9, bytes_max: u64::MAX },
            keys_kept: Duration::ZERO,
            uploads_kept: Duration::ZERO,
            uploads_share: Share { uploads_max: 0, bytes_max: 0 },
            listeners_max: 1,
            workers: 3,
        };
        Queue::new(store, settings)
    }

    pub(in crate::queue) async fn submit(queue: &Queue, kind: &Kind) -> JobId {
        let job = Job::new(JobId::now_v7(), kind.clone(), Time::now());
        let input = Payload { media_type: String::new(), content: Content::Inline(Vec::new().into()) };
        let new = NewJob { job, input, options: Options::default(), blobs: Vec::new(), webhook: None };
        queue.store().submit(new, Admission { queue_max: 9, key: None, workers: None }).await.expect("accepted").id
    }

    /// Fault: a cancel comes while a worker reads the job, finds nobody to stop, and the attempt runs to its end.
    #[tokio::test]
    async fn a_job_that_is_cancelled_while_it_is_read_is_stopped() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (queue, kind) = (queue(folder.path()), Kind::new("a").expect("well-formed"));
        let only = [Runnable { kind: kind.clone(), concurrency_max: 1 }];
        let id = submit(&queue, &kind).await;
        let picked = queue.pick(&only).expect("it is ready");
        assert_eq!(queue.cancel(id).await.expect("unfinished").state, State::Cancelled);
        let assignment = queue.begin(picked).expect("it can be read");
        assert_eq!(assignment.running.stop_requested(), Some(Stop::Cancelled));
        // One that nobody cancelled goes on, and one that is gone is nobody's, and leaves its place.
        drop(assignment);
        submit(&queue, &kind).await;
        let picked = queue.pick(&only).expect("it is ready");
        assert!(queue.pick(&only).is_none(), "the one place is taken before the job is read");
        assert_eq!(queue.begin(picked).expect("it can be read").running.stop_requested(), None);
        let id = submit(&queue, &kind).await;
        let picked = queue.pick(&only).expect("it is ready");
        queue.cancel(id).await.expect("unfinished");
        queue.delete(id).await.expect("cancelled");
        assert!(queue.begin(picked).is_none());
        assert_eq!(queue.running_of(&kind), 0);
    }
}
