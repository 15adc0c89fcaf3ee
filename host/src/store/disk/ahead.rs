//! The database's file is kept longer than what is written to it.
//!
//! Where a write makes a file longer, syncing it has to write the new length as well, which takes twice as long and now and then twenty
//! times. Databases therefore make their logs longer ahead of time. sled finds nothing in what was added, and takes it for free space.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate, fstatfs};

/// How much longer: two of sled's segments.
const AHEAD_BYTES: u64 = 1 << 20;
/// A file system that writes elsewhere what it overwrites. It would gain nothing, stop compressing the file, and hold on to room.
const BTRFS: u64 = 0x9123_683E;

/// What length the file was given.
#[derive(Debug)]
pub(super) struct Ahead {
    /// 0 for none yet.
    given: AtomicU64,
    /// Whether it gains anything here.
    pays: bool,
}

impl Ahead {
    /// For this file, which has been given no length so far.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self { given: AtomicU64::new(0), pays: fstatfs(file)?.f_type as u64 != BTRFS })
    }

    /// To be called when all has been written, and before it is synced, while there is room to spare. Makes the file longer if its length is
    /// not the one that it was given: then sled has written beyond, or cut it off.
    pub(super) fn keep(&self, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        if self.pays && length != self.given.load(Ordering::Relaxed) {
            // This never makes a file shorter, whatever happens to it meanwhile. Where it cannot be, each write goes on making it longer.
            let is_longer = fallocate(file, FallocateFlags::empty(), length, AHEAD_BYTES).is_ok();
            self.given.store(if is_longer { length + AHEAD_BYTES } else { length }, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_file_is_made_longer_when_its_end_is_reached_or_cut_off() {
        let file = tempfile::tempfile().expect("a file");
        let ahead = Ahead::of(&file).expect("readable");
        let length = || file.metadata().expect("readable").len();
        let length_after = |written: &[u8], at: u64| {
            file.write_all_at(written, at).expect("writable");
            ahead.keep(&file).expect("readable");
            length()
        };
        assert_eq!(length_after(b"abc", 0), 3 + AHEAD_BYTES);
        assert_eq!(length_after(b"def", 3), 3 + AHEAD_BYTES, "there is room");
        assert_eq!(length_after(b"ghi", AHEAD_BYTES + 3), 6 + 2 * AHEAD_BYTES);
        file.set_len(9).expect("writable");
        assert_eq!(length_after(b"jkl", 6), 9 + AHEAD_BYTES);
        let mut found = [1; 12];
        file.read_exact_at(&mut found, 0).expect("readable");
        assert_eq!(&found, b"abcdefjkl\0\0\0");
    }

    /// Where the file can only be read, say.
    #[test]
    fn a_file_that_cannot_be_made_longer_stays_as_it_is() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(7).expect("writable");
        let read_only = File::open(file.path()).expect("readable");
        let ahead = Ahead::of(&read_only).expect("readable");
        ahead.keep(&read_only).expect("readable");
        assert_eq!(read_only.metadata().expect("readable").len(), 7);
    }
}
