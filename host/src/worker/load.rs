//! How busy a thread is, and whether another job would be better off on it than in the queue.
//!
//! A thread takes a job when it is idle, and a job that computes has its thread to itself. But jobs that wait for others most
//! of the time leave no idle moment once a dozen of them share a thread, and those that are still queued then would begin
//! their own waiting only when the first ones are over. So a thread whose jobs all wait more than they compute takes more of
//! them, until together they would want it for twice the time there is: an attempt's clock is running, and no job is to be
//! slowed by more than that.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::aside::Aside;
use crate::sandbox::Turn;

/// Shares of a thread are counted in thousandths.
const WHOLE: u64 = 1_000;
/// Jobs that want their thread for more than this share of the time are left alone on it.
const WAITING_SHARE_MAX: u64 = WHOLE / 2;
/// What the waiting jobs of one thread may want of it together.
const DEMAND_MAX: u64 = 2 * WHOLE;
/// A job that computes for longer gives way to other threads now and then. Small ones are over before that helps anybody.
const AT_ONCE_MAX: Duration = Duration::from_micros(500);

/// What the jobs of one thread want of it.
pub(super) struct Load {
    /// Jobs that want the processor now.
    computing: Cell<usize>,
    /// Those of them that compute more than they wait.
    busy: Cell<usize>,
    /// The shares of all jobs, also of those that wait now.
    demand: Cell<u64>,
    changed: Notify,
    /// For those who wait for the processor that this thread has.
    aside: Aside,
}

impl Load {
    /// Of a thread that does nothing yet.
    pub(super) fn new(aside: Aside) -> Self {
        let (computing, busy, demand) = Default::default();
        Self { computing, busy, demand, changed: Notify::new(), aside }
    }

    fn has_room(&self) -> bool {
        self.computing.get() == 0 || (self.busy.get() == 0 && self.demand.get() < DEMAND_MAX)
    }

    /// Returns when another job can run here at once.
    pub(super) async fn until_room(&self) {
        while !self.has_room() {
            self.changed.notified().await;
        }
    }

    /// Returns when another job could not run here any more.
    pub(super) async fn until_full(&self) {
        while self.has_room() {
            self.changed.notified().await;
        }
    }
}

/// One job's part of its thread's load, from claim to the end of its guest.
pub(super) struct Share {
    load: Rc<Load>,
    wants: Cell<Wants>,
    /// How long it computed until it last waited, and since then.
    last_burst: Cell<Duration>,
    burst: Cell<Duration>,
    /// How long it waited last, and since when it waits.
    last_park: Cell<Option<Duration>>,
    parked_at: Cell<Instant>,
}

/// What is counted of a job in its thread's load.
#[derive(Clone, Copy, Default)]
struct Wants {
    computing: bool,
    share: u64,
}

impl Wants {
    fn is_busy(self) -> bool {
        self.computing && self.share > WAITING_SHARE_MAX
    }
}

impl Share {
    /// A job that nothing is known of yet wants all of the thread.
    pub(super) fn new(load: &Rc<Load>) -> Self {
        let share = Self {
            load: Rc::clone(load),
            wants: Cell::default(),
            last_burst: Cell::default(),
            burst: Cell::default(),
            last_park: Cell::default(),
            parked_at: Cell::new(Instant::now()),
        };
        share.count(Wants { computing: true, share: WHOLE });
        share
    }

    /// Takes note of what its guest does.
    pub(super) fn turn(&self, turn: Turn) {
        match turn {
            Turn::Computed(time) => {
                self.burst.set(self.burst.get() + time);
                if self.burst.get() > AT_ONCE_MAX {
                    self.load.aside.step();
                }
                if self.burst.get() > self.last_burst.get() {
                    self.count(Wants { computing: true, share: self.share() });
                }
            }
            Turn::Parked => {
                self.last_burst.set(self.burst.take());
                self.parked_at.set(Instant::now());
                // Of one that waits for the first time nothing is known but that it waits.
                let share = if self.last_park.get().is_some() { self.wants.get().share } else { 0 };
                self.count(Wants { computing: false, share });
            }
            Turn::Woken => {
                self.last_park.set(Some(self.parked_at.get().elapsed()));
                self.count(Wants { computing: true, share: self.share() });
            }
        }
    }

    /// Of the time between the beginnings of two waits, the part for which it computes, in thousandths.
    fn share(&self) -> u64 {
        let computes = self.burst.get().max(self.last_burst.get()).as_micros();
        let waits = self.last_park.get().unwrap_or_default().as_micros();
        let share = (computes * u128::from(WHOLE)).checked_div(computes + waits).unwrap_or_default();
        u64::try_from(share).unwrap_or(WHOLE)
    }

    fn count(&self, now: Wants) {
        let (load, before) = (&self.load, self.wants.replace(now));
        let had_room = load.has_room();
        load.computing.set(load.computing.get() + usize::from(now.computing) - usize::from(before.computing));
        load.busy.set(load.busy.get() + usize::from(now.is_busy()) - usize::from(before.is_busy()));
        load.demand.set(load.demand.get() + now.share - before.share);
        if load.has_room() != had_room {
            load.changed.notify_one();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.count(Wants::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A job that has computed for as many milliseconds, waited for some, and computes again.
    fn woken(load: &Rc<Load>, computed: u32, waited: Duration) -> Share {
        let share = Share::new(load);
        share.turn(Turn::Computed(computed * MS));
        share.turn(Turn::Parked);
        share.parked_at.set(Instant::now().checked_sub(waited).expect("the clock has run for a while"));
        share.turn(Turn::Woken);
        share
    }

    #[test]
    fn a_thread_that_computes_takes_nothing_until_the_job_waits_or_ends() {
        let load = Rc::new(Load::new(Aside::new(1)));
        assert!(load.has_room());
        let job = Share::new(&load);
        assert!(!load.has_room());
        job.turn(Turn::Parked);
        assert!(load.has_room());
        job.turn(Turn::Woken);
        job.turn(Turn::Computed(MS));
        assert!(!load.has_room(), "it computes, and has hardly waited");
        drop(job);
        assert!(load.has_room());
        assert_eq!((load.computing.get(), load.busy.get(), load.demand.get()), (0, 0, 0));
    }

    #[test]
    fn jobs_that_wait_most_of_the_time_leave_room_until_they_want_twice_the_thread() {
        let load = Rc::new(Load::new(Aside::new(1)));
        let jobs: Vec<_> = (0..19).map(|_| woken(&load, 10, 90 * MS)).collect();
        assert!(load.has_room(), "a tenth each, 1.9 together, and all of them want it now");
        let more: Vec<_> = (0..2).map(|_| woken(&load, 10, 90 * MS)).collect();
        assert!(!load.has_room(), "2.1 together");
        drop(more);
        assert!(load.has_room());
        drop(jobs);
        assert_eq!((load.computing.get(), load.busy.get(), load.demand.get()), (0, 0, 0));
    }

    #[test]
    fn a_job_that_begins_to_compute_for_longer_than_it_waited_is_left_alone() {
        let load = Rc::new(Load::new(Aside::new(1)));
        let job = woken(&load, 10, 90 * MS);
        job.turn(Turn::Computed(80 * MS));
        assert!(load.has_room());
        job.turn(Turn::Computed(20 * MS));
        assert!(!load.has_room());
    }
}
