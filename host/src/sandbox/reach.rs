//! What every way out of the sandbox shares: counting bytes, and saying what was denied.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::streams::Log;

/// Connections an attempt may hold at a time, requests and sockets together.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Different denials explained per attempt; whoever tries more has understood.
const DENIALS_MAX: usize = 20;
/// Bytes sent and received by an attempt, over all of its connections.
pub(super) struct Traffic {
    bytes: AtomicU64,
    bytes_max: u64,
    denials: Arc<Denials>,
}

impl Traffic {
    pub(super) fn new(bytes_max: u64, denials: Arc<Denials>) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max, denials }
    }

    /// Counts bytes and says whether they are still within the limit.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let is_within = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.bytes_max;
        if !is_within {
            self.denials.refuse(&format!("to send and receive more than {} bytes (network_bytes)", self.bytes_max));
        }
        is_within
    }

    /// How many more there may be.
    pub(super) fn left(&self) -> u64 {
        self.bytes_max.saturating_sub(self.bytes.load(Ordering::Relaxed))
    }

    /// Whether there were more than there may be.
    pub(super) fn is_exceeded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }
}

/// Says in the job's log what was denied and what to add to which file, each once.
pub(super) struct Denials {
    log: Log,
    file: String,
    said: Mutex<HashSet<String>>,
}

impl Denials {
    pub(super) fn new(log: Log, file: &str) -> Self {
        Self { log, file: file.to_owned(), said: Mutex::default() }
    }

    /// A sentence, and the lines that would have granted it.
    pub(super) fn explain(&self, denied: &str, lines: &[String]) {
        if self.is_new(denied) {
            self.log.line(&format!("WARN denied: {denied}; to allow it, add to {}:", self.file));
            lines.iter().for_each(|line| self.log.line(line));
        }
    }

    /// A sentence about something that cannot be granted.
    pub(super) fn refuse(&self, denied: &str) {
        if self.is_new(denied) {
            self.log.line(&format!("WARN denied: {denied}"));
        }
    }

    fn is_new(&self, denied: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < DENIALS_MAX && said.insert(denied.to_owned())
    }
}
