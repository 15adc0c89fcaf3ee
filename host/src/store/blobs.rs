//! Payloads too large for the database: one file each, named by the SHA-256 of its bytes.
//!
//! A blob is on disk (file and name both synced) before any record names it, so a record never points at nothing.
//! The other way round a blob may lie there unnamed: after a crash, or when the submit it was for was refused.
//! Those are counted out: a [`BlobHandle`] keeps its file alive, a record's reference does too, and a file
//! without either is deleted. The counts live in memory and are rebuilt from the records at every open.

mod content;
mod counts;
mod remover;
mod scratch;
mod syncer;
mod upload;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

pub(super) use self::content::open_file;
pub use self::content::{Content, ContentReader};
use self::counts::Counts;
use self::remover::Remover;
pub use self::scratch::{Leftover, RoomForOutput, Scratch};
use self::syncer::{Closed, Syncer};
pub use self::upload::{Together, Upload};
use super::space::{Room, Space};

/// The folder of blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    temporary: PathBuf,
    space: Space,
    counts: Counts,
    /// Started when there is something to remove; nothing if that failed.
    remover: OnceLock<Option<Remover>>,
    /// Started when there is something to bring to the disk; nothing if that failed.
    syncer: OnceLock<Option<Syncer>>,
}

/// Keeps a blob's file alive.
#[derive(Debug)]
pub struct BlobHandle {
    sha256: [u8; 32],
    size: u64,
    folder: Arc<Folder>,
}

impl BlobHandle {
    /// The blob's address.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}

impl Clone for BlobHandle {
    fn clone(&self) -> Self {
        self.folder.counts.add(self.sha256);
        Self { sha256: self.sha256, size: self.size, folder: Arc::clone(&self.folder) }
    }
}

impl Drop for BlobHandle {
    fn drop(&mut self) {
        self.folder.release(&self.sha256);
    }
}

impl Folder {
    fn path_of(&self, sha256: &[u8; 32]) -> PathBuf {
        self.path.join(hex::encode(sha256))
    }

    /// Removes a folder of temporary files, in whatever time that takes.
    fn remove_later(&self, folder: PathBuf) {
        match self.remover.get_or_init(|| Remover::start(&self.temporary).ok()) {
            Some(remover) => remover.remove(folder),
            None => remover::remove_now(&folder, &self.temporary, &AtomicBool::new(false)),
        }
    }

    /// Has a file brought to the disk while others go on. If nobody does, whoever ends its upload does.
    fn sync_soon(&self, file: &Arc<Closed>) {
        if let Some(syncer) = self.syncer.get_or_init(|| Syncer::start().ok()) {
            syncer.sync_soon(file);
        }
    }

    fn release(&self, sha256: &[u8; 32]) {
        self.counts.release(sha256, || {
            // A file that cannot be deleted now is swept at the next open.
            if let Err(error) = fs::remove_file(self.path_of(sha256)) {
                tracing::warn!(blob = hex::encode(sha256), %error, "could not delete an unused blob");
            }
        });
    }
}

impl Blobs {
    /// Opens the folder below `data`. Half-written files of a killed process are gone afterwards.
    pub fn open(data: &Path) -> io::Result<Self> {
        Self::open_with(data, Space::new(data, 0))
    }

    /// The same, and refuses uploads that would take the room that others need.
    pub(super) fn open_with(data: &Path, space: Space) -> io::Result<Self> {
        let (path, temporary) = (data.join("blobs"), data.join("tmp"));
        fs::create_dir_all(&path)?;
        fs::create_dir_all(&temporary)?;
        remover::clear(&temporary)?;
        sync_folder(data)?;
        let (remover, syncer) = (OnceLock::new(), OnceLock::new());
        Ok(Self(Arc::new(Folder { path, temporary, space, counts: Counts::default(), remover, syncer })))
    }

    /// Begins to take up a content of unknown size: what an accepted job writes. It may use some of the room that is kept for
    /// outcomes, but leaves enough for those of all other jobs.
    pub fn upload(&self) -> Upload {
        self.upload_while(Room::Low)
    }

