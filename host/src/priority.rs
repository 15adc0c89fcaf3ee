//! Keeps guests and compilers behind the threads that serve clients.

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;

/// Far enough behind that a request is answered at once while every processor computes.
const NICE: i32 = 10;
/// Behind jobs as well: about an eighth of a processor that a job wants too.
const NICEST: i32 = 19;

/// Puts the calling thread behind those that serve clients, for good.
pub fn lower() {
    put_behind(NICE);
}

/// Puts the calling thread behind those that run jobs, for good.
pub fn lowest() {
    put_behind(NICEST);
}

fn put_behind(nice: i32) {
    let thread = gettid();
    // Linux counts niceness per thread. Whoever started us may have set a lower priority already.
    let result = getpriority_process(Some(thread)).and_then(|now| setpriority_process(Some(thread), now.max(nice)));
    if let Err(error) = result {
        tracing::warn!(%error, "could not lower a thread's priority; requests may be slower while jobs run");
    }
}
