//! Whether the threads that run jobs still come round: each says so every second, whatever its jobs do.
//!
//! A job that computes yields after every slice of fuel, and one that waits leaves its thread, so a thread that has not come round for
//! seconds is stuck in the host's own code, or has ended by a panic: nothing more is claimed there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often each says that it is there.
const EVERY: Duration = Duration::from_secs(1);

/// When each thread came round last.
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    /// Milliseconds since the start.
    beats: Vec<AtomicU64>,
}

impl Pulse {
    /// Of so many threads, which start now.
    pub(super) fn new(threads: usize) -> Self {
        Self { started: Instant::now(), beats: (0..threads).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Says that this thread is there for as long as it is. Never returns.
    pub(super) async fn keep(&self, thread: usize) {
        loop {
            let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.beats[thread].store(since, Ordering::Relaxed);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// How long ago the last of them came round: while one of them does, jobs are claimed.
    pub fn silent_for(&self) -> Duration {
        let last = self.beats.iter().map(|beat| beat.load(Ordering::Relaxed)).max().unwrap_or(0);
        self.started.elapsed().saturating_sub(Duration::from_millis(last))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use tokio::task::LocalSet;

    use super::*;

    fn eventually(pulse: &Pulse, is: impl Fn(Duration) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is(pulse.silent_for()) {
            assert!(Instant::now() < deadline, "silent for {:?}", pulse.silent_for());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Fault: a thread hangs in a call of the host, and the host passes for one that runs jobs.
    #[test]
    fn a_thread_that_is_stuck_is_silent_and_one_that_comes_round_is_not() {
        let pulse = Arc::new(Pulse::new(2));
        let (hold, held) = mpsc::channel::<()>();
        let (beating, over) = (Arc::clone(&pulse), tokio::sync::oneshot::channel::<()>());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, async move {
                tokio::task::spawn_local(async move { beating.keep(0).await });
                tokio::task::yield_now().await;
                // Not a wait of the executor's: nothing else on this thread moves.
                let _ = held.recv();
                let _ = over.1.await;
            });
        });
        eventually(&pulse, |silent| silent > 2 * EVERY);
        hold.send(()).expect("it waits for this");
        eventually(&pulse, |silent| silent < EVERY);
        over.0.send(()).expect("it waits for this");
        thread.join().expect("it does not panic");
    }
}
