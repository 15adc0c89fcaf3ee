//! What a running attempt and those who watch it share: its progress, and the request to stop.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use futures_util::task::AtomicWaker;

use crate::job::{Progress, shorten};

/// Longer progress messages are cut.
const MESSAGE_BYTES_MAX: usize = 256;

/// Why an attempt is asked to stop before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled the job.
    Cancelled,
    /// The host is stopping and will run the job again.
    Interrupted,
}

/// One attempt under way.
#[derive(Debug, Default)]
pub struct Running {
    stop: AtomicU8,
    // A parked guest is woken by a stop; a computing one looks at every slice of fuel anyway.
    waker: AtomicWaker,
    deadline: OnceLock<Instant>,
    progress: Mutex<Progress>,
}

impl Running {
    /// Asks the attempt to stop. Seen within one slice of fuel, or at once if it is parked. The first reason stays.
    pub fn stop(&self, reason: Stop) {
        let code = match reason {
            Stop::Cancelled => 1,
            Stop::Interrupted => 2,
        };
        // A failed exchange means that it is stopping already.
        let _ = self.stop.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    /// The reason to stop, if there is one.
    pub fn stop_requested(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Cancelled),
            _ => Some(Stop::Interrupted),
        }
    }

    /// Sets, once, when the attempt's time is over.
    pub fn start(&self, deadline: Instant) {
        // It is started once; a second deadline would not count.
        let _ = self.deadline.set(deadline);
    }

    /// Whether the attempt is to stop, or its time is over.
    pub fn is_over(&self) -> bool {
        self.stop_requested().is_some() || self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// Has `waker` woken at the next [`stop`](Self::stop). Look at [`stop_requested`](Self::stop_requested)
    /// afterwards, not before, or a stop in between goes unseen.
    pub fn wake_on_stop(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Notes how far the attempt says it is. Nonsense is bent into range.
    pub fn report(&self, fraction: f64, message: String) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if !fraction.is_nan() {
            progress.fraction = fraction.clamp(0.0, 1.0);
        }
        progress.message = shorten(message, MESSAGE_BYTES_MAX);
    }

    /// The newest progress.
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
