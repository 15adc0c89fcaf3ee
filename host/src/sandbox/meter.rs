//! What an attempt has used so far, held against what it may use.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use wasmtime::ResourceLimiter;

use crate::job::Bound;

/// Elements of all tables together. A table of the usual Rust or C program has some thousands.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Output of an attempt that is held in memory until it ends, all of it together: what is small, and would be a file of its own only for
/// the time until it is stored with the job. The rest is written to files at once.
const HELD_BYTES_MAX: u64 = 1 << 20;

/// Stops a guest from inside a host call: it went over this bound.
#[derive(Debug)]
pub(super) struct Exceeded(pub(super) Bound);

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "over the {:?} limit", self.0)
    }
}

impl std::error::Error for Exceeded {}

/// Output bytes, those of them in memory, and disk errors, counted by every stream of an attempt.
#[derive(Debug)]
pub(super) struct Meter {
    output_bytes: AtomicU64,
    output_bytes_max: u64,
    held_bytes: AtomicU64,
    disk_error: Mutex<Option<String>>,
}

impl Meter {
    pub(super) fn new(output_bytes_max: u64) -> Self {
        let (output_bytes, held_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { output_bytes, output_bytes_max, held_bytes, disk_error: Mutex::new(None) }
    }

    /// Counts output and says whether it is still within the limit.
    pub(super) fn add_output(&self, bytes: u64) -> bool {
        let before = self.output_bytes.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.output_bytes_max
    }

    /// Result and artifacts so far.
    pub(super) fn output_bytes(&self) -> u64 {
        self.output_bytes.load(Ordering::Relaxed)
    }

    /// How much more output may be held in memory.
    pub(super) fn may_hold(&self) -> u64 {
        HELD_BYTES_MAX.saturating_sub(self.held_bytes.load(Ordering::Relaxed))
    }

    /// Takes note that a piece of output that took up so much memory takes up so much now.
    pub(super) fn note_held(&self, before: u64, now: u64) {
        self.held_bytes.fetch_add(now, Ordering::Relaxed);
        self.held_bytes.fetch_sub(before, Ordering::Relaxed);
    }

    /// Remembers that the host's disk failed this attempt.
    pub(super) fn note_disk_error(&self, error: &io::Error) {
        *self.disk_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// How the host's disk failed this attempt, if it did.
    pub(super) fn disk_error(&self) -> Option<String> {
        self.disk_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Holds all memories and tables of a job's instances, together, against its limit. A denied growth ends the attempt:
/// few programs survive one, and "memory_exceeded" says more than whatever they do next.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    bytes: usize,
    bytes_max: usize,
    peak: usize,
    table_elements: usize,
}

impl MemoryLimiter {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes: 0, bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), peak: 0, table_elements: 0 }
    }

    /// The largest sum of all memories.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak as u64
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_sub(current).saturating_add(desired);
        if bytes > self.bytes_max {
            return Err(Exceeded(Bound::Memory).into());
        }
        self.bytes = bytes;
        self.peak = self.peak.max(bytes);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_sub(current).saturating_add(desired);
        if elements > TABLE_ELEMENTS_MAX {
            return Err(Exceeded(Bound::Memory).into());
        }
        self.table_elements = elements;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_limited_together_not_one_by_one() {
        let mut limiter = MemoryLimiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).is_ok());
        assert!(limiter.memory_growing(0, 40, None).is_ok());
        let denied = limiter.memory_growing(40, 41, None).expect_err("over the limit");
        assert!(denied.downcast_ref::<Exceeded>().is_some());
        assert_eq!(limiter.peak_bytes(), 100);
    }

    #[test]
    fn output_that_goes_to_a_file_makes_room_in_memory() {
        let meter = Meter::new(u64::MAX);
        meter.note_held(0, HELD_BYTES_MAX - 1);
        assert_eq!(meter.may_hold(), 1);
        meter.note_held(HELD_BYTES_MAX - 1, 0);
        assert_eq!(meter.may_hold(), HELD_BYTES_MAX);
    }

    #[test]
    fn output_is_allowed_up_to_the_last_byte() {
        let meter = Meter::new(10);
        assert!(meter.add_output(10));
        assert!(!meter.add_output(1));
    }
}
