//! What keeps ready jobs from being claimed: paused kinds, a host that is about to stop, and one that has still to note how the last one did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Queue, Runnable};
use crate::job::Kind;
use crate::store::StoreError;
use crate::time::Time;

/// What is not to be claimed now, besides the kinds that the store knows to be paused.
#[derive(Debug, Default)]
pub(super) struct Held {
    draining: AtomicBool,
    recovering: AtomicBool,
    idle: Notify,
}

impl Held {
    /// Notes that nothing runs any more.
    pub(super) fn idle(&self) {
        self.idle.notify_waiters();
    }
}

impl Queue {
    /// Of these kinds those that may be claimed.
    pub(super) fn claimable(&self, kinds: &Arc<[Runnable]>) -> Arc<[Runnable]> {
        if self.is_draining() || self.is_recovering() {
            return Arc::default();
        }
        self.store.paused(|paused| {
            if paused.is_empty() {
                return Arc::clone(kinds);
            }
            kinds.iter().filter(|runnable| !paused.contains(&runnable.kind)).cloned().collect()
        })
    }

    /// Lets no more jobs of a kind start, or lets them start again; those that run go on. Durable when this returns.
    pub async fn set_paused(&self, kind: &Kind, paused: bool) -> Result<(), StoreError> {
        self.store.set_paused(kind.clone(), paused).await?;
        // Whoever resumes and does not wait for the answer has them woken by the clock instead.
        if !paused {
            self.work.notify_waiters();
        }
        Ok(())
    }

    /// Whether a kind is paused.
    pub fn is_paused(&self, kind: &Kind) -> bool {
        self.store.is_paused(kind)
    }

    /// Whether the host is about to stop and starts nothing any more.
    pub fn is_draining(&self) -> bool {
        self.held.draining.load(Ordering::Acquire)
    }

    /// Judges how the last process ended; until that is done, no job is claimed. To be called once. On a disk without any room it waits
    /// for some.
    pub async fn recover(&self) -> Result<(), StoreError> {
        self.held.recovering.store(true, Ordering::Release);
        for job in self.store.recover(self.settings.crashes_max, Time::now()).await? {
            let (id, crashes) = (job.id, job.crashes);
            tracing::warn!(job.id = %id, job.kind = %job.kind, crashes, "the last host died while this job ran; it is suspected");
            if job.state.is_terminal() {
                self.waiters.wake(id);
            }
        }
        self.held.recovering.store(false, Ordering::Release);
        self.work.notify_waiters();
        Ok(())
    }

    /// Whether it is still to be noted how the last process ended, and nothing starts before that.
    pub fn is_recovering(&self) -> bool {
        self.held.recovering.load(Ordering::Acquire)
    }

    /// How many jobs are running.
    pub fn running_count(&self) -> usize {
        self.running().len()
    }

    /// Starts no more jobs, and returns when those that run have ended, or after `grace`. Answers how many still run.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.held.draining.store(true, Ordering::Release);
        let ended = async {
            loop {
                let idle = self.held.idle.notified();
                tokio::pin!(idle);
                // Listening before looking, so that the last end is not missed.
                idle.as_mut().enable();
                if self.running_count() == 0 {
                    break;
                }
                idle.await;
            }
        };
        // Whichever comes first, what still runs is counted.
        let _ = tokio::time::timeout(grace, ended).await;
        self.running_count()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use tokio::sync::watch;

    use super::super::claiming::tests::{queue, submit};
    use super::*;

    /// Fault: a job that may have brought the last host down runs before that was judged, or nobody comes for it afterwards.
    #[tokio::test]
    async fn nothing_is_claimed_before_it_is_judged_how_the_last_host_ended() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (queue, kind) = (queue(folder.path()), Kind::new("a").expect("well-formed"));
        let (_known, kinds) = watch::channel([Runnable { kind: kind.clone(), concurrency_max: 9 }].into());
        queue.held.recovering.store(true, Ordering::Release);
        let ids = [submit(&queue, &kind).await, submit(&queue, &kind).await];
        let mut claims = pin!(async { tokio::join!(queue.claim(&kinds), queue.claim(&kinds)) });
        assert!(claims.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        assert_eq!(queue.running_count(), 0);
        queue.recover().await.expect("the disk works");
        let claimed = tokio::time::timeout(Duration::from_secs(10), claims).await.expect("both are woken");
        let mut claimed = [claimed.0.claimed.job.id, claimed.1.claimed.job.id];
        claimed.sort_unstable();
        assert_eq!(claimed, ids, "in order, as ids are");
    }
}
