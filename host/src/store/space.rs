//! How much room the data folder's disk has left.
//!
//! Submissions stop while there is still some room, so that the outcomes of what was accepted can be written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A measurement is good for this long.
const MEASURE_EVERY: Duration = Duration::from_millis(50);
/// Below this nothing is written at all: enough for one group of changes and what sled rewrites for it.
const LAST_BYTES: u64 = 16 << 20;

/// What may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Everything.
    Ample,
    /// Outcomes of accepted jobs; nothing new.
    Scarce,
    /// Nothing.
    None,
}

#[derive(Debug)]
pub(super) struct Space {
    path: PathBuf,
    reserve_bytes: u64,
    measured: Mutex<Option<(Instant, Room)>>,
}

impl Space {
    /// Watches the disk that holds `path`; the last `reserve_bytes` are for outcomes.
    pub(super) fn new(path: &Path, reserve_bytes: u64) -> Self {
        Self { path: path.to_owned(), reserve_bytes, measured: Mutex::default() }
    }

    /// How much room there is.
    pub(super) fn room(&self) -> Room {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        match *measured {
            Some((at, room)) if at.elapsed() < MEASURE_EVERY => room,
            _ => {
                let room = self.measure();
                *measured = Some((Instant::now(), room));
                room
            }
        }
    }

    fn measure(&self) -> Room {
        match free_bytes(&self.path) {
            Ok(free) if free < LAST_BYTES.min(self.reserve_bytes) => Room::None,
            Ok(free) if free < self.reserve_bytes => Room::Scarce,
            Ok(_) => Room::Ample,
            Err(error) => {
                // Not knowing must not stop the host; a write without room still fails loudly.
                tracing::warn!(%error, "cannot tell how much room the disk has");
                Room::Ample
            }
        }
    }
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
