//! The commit file: how far this folder had come, told apart from what sled believes.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::StoreError;

/// The number of the newest acknowledged commit, kept where damage to the database and its journal cannot reach it.
///
/// Two slots, written in turn, so that one is whole even if the other was being written when the power went. Not synced
/// by itself: the number may then come up too low, which only weakens the check, never too high.
#[derive(Debug)]
pub(super) struct CommitFile {
    file: File,
}

impl CommitFile {
    const SLOT_BYTES: usize = 12;

    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { file: OpenOptions::new().create(true).truncate(false).write(true).open(path)? })
    }

    /// The number in the file; 0 if there is none.
    pub(super) fn acknowledged_in(path: &Path) -> Result<u64, StoreError> {
        let slots = match fs::read(path) {
            Ok(slots) => slots,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let numbers = slots.chunks_exact(Self::SLOT_BYTES).filter_map(|slot| {
            let (number, checksum) = slot.split_at(8);
            let valid = checksum == crc32fast::hash(number).to_le_bytes();
            number.try_into().ok().filter(|_| valid).map(u64::from_le_bytes)
        });
        Ok(numbers.max().unwrap_or(0))
    }

    pub(super) fn acknowledge(&self, number: u64) -> Result<(), StoreError> {
        let mut slot = [0; Self::SLOT_BYTES];
        slot[..8].copy_from_slice(&number.to_le_bytes());
        slot[8..].copy_from_slice(&crc32fast::hash(&number.to_le_bytes()).to_le_bytes());
        self.file.write_all_at(&slot, (number % 2) * Self::SLOT_BYTES as u64)?;
        Ok(())
    }
}
