//! The thread that makes a call in a folder, as those see it who wait for the call: what it does not get on with for want of a processor is
//! not the folder's fault.

use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::gettid;

/// What stands in place of a number while the thread has not begun.
const NOT_BEGUN: i32 = 0;
/// Time until one who wants a processor is looked at again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The most that is added to a call's time altogether. Not all that looks like wanting a processor is.
const ADDED_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Caller(AtomicI32);

impl Caller {
    /// To be called by the thread, before anything else.
    pub(super) fn begin(&self) {
        self.0.store(gettid().as_raw_nonzero().get(), Ordering::Release);
    }

    /// Whether it would go on if it had a processor, and waits for nothing else: it has not begun yet, or the kernel has it among those that
    /// could run. Where the kernel does not say so, no.
    fn wants_a_processor(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            NOT_BEGUN => true,
            // The state stands behind the name, which may hold anything.
            thread => read(thread, "stat").rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R')),
        }
    }

    /// For how long it has waited for a processor before it got one, each time. Where the kernel does not say so, nothing.
    fn delayed(&self) -> Duration {
        let counts = read(self.0.load(Ordering::Acquire), "schedstat");
        let nanoseconds = counts.split(' ').nth(1).and_then(|field| field.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    }
}

fn read(thread: i32, name: &str) -> String {
    fs::read_to_string(format!("/proc/self/task/{thread}/{name}")).unwrap_or_default()
}

/// Until when a call is waited for.
pub(super) struct Patience {
    pub(super) end: Instant,
    /// What was added to it for want of a processor, and what of that the kernel had counted.
    added: Duration,
    counted: Duration,
}

impl Patience {
    pub(super) fn until(end: Instant) -> Self {
        Self { end, added: Duration::ZERO, counted: Duration::ZERO }
    }

    /// Adds what the caller's thread has spent waiting for a processor, if it has, and answers whether it has.
    pub(super) fn extend(&mut self, caller: &Caller) -> bool {
        let more = if caller.wants_a_processor() {
            AGAIN_AFTER
        } else {
            let delayed = caller.delayed();
            let more = delayed.saturating_sub(self.counted);
            self.counted = delayed;
            more
        };
        let more = more.min(ADDED_MAX.saturating_sub(self.added));
        self.added += more;
        self.end = Instant::now() + more;
        !more.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault: a thread that never gets on, and looks as if it only wanted a processor, is waited for for ever.
    #[test]
    fn patience_has_an_end() {
        let (caller, mut patience) = (Caller::default(), Patience::until(Instant::now()));
        let times = (0..1_000).take_while(|_| patience.extend(&caller)).count();
        assert_eq!(times as u32, ADDED_MAX.div_duration_f64(AGAIN_AFTER) as u32);
    }

    #[test]
    fn a_thread_that_waits_wants_no_processor() {
        let caller = std::sync::Arc::new(Caller::default());
        let (began, has_begun) = std::sync::mpsc::channel();
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn({
            let caller = std::sync::Arc::clone(&caller);
            move || {
                caller.begin();
                let _ = began.send(());
                let _ = held.recv();
            }
        });
        has_begun.recv().expect("it has begun");
        let started = Instant::now();
        while caller.wants_a_processor() {
            assert!(started.elapsed() < Duration::from_secs(10), "it does not wait");
        }
        // Whatever it was kept from is added once.
        let mut patience = Patience::until(Instant::now());
        while patience.extend(&caller) {}
        assert_eq!(patience.counted, caller.delayed());
        drop(let_go);
        thread.join().expect("it does not panic");
    }
}
