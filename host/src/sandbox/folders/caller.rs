//! The thread that makes a call in a folder, as those see it who wait for the call.

use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::thread::gettid;

/// What stands in place of a number while the thread has not begun.
const NOT_BEGUN: i32 = 0;

#[derive(Default)]
pub(super) struct Caller(AtomicI32);

impl Caller {
    /// To be called by the thread, before anything else.
    pub(super) fn begin(&self) {
        self.0.store(gettid().as_raw_nonzero().get(), Ordering::Release);
    }

    /// Whether it would go on if it had a processor, and waits for nothing else: it has not begun yet, or the kernel has it among those that
    /// could run. Where the kernel does not say so, no.
    pub(super) fn wants_a_processor(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            NOT_BEGUN => true,
            thread => {
                let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
                // The state stands behind the name, which may hold anything.
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
            }
        }
    }
}
