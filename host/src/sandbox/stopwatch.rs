//! How long a thread has computed, without asking the kernel each time.
//!
//! The kernel's answer takes a system call, and a small job is over within a few dozen of them. How late it is costs nothing to ask, and a
//! thread cannot have computed for longer than has passed: what took an instant counts whole, and only of what took longer the kernel is
//! asked how much of it the thread had the processor for.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How much too long one stretch may count, never too short: what the thread did just before, or was kept from its processor, or waited for the
/// disk in a call of the host.
const GRAIN: Duration = Duration::from_micros(100);

thread_local! {
    /// When this thread asked last, and what it was told.
    static LAST: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Measures one stretch of computing, on the thread that made it.
pub(super) struct Stopwatch {
    began: Instant,
    /// What the thread had computed then, or at most a [`GRAIN`] before.
    before: Duration,
}

impl Stopwatch {
    /// Begins now, which the caller has just asked for.
    pub(super) fn start(now: Instant) -> Self {
        let recent = LAST.get().filter(|(at, _)| now.saturating_duration_since(*at) < GRAIN);
        let before = recent.map_or_else(|| ask(now), |(_, computed)| computed);
        Self { began: now, before }
    }

    /// How long the thread has computed since.
    pub(super) fn stop(self) -> Duration {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.began);
        if passed < GRAIN { passed } else { passed.min(ask(now).saturating_sub(self.before)) }
    }
}

fn ask(now: Instant) -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let computed = Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    LAST.set(Some((now, computed)));
    computed
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::thread;

    use super::*;

    /// Computes until the thread has done so for this long.
    fn compute(time: Duration) {
        let end = ask(Instant::now()) + time;
        while ask(Instant::now()) < end {
            black_box((0..100).fold(0, |sum, number| sum + black_box(number)));
        }
    }

    #[test]
    fn what_is_slept_is_not_computed_and_what_is_computed_counts_however_short() {
        let (mut slept, mut computed) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..20 {
            let watch = Stopwatch::start(Instant::now());
            thread::sleep(Duration::from_millis(2));
            slept += watch.stop();
            let watch = Stopwatch::start(Instant::now());
            compute(Duration::from_millis(2));
            computed += watch.stop();
        }
        assert!(slept < Duration::from_millis(20), "{slept:?} of 40 ms");
        // Two clocks, of which one is kept in step with the world.
        assert!(computed >= Duration::from_millis(39), "{computed:?} of 40 ms");
        // Nothing of it takes as long as the kernel is asked about.
        let before = ask(Instant::now());
        let short: Duration = (0..2_000)
            .map(|_| {
                let watch = Stopwatch::start(Instant::now());
                black_box((0..2_000).fold(0, |sum, number| sum + black_box(number)));
                watch.stop()
            })
            .sum();
        let all = ask(Instant::now()) - before;
        assert!(short * 2 > all, "{short:?} of {all:?}");
    }

    /// Fault: what a thread did for the job before is counted as what it does for this one.
    #[test]
    fn what_was_computed_before_does_not_count() {
        let spin = |time| {
            let end = Instant::now() + time;
            while Instant::now() < end {
                black_box((0..100).fold(0, |sum, number| sum + black_box(number)));
            }
        };
        ask(Instant::now());
        spin(Duration::from_millis(20));
        let watch = Stopwatch::start(Instant::now());
        thread::sleep(Duration::from_millis(20));
        let counted = watch.stop();
        assert!(counted < Duration::from_millis(5), "{counted:?}");
    }
}