    /// The same for what comes with new work, for which less room is left.
    pub fn upload_for_new(&self) -> Upload {
        self.upload_while(Room::Scarce)
    }

    fn upload_while(&self, refused_at: Room) -> Upload {
        Upload::new(Arc::clone(&self.0), refused_at)
    }

    /// A handle on a blob that a record names.
    pub(super) fn hold(&self, sha256: [u8; 32], size: u64) -> io::Result<BlobHandle> {
        self.retain(sha256);
        let handle = BlobHandle { sha256, size, folder: Arc::clone(&self.0) };
        let found = fs::metadata(self.0.path_of(&sha256))?.len();
        if found == size {
            Ok(handle)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a blob has {found} bytes instead of {size}")))
        }
    }

    /// Counts a record's reference.
    pub(super) fn retain(&self, sha256: [u8; 32]) {
        self.0.counts.add(sha256);
    }

    /// Lets go of a record's reference; the last one takes the file with it.
    pub(super) fn release(&self, sha256: &[u8; 32]) {
        self.0.release(sha256);
    }

    /// Deletes every file that nothing refers to. Called once, at open, when all records have been counted.
    pub(super) fn sweep(&self) -> io::Result<u64> {
        let mut swept = 0;
        for entry in fs::read_dir(&self.0.path)? {
            let entry = entry?;
            let mut sha256 = [0; 32];
            let is_blob = hex::decode_to_slice(entry.file_name().as_encoded_bytes(), &mut sha256).is_ok();
            if is_blob && !self.0.counts.is_used(&sha256) {
                fs::remove_file(entry.path())?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// Makes new names in a folder survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn large(blobs: &Blobs, byte: u8) -> Content {
        let mut upload = blobs.upload();
        for _ in 0..3 {
            upload.write(&vec![byte; 50_000]).expect("the disk works");
        }
        upload.finish().expect("the disk works")
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder.join("blobs")).expect("readable").count()
    }

    #[test]
    fn equal_contents_share_one_file_that_goes_with_its_last_user() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let (one, two) = (large(&blobs, 7), large(&blobs, 7));
        assert_eq!((one.sha256(), one.size(), files(folder.path())), (two.sha256(), 150_000, 1));
        drop(one);
        assert_eq!(two.open(149_999).and_then(|mut rest| rest.next_chunk(9)).ok(), Some(Bytes::from_static(&[7])));
        drop(two);
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn a_changed_file_is_never_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let content = large(&blobs, 7);
        let path = folder.path().join("blobs").join(hex::encode(content.sha256()));
        let read = || {
            let mut reader = content.open(0).expect("the file is there");
            let mut bytes = 0;
            loop {
                match reader.next_chunk(40_000) {
                    Ok(chunk) if chunk.is_empty() => return Ok(bytes),
                    Ok(chunk) => bytes += chunk.len(),
                    Err(error) => return Err((bytes, error.kind())),
                }
            }
        };
        assert_eq!(read(), Ok(150_000));
        let original = fs::read(&path).expect("readable");
        let flipped = [&[8], &original[1..]].concat();
        for changed in [flipped, original[1..].to_vec(), [&original[..], &[7]].concat()] {
            fs::write(&path, changed).expect("writable");
            let (bytes, kind) = read().expect_err("it is not what was stored");
            assert!(bytes < 150_000 && kind == io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn half_written_and_unnamed_files_are_gone_after_open() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(folder.path()).expect("opens");
        fs::write(folder.path().join("tmp/half"), "written").expect("writable");
        let kept = large(&blobs, 1);
        let unnamed = folder.path().join("blobs").join(hex::encode([9; 32]));
        fs::write(unnamed, "orphan").expect("writable");
        let again = Blobs::open(folder.path()).expect("opens");
        again.retain(kept.sha256());
        assert_eq!(again.sweep().ok(), Some(1));
        assert_eq!(
            (files(folder.path()), fs::read_dir(folder.path().join("tmp")).map(Iterator::count).ok()),
            (1, Some(0))
        );
    }
}
