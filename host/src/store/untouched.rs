//! A copy of the database, taken before sled opens it: sled mends the end of its log as it opens, also where it then finds that it
//! cannot go on. With the copy a folder that is refused is left exactly as it was found, for whoever is to rescue it.
//!
//! It goes when all has been read, before the first commit. It need not be durable before it is put back: as long as it exists nothing has
//! been changed that a start after a power cut would not change as well. Whatever a process leaves that dies in between, the next start puts
//! in order. It costs a read and a write of the database through the page cache, or nothing on file systems that share blocks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::blobs::sync_folder;
use super::space::free_bytes;

/// Room that must be left beside the copy.
const LEFT_BYTES: u64 = 32 << 20;

/// The database as it was. Dropped, the copy is deleted.
#[derive(Debug)]
pub(super) struct Untouched {
    database: PathBuf,
    copy: PathBuf,
}

impl Untouched {
    /// Copies the database of a data folder, if there is one and the disk has room for it twice.
    pub(super) fn copy(folder: &Path) -> io::Result<Option<Self>> {
        let (database, copy, refused) = (folder.join("db"), folder.join("db.before"), folder.join("db.refused"));
        if copy.exists() && !database.exists() {
            // A process died while it put the copy in the database's place.
            fs::rename(&copy, &database)?;
        }
        if refused.exists() {
            fs::remove_dir_all(&refused)?;
        }
        if copy.exists() {
            // A process died while it opened the folder. What it may have mended is mended as it would be again now.
            fs::remove_dir_all(&copy)?;
        }
        if !database.is_dir() {
            return Ok(None);
        }
        if free_bytes(folder)? < size(&database)?.saturating_add(LEFT_BYTES) {
            tracing::warn!("the disk has no room for a copy of the database while it is opened; it is opened without");
            return Ok(None);
        }
        let untouched = Self { database, copy };
        copy_folder(&untouched.database, &untouched.copy)?;
        Ok(Some(untouched))
    }

    /// Where the copy is.
    pub(super) fn path(&self) -> &Path {
        &self.copy
    }

    /// Puts the copy in the database's place, which nobody may have open any longer. At every moment one of the two is there whole,
    /// and where this fails the copy stays.
    pub(super) fn restore(self) -> Result<(), StoreError> {
        let refused = self.database.with_file_name("db.refused");
        let put_back = || {
            sync_all(&self.copy)?;
            fs::rename(&self.database, &refused)?;
            fs::rename(&self.copy, &self.database)?;
            self.database.parent().map_or(Ok(()), sync_folder)
        };
        let restored = put_back();
        if restored.is_err() {
            // Not dropped: that would delete the copy.
            std::mem::forget(self);
        }
        Ok(restored.and_then(|()| fs::remove_dir_all(&refused))?)
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "could not delete the copy of the database; the next start will");
            }
            _ => {}
        }
    }
}

/// Has the files of a folder survive a power cut.
pub(super) fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { fs::File::open(path)?.sync_all()? }
    }
    sync_folder(folder)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Bytes of all files in a folder.
pub(super) fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::commits::CommitFile;
    use super::super::disk::Disk;
    use super::super::journal::Found;
    use super::super::writes::Writes;
    use super::super::{Settings, StoreError};
    use super::*;

    fn with_database() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("db")).expect("writable");
        fs::write(folder.path().join("db/db"), "as found").expect("writable");
        folder
    }

    fn found(folder: &Path) -> String {
        fs::read_to_string(folder.join("db/db")).expect("it is there")
    }

    /// Every file below a folder, but for those that only live as long as a process.
    fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
        let of = |path: PathBuf| {
            if path.is_dir() { files(&path) } else { vec![(path.clone(), fs::read(path).expect("readable"))] }
        };
        let mut files: Vec<_> = entries.filter(|path| !path.ends_with("inflight")).flat_map(of).collect();
        files.sort();
        files
    }

    /// Fault: a folder is refused, and what the journal had beyond the database is gone with the attempt.
    #[test]
    fn of_a_refused_folder_the_journal_stays_as_it_was_found_as_well() {
        let [folder, killed] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
        let settings = Settings { claims_max: 1, reserve_bytes: 0 };
        let disk = Disk::open(folder.path(), &settings).expect("it can be made");
        for number in 0..600u32 {
            disk.commit(Writes::of(&number.to_be_bytes(), vec![7; 4_000])).expect("the disk works");
        }
        // As a kill at this moment would leave it.
        let refused = killed.path().join("data");
        copy_folder(folder.path(), &refused).expect("it can be copied");
        drop(disk);
        let beyond: usize = Found::read(&refused).expect("readable").take_above(0).iter().map(Vec::len).sum();
        assert!(beyond > 0, "there is something to lose");
        CommitFile::open(&refused.join("commit")).and_then(|file| file.acknowledge(1 << 40)).expect("writable");
        let before = files(&refused);
        for time in 0..2 {
            let opened = Disk::open(&refused, &settings);
            assert!(matches!(opened, Err(StoreError::Damaged(_))), "{time}: {opened:?}");
            assert!(files(&refused) == before, "{time}: not as it was found");
        }
    }

    #[test]
    fn a_refused_database_is_put_back() {
        let folder = with_database();
        let untouched = Untouched::copy(folder.path()).expect("it can be copied").expect("there is room");
        fs::write(folder.path().join("db/db"), "mended").expect("writable");
        untouched.restore().expect("it can be put back");
        assert_eq!(found(folder.path()), "as found");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "and nothing else stays");
    }

    /// Fault: a process dies while it puts the copy back, and the next one deletes the only one there is.
    #[test]
    fn a_process_that_dies_while_putting_it_back_loses_nothing() {
        let folder = with_database();
        let untouched = Untouched::copy(folder.path()).expect("it can be copied").expect("there is room");
        fs::write(folder.path().join("db/db"), "mended").expect("writable");
        fs::rename(folder.path().join("db"), folder.path().join("db.refused")).expect("a folder can be renamed");
        std::mem::forget(untouched);
        drop(Untouched::copy(folder.path()).expect("it can be copied").expect("there is room"));
        assert_eq!(found(folder.path()), "as found");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }
}
