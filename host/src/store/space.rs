//! How much room the data folder's disk has left.
//!
//! What there is to write stops in turn as the room goes: new jobs and the files of programs at work first, then the outputs of
//! accepted jobs, then their outcomes, and at the very end what makes room. So whoever fills the disk is refused while those behind
//! it in this row can still go on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Below this no outcome is written: enough for one group of changes in the journal, which `writer.rs` bounds. What comes to the database
/// later has to find room of its own, down to the next mark.
const OUTCOME_BYTES: u64 = 16 << 20;
/// Below this nothing at all is written.
const FREEING_BYTES: u64 = 4 << 20;
/// With fewer files left to be made, the disk counts as scarce however many bytes it has: sled needs some for its own.
const FILES_MIN: u64 = 2_048;
/// How much all who write may write together between two looks at the disk.
const LOOK_EVERY_BYTES: u64 = 1 << 20;

/// How often those who wait for room look at a full disk again.
pub(super) const ROOM_EVERY: Duration = Duration::from_millis(100);
/// A look at the disk that is no older than this is good enough for whoever only wants to refuse early.
const LATELY: Duration = Duration::from_millis(1);

/// What may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Everything.
    Ample,
    /// What accepted jobs give back; nothing new, and nothing that only a program at work needs.
    Scarce,
    /// Records of accepted jobs: how they ended, and small outputs. They are at the middle between what is kept for them and
    /// the end of it, so that no number of large outputs takes the room that the ends of other jobs need.
    Low,
    /// Only what makes room: cancels and deletions.
    Freeing,
    /// Nothing.
    None,
}

impl Room {
    const ALL: [Self; 5] = [Self::Ample, Self::Scarce, Self::Low, Self::Freeing, Self::None];
}

/// Watches one disk. Clones watch it together.
#[derive(Debug, Clone)]
pub(super) struct Space(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    reserve_bytes: u64,
    /// Free bytes at the last look.
    free: AtomicU64,
    /// Bytes that were announced since.
    announced: AtomicU64,
    /// What the last look said, and when it was, in microseconds since `began`.
    last: AtomicU8,
    looked_at: AtomicU64,
    began: Instant,
}

impl Space {
    /// Watches the disk that holds `path`; the last `reserve_bytes` are for outcomes.
    pub(super) fn new(path: &Path, reserve_bytes: u64) -> Self {
        Self(Arc::new(Watched {
            path: path.to_owned(),
            reserve_bytes,
            free: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            last: AtomicU8::new(Room::Ample as u8),
            looked_at: AtomicU64::new(u64::MAX),
            began: Instant::now(),
        }))
    }

    /// How much room there was a moment ago. Many ask this for every request and every job, and whoever writes asks again.
    pub(super) fn room_lately(&self) -> Room {
        let lately = u64::try_from(LATELY.as_micros()).unwrap_or(u64::MAX);
        let age = self.now().checked_sub(self.0.looked_at.load(Ordering::Relaxed));
        if age.is_none_or(|age| age > lately) {
            return self.room();
        }
        let last = self.0.last.load(Ordering::Relaxed);
        Room::ALL.into_iter().find(|room| *room as u8 == last).unwrap_or(Room::None)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How much room there is. Asked anew each time: it costs about a microsecond.
    pub(super) fn room(&self) -> Room {
        self.look(0)
    }

    /// How much room there will be once so many more bytes are written. Whoever writes a lot asks before each write: the disk is
    /// looked at now and then only, but for all of them together, so that a thousand writers go no further beyond than one.
    pub(super) fn room_after(&self, bytes: u64) -> Room {
        let Watched { free, announced, .. } = &*self.0;
        let since_look = announced.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let left = free.load(Ordering::Relaxed).saturating_sub(since_look);
        if since_look < LOOK_EVERY_BYTES && self.level(left) == Room::Ample {
            return Room::Ample;
        }
        self.look(bytes)
    }

    /// Whether the disk has so many bytes left, besides what is kept to make room with.
    pub(super) fn has_free(&self, bytes: u64) -> bool {
        let bytes = bytes.saturating_add(FREEING_BYTES.min(self.0.reserve_bytes / 2));
        // Not knowing must not stop the host; a write without room still fails loudly.
        free_bytes(&self.0.path).map_or(true, |free| free >= bytes)
    }

    fn look(&self, bytes: u64) -> Room {
        let disk = match rustix::fs::statvfs(&self.0.path) {
            Ok(disk) => disk,
            Err(error) => {
                // Not knowing must not stop the host; a write without room still fails loudly.
                tracing::warn!(%error, "cannot tell how much room the disk has");
                return Room::Ample;
            }
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        self.0.free.store(free, Ordering::Relaxed);
        self.0.announced.store(bytes, Ordering::Relaxed);
        let level = self.level(free.saturating_sub(bytes));
        // Some file systems make room for names as they need it, and say that they have none at all.
        let is_out_of_names = disk.f_files > 0 && disk.f_favail < FILES_MIN && self.0.reserve_bytes > 0;
        let room = if is_out_of_names { level.max(Room::Scarce) } else { level };
        if bytes == 0 {
            self.0.last.store(room as u8, Ordering::Relaxed);
            self.0.looked_at.store(self.now(), Ordering::Relaxed);
        }
        room
    }

    fn level(&self, free: u64) -> Room {
        let reserve = self.0.reserve_bytes;
        let outcomes = OUTCOME_BYTES.min(reserve);
        let marks = [
            (FREEING_BYTES.min(reserve / 2), Room::None),
            (outcomes, Room::Freeing),
            (outcomes + (reserve - outcomes) / 2, Room::Low),
            (reserve, Room::Scarce),
        ];
        marks.into_iter().find(|(mark, _)| free < *mark).map_or(Room::Ample, |(_, room)| room)
    }
}

/// Room on the disk that holds `path`.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stops_in_turn_as_the_room_goes() {
        const MIB: u64 = 1 << 20;
        let levels = |reserve: u64, free: &[u64]| -> Vec<Room> {
            let space = Space::new(Path::new("/"), reserve);
            free.iter().map(|free| space.level(*free)).collect()
        };
        use Room::{Ample, Freeing, Low, None, Scarce};
        let marks = [256 * MIB, 136 * MIB, 16 * MIB, 4 * MIB];
        assert_eq!(levels(256 * MIB, &marks), [Ample, Scarce, Low, Freeing]);
        assert_eq!(levels(256 * MIB, &marks.map(|mark| mark - 1)), [Scarce, Low, Freeing, None]);
        // A reserve below what outcomes need leaves them what there is.
        assert_eq!(levels(MIB, &[MIB, MIB - 1, MIB / 2, MIB / 2 - 1]), [Ample, Freeing, Freeing, None]);
        assert_eq!(levels(0, &[0]), [Ample]);
    }

    #[test]
    fn what_is_announced_is_held_against_the_room_before_it_is_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let free = free_bytes(folder.path()).expect("there is a disk");
        let space = Space::new(folder.path(), free / 2);
        assert_eq!(space.room_after(1_000), Room::Ample);
        assert!(space.room_after(free) > Room::Ample);
        // It was refused, so it is not held against the next one.
        assert_eq!(space.room_after(1_000), Room::Ample);
    }
}
