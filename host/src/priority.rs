//! Keeps guests and compilers behind the threads that serve clients.

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;

/// Far enough behind that a request is answered at once while every processor computes.
const NICE: i32 = 10;

/// Lowers the priority of the calling thread, for good.
pub fn lower() {
    let thread = gettid();
    // Linux counts niceness per thread. Whoever started us may have set a lower priority already.
    let result = getpriority_process(Some(thread)).and_then(|nice| setpriority_process(Some(thread), nice.max(NICE)));
    if let Err(error) = result {
        tracing::warn!(%error, "could not lower a thread's priority; requests may be slower while jobs run");
    }
}
