//! Copies the database into a new one: sled reuses the room of deleted records but never gives it back to the disk.
//!
//! The new database is complete and durable before it takes the old one's place. A process that dies in between leaves
//! one of the two in place, and [`mend`] at the next open tells which.

use std::fs;
use std::io;
use std::path::Path;

use super::StoreError;
use super::blobs::sync_folder;
use super::disk;
use super::journal::Found;
use super::table::{self, Table};
use super::untouched::{size, sync_all};

/// Records per batch of the copy.
const BATCH: usize = 1_000;

/// Makes the database of a folder that nobody uses as small as its content. Answers its size before and after, in bytes.
/// `step` is called with how many records were copied, of how many.
pub fn compact(path: &Path, step: impl Fn(u64, u64)) -> Result<(u64, u64), StoreError> {
    let _lock = disk::lock(path)?;
    mend(path)?;
    table::read_from_disk(&path.join("db"))?;
    let (current, new, old) = (path.join("db"), path.join("db.new"), path.join("db.old"));
    let before = size(&current)?;
    {
        let from = Table::open(&current)?;
        from.lay_over(&mut Found::read(path)?)?;
        let to = table::open_sled(&new)?;
        let total = from.len() as u64;
        let (mut batch, mut copied) = (sled::Batch::default(), 0u64);
        for entry in from.scan_prefix("") {
            let (key, value) = entry?;
            batch.insert(key, value);
            copied += 1;
            if copied.is_multiple_of(BATCH as u64) {
                to.apply_batch(std::mem::take(&mut batch))?;
                step(copied, total.max(copied));
            }
        }
        to.apply_batch(batch)?;
        to.flush()?;
        if to.len() as u64 != copied {
            return Err(StoreError::damaged("the copy is not complete; nothing was changed"));
        }
    }
    // sled does not sync by itself; see log/mover.rs.
    sync_all(&new)?;
    fs::rename(&current, &old)?;
    fs::rename(&new, &current)?;
    sync_folder(path)?;
    fs::remove_dir_all(&old)?;
    Ok((before, size(&current)?))
}

/// Ends what a compaction that was killed has begun. Called with the folder locked, before the database is opened.
pub(super) fn mend(path: &Path) -> io::Result<()> {
    let (current, new, old) = (path.join("db"), path.join("db.new"), path.join("db.old"));
    if !current.exists() && old.exists() {
        // It died between the two renames; the old database is complete, and the new one may not be.
        fs::rename(&old, &current)?;
        sync_folder(path)?;
    }
    for leftover in [new, old] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)?;
        }
    }
    Ok(())
}
