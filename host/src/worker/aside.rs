//! Lets others have the processor.
//!
//! Workers are behind the threads that serve clients, but the kernel minds that only when it asks itself who goes next. Whoever wakes up
//! while a worker computes waits for the end of its turn, for up to two ticks of 4 ms, and between a request and its answer are
//! half a dozen hand-overs. So a worker that computes looks between two slices of its guest whether more threads want a processor
//! than there are. If so it sleeps for as short a time as there is, and whoever waits goes next: a submit beside computing
//! workers takes a quarter of the time (p99).
//!
//! Threads that serve are soon done. Where more threads want a processor each time it is looked, somebody else computes as well, a
//! compiler or another program: sleeping would only hand the processor to that, so the worker keeps the share that the scheduler
//! gives it, until there is room again. (Yielding would hand over nearly all of it.)

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks, which cost a microsecond or two each. A hand-over takes half of it longer than it must; three times as many
/// looks gain nothing that can be measured.
const PACE: Duration = Duration::from_micros(300);
/// Looks that found too many, one after the other, before nothing is given way to any more: 20 ms or so. Clients that send one request after
/// the other leave a gap in less.
const CROWDED_MAX: u32 = 60;
/// Time between two looks from then on.
const LONG_PACE: Duration = Duration::from_millis(10);
/// A look that costs more, as where a container has a file system of its own for it, comes the more seldom: it may take a fiftieth.
const LOOK_SHARE: u32 = 50;
/// The kernel adds the 50 that it takes for itself to let timers run together.
const NAP: Duration = Duration::from_micros(1);

/// Where a thread finds out whether others wait.
pub(super) struct Aside {
    /// Nothing where the system does not tell how many threads want a processor.
    load: Option<File>,
    /// More than so many are too many.
    room: usize,
    next_look: Cell<Instant>,
    /// How many looks in a row found too many.
    crowded: Cell<u32>,
}

impl Aside {
    /// Of one among so many workers, which wait for each other in turns of their own.
    pub(super) fn new(workers: usize) -> Self {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").ok();
        let room = online.and_then(|online| processors(&online)).map(|processors| processors.max(workers));
        let load = room.and_then(|_| File::open("/proc/loadavg").ok());
        Self { load, room: room.unwrap_or(usize::MAX), next_look: Cell::new(Instant::now()), crowded: Cell::new(0) }
    }

    /// Gives whoever waits for a processor this one, if it was not asked a moment ago.
    pub(super) fn step(&self) {
        let began = Instant::now();
        if began < self.next_look.get() {
            return;
        }
        let crowded = if self.is_crowded() { self.crowded.get() + 1 } else { 0 };
        let cost = (began.elapsed() * LOOK_SHARE).min(LONG_PACE);
        let helps = crowded <= CROWDED_MAX;
        if crowded > 0 && helps {
            thread::sleep(NAP);
        }
        // Not counted further: it would be too many for days.
        self.crowded.set(crowded.min(CROWDED_MAX + 1));
        self.next_look.set(Instant::now() + if helps { PACE.max(cost) } else { LONG_PACE });
    }

    fn is_crowded(&self) -> bool {
        let mut text = [0; 64];
        let length = self.load.as_ref().and_then(|load| load.read_at(&mut text, 0).ok()).unwrap_or(0);
        wanting(&text[..length]).is_some_and(|wanting| wanting > self.room)
    }
}

/// Threads of the whole machine that have a processor or wait for one, as in `0.20 0.18 0.12 3/80 11206`.
fn wanting(load: &[u8]) -> Option<usize> {
    std::str::from_utf8(load).ok()?.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

/// The processors of the whole machine; this process may be kept to some of them. As in `0-3,8`.
fn processors(online: &str) -> Option<usize> {
    online.trim().split(',').try_fold(0, |sum: usize, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let beyond = last.parse::<usize>().ok()?.checked_add(1)?;
        sum.checked_add(beyond.checked_sub(first.parse().ok()?)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_understood_or_left_alone() {
        assert_eq!(wanting(b"0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!([b"".as_slice(), b"0.20 0.18 0.12", b"0 0 0 x/80"].map(wanting), [None; 3]);
        assert_eq!(["0\n", "0-1\n", "0-3,8,10-11\n"].map(processors), [Some(1), Some(2), Some(7)]);
        assert_eq!(["", "3-1", "0-", "18446744073709551615"].map(processors), [None; 4]);
    }

    #[test]
    fn who_waits_is_given_way_to_unless_that_helps_nobody() {
        let aside = Aside { room: 0, ..Aside::new(1) };
        for looks in 1..=CROWDED_MAX + 2 {
            aside.next_look.set(Instant::now());
            aside.step();
            assert_eq!(aside.crowded.get(), looks.min(CROWDED_MAX + 1));
        }
        assert!(aside.next_look.get() > Instant::now() + PACE, "it is looked seldom now");
        let aside = Aside { room: usize::MAX, ..aside };
        aside.next_look.set(Instant::now());
        aside.step();
        assert_eq!(aside.crowded.get(), 0, "there is room again");
    }

    #[test]
    fn a_thread_knows_whether_others_wait() {
        let mut aside = Aside::new(1);
        assert!(aside.load.is_some(), "this system tells");
        aside.room = 0;
        assert!(aside.is_crowded(), "whoever asks has a processor");
        aside.room = usize::MAX;
        assert!(!aside.is_crowded());
    }
}
