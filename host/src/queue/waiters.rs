//! Clients that wait for the end of a job.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::job::{JobId, JobMap};

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_job: Mutex<JobMap<Vec<Waiter>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    wake: oneshot::Sender<()>,
}

/// Someone's place among those who wait for a job; given up when dropped, also when a client goes away.
#[derive(Debug)]
pub(super) struct Place<'a> {
    waiters: &'a Waiters,
    id: JobId,
    number: u64,
}

impl Waiters {
    /// Takes a place. The receiver hears of the next [`Waiters::wake`] for the job.
    pub(super) fn join(&self, id: JobId) -> (Place<'_>, oneshot::Receiver<()>) {
        let (wake, ended) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().entry(id).or_default().push(Waiter { number, wake });
        (Place { waiters: self, id, number }, ended)
    }

    /// Wakes everybody who waits for the job.
    pub(super) fn wake(&self, id: JobId) {
        for waiter in self.lock().remove(&id).unwrap_or_default() {
            // One that has given up in this moment needs no waking.
            let _ = waiter.wake.send(());
        }
    }

    // Stays usable if a thread panicked: each change is a single step.
    fn lock(&self) -> MutexGuard<'_, JobMap<Vec<Waiter>>> {
        self.by_job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock();
        if let Some(others) = waiters.get_mut(&self.id) {
            others.retain(|waiter| waiter.number != self.number);
            if others.is_empty() {
                waiters.remove(&self.id);
            }
        }
    }
}
