//! The seats of a folder: who may make a call there.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::Folder;

/// The right to make a call in a folder. To be dropped when the call has returned, by the thread that made it.
pub(in crate::sandbox) struct Seat {
    _of_the_folder: OwnedSemaphorePermit,
    _of_its_own_or_of_all: OwnedSemaphorePermit,
    // Dropped last: whoever is told that there is a seat again finds it.
    _returned: Returned,
}

/// Tells those who have waited for a seat in vain that there is one again.
struct Returned(Arc<Folder>);

impl Folder {
    /// Waits until a call may be made there.
    pub(in crate::sandbox) async fn seat(self: &Arc<Self>) -> Seat {
        let of_the_folder = Arc::clone(&self.calls).acquire_owned().await;
        let of_its_own_or_of_all = tokio::select! {
            biased;
            of_its_own = Arc::clone(&self.calls_of_its_own).acquire_owned() => of_its_own,
            of_all = Arc::clone(&self.calls_of_all).acquire_owned() => of_all,
        };
        Seat {
            _of_the_folder: of_the_folder.expect("it is never closed"),
            _of_its_own_or_of_all: of_its_own_or_of_all.expect("it is never closed"),
            _returned: Returned(Arc::clone(self)),
        }
    }

    /// The same for a thread that may wait itself, in the same row as the others, until a moment.
    pub(super) fn seat_until(self: &Arc<Self>, end: Instant) -> Option<Seat> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut seat = pin!(self.seat());
        loop {
            if let Poll::Ready(seat) = seat.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(seat);
            }
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            thread::park_timeout(left);
        }
    }

    /// The same; who finds none is counted among those who have waited in vain.
    pub(super) fn seat_or_note(self: &Arc<Self>, end: Instant) -> Option<Seat> {
        let seat = self.seat_until(end);
        if seat.is_none() {
            self.is_awaited.store(true, Ordering::SeqCst);
            // One that was given back before that was not counted. It is now, if nobody else has it.
            drop(self.seat_until(Instant::now()));
        }
        seat
    }
}

/// Wakes a thread that waits for a seat.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if self.0.is_awaited.swap(false, Ordering::SeqCst) {
            self.0.note_returned();
        }
    }
}
