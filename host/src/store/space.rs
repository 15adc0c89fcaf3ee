//! How much room the data folder's disk has left.
//!
//! Submissions stop while there is still some room, so that the outcomes of what was accepted can be written.

use std::io;
use std::path::{Path, PathBuf};

/// Below this no outcome is written: enough for one group of changes and what sled rewrites for it.
const OUTCOME_BYTES: u64 = 16 << 20;
/// Below this nothing at all is written.
const FREEING_BYTES: u64 = 4 << 20;

/// What may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Everything.
    Ample,
    /// Outcomes of accepted jobs; nothing new.
    Scarce,
    /// Only what makes room: deletions.
    Freeing,
    /// Nothing.
    None,
}

/// Watches one disk. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Space {
    path: PathBuf,
    reserve_bytes: u64,
}

impl Space {
    /// Watches the disk that holds `path`; the last `reserve_bytes` are for outcomes.
    pub(super) fn new(path: &Path, reserve_bytes: u64) -> Self {
        Self { path: path.to_owned(), reserve_bytes }
    }

    /// How much room there is. Asked anew each time: it costs about a microsecond.
    pub(super) fn room(&self) -> Room {
        match free_bytes(&self.path) {
            Ok(free) if free < FREEING_BYTES.min(self.reserve_bytes / 2) => Room::None,
            Ok(free) if free < OUTCOME_BYTES.min(self.reserve_bytes) => Room::Freeing,
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

/// Room on the disk that holds `path`.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
