//! How long a flush is held back for jobs that started ahead of it, so that their ends share it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::group::Group;
use super::writer::Change;

/// For at the most this long: about what a flush takes on a quick disk, and longer than a worker needs for a job that does next to nothing.
const HOLD: Duration = Duration::from_micros(150);
/// Flushes that are not held back after one that was held in vain: twice as many each time, up to this power of two.
const VAIN_MAX: u32 = 6;

/// What the writer knows of earlier attempts to hold a flush back.
pub(super) struct Hold {
    /// How many in a row were in vain.
    vain: u32,
    /// Flushes that are not held back, from now on.
    left_out: u32,
    waker: Waker,
}

impl Hold {
    /// For the thread that calls this.
    pub(super) fn new() -> Self {
        Self { vain: 0, left_out: 0, waker: Waker::from(Arc::new(Unpark(thread::current()))) }
    }

    /// Takes up what comes while jobs of the group are under way, for as long as that has been worth it lately. Whether jobs are quick,
    /// workers free and kinds not paused, shows in the ends that come.
    pub(super) fn fill(
        &mut self,
        group: &mut Group<'_>,
        held: &mut VecDeque<Change>,
        changes: &mut mpsc::Receiver<Change>,
    ) {
        if !group.has_early() || group.is_full() {
            return;
        }
        if self.left_out > 0 {
            self.left_out -= 1;
            return;
        }
        let until = Instant::now() + HOLD;
        while group.has_early()
            && !group.is_awaited()
            && !group.is_full()
            && let Some(change) = self.next(changes, until)
        {
            group.take(change, held);
        }
        self.vain = if group.has_early() { (self.vain + 1).min(VAIN_MAX) } else { 0 };
        self.left_out = (1 << self.vain) - 1;
    }

    /// The next change that comes in time.
    fn next(&self, changes: &mut mpsc::Receiver<Change>, until: Instant) -> Option<Change> {
        loop {
            if let Poll::Ready(change) = changes.poll_recv(&mut Context::from_waker(&self.waker)) {
                return change;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }
}

/// Wakes a thread that waits for a change.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::group::early::tests::{Place, end_of};
    use super::*;
    use crate::job::Ended;

    #[test]
    fn a_flush_is_held_back_while_that_pays_and_seldom_after_it_did_not() {
        let place = Place::new();
        let (sender, mut changes) = mpsc::channel(9);
        let (mut hold, mut held) = (Hold::new(), VecDeque::new());
        // Whether the flush was held back until this came; for nothing, until the time was over.
        let mut is_held_for = |what: Option<&str>| {
            let mut group = place.group();
            let _answer = place.submit(&mut group, 9, u64::MAX);
            let started = place.claim().expect("it may start");
            let change = what.map(|what| match what {
                "end" => end_of(&started, Ended::Succeeded).0,
                _ => Change::Settle { reply: oneshot::channel().0 },
            });
            assert!(change.is_none_or(|change| sender.try_send(change).is_ok()));
            let began = Instant::now();
            hold.fill(&mut group, &mut held, &mut changes);
            let was_left = changes.try_recv().is_ok();
            if what.is_some() { !was_left } else { began.elapsed() >= HOLD }
        };
        let (end, settle) = (Some("end"), Some("settle"));
        assert!(is_held_for(end) && is_held_for(end), "an end that comes meanwhile is taken up");
        assert!(is_held_for(None) && !is_held_for(end), "one is left out after one that was held back in vain");
        assert!(is_held_for(settle), "then another is tried, and somebody waits for the flush: in vain again");
        assert!((0..3).all(|_| !is_held_for(end)), "three are left out");
        assert!(is_held_for(end) && is_held_for(end), "one that paid makes good for those");
    }
}
