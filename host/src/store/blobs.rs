//! Payloads too large for the database: one file each, named by the SHA-256 of its bytes.
//!
//! A blob is on disk (file and name both synced) before any record names it, so a record never points at nothing.
//! The other way round a blob may lie there unnamed: after a crash, or when the submit it was for was refused.
//! Those are counted out: a [`BlobHandle`] keeps its file alive, a record's reference does too, and a file
//! without either is deleted. The counts live in memory and are rebuilt from the records at every open.

mod counts;
mod remover;
mod scratch;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};

use self::counts::Counts;
use self::remover::Remover;
pub use self::scratch::{Leftover, RoomForOutput, Scratch};
use super::space::{Room, Space};

/// How much is read at a time where all of it is wanted.
const READ_BYTES: usize = 256 * 1024;

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
}

/// Bytes of any size: small ones in memory, large ones in a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// Up to [`Content::INLINE_BYTES_MAX`] bytes.
    Inline(Bytes),
    /// A file that stays as long as this handle or a record names it.
    Blob(BlobHandle),
}

impl Content {
    /// Larger contents go to files of their own.
    pub const INLINE_BYTES_MAX: usize = 64 * 1024;

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Blob(blob) => blob.size,
        }
    }

    /// SHA-256 of the bytes.
    pub fn sha256(&self) -> [u8; 32] {
        match self {
            Content::Inline(bytes) => Sha256::digest(bytes).into(),
            Content::Blob(blob) => blob.sha256,
        }
    }

    /// The handle that keeps the file alive, if there is a file.
    pub(super) fn into_blob(self) -> Option<BlobHandle> {
        match self {
            Content::Inline(_) => None,
            Content::Blob(blob) => Some(blob),
        }
    }

    /// All of it at once, for contents that are known to be small.
    pub fn read_whole(&self) -> io::Result<Vec<u8>> {
        let mut reader = self.open(0)?;
        let mut bytes = Vec::with_capacity(usize::try_from(self.size()).unwrap_or(0));
        loop {
            let chunk = reader.next_chunk(READ_BYTES)?;
            if chunk.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    /// The bytes from `offset` on, to be read at leisure. Read from the start to the end, a file is held against its
    /// address: bytes that are not those that were stored end in an error before the last of them is handed out.
    pub fn open(&self, offset: u64) -> io::Result<ContentReader> {
        match self {
            Content::Inline(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(ContentReader::Inline(bytes.slice(start..)))
            }
            Content::Blob(blob) => {
                let mut file = File::open(blob.folder.path_of(&blob.sha256))?;
                if offset == 0 {
                    let rest = Check { hash: Sha256::new(), left: blob.size, sha256: blob.sha256 };
                    return Ok(ContentReader::Whole(file, Box::new(rest)));
                }
                file.seek(SeekFrom::Start(offset))?;
                Ok(ContentReader::Part(file))
            }
        }
    }
}

/// Opens a blob's file that should have this size and address, for reading in pieces.
pub(super) fn open_file(path: &Path, size: u64, sha256: [u8; 32]) -> io::Result<ContentReader> {
    let check = Check { hash: Sha256::new(), left: size, sha256 };
    File::open(path).map(|file| ContentReader::Whole(file, Box::new(check)))
}

/// Reads a [`Content`]. A file stays readable even after its blob is deleted.
#[derive(Debug)]
pub enum ContentReader {
    /// The rest of the bytes.
    Inline(Bytes),
    /// A file from its start, and what it should be in the end.
    Whole(File, Box<Check>),
    /// A file from somewhere within: it cannot be checked.
    Part(File),
}

/// What has been read of a file so far, and what it should have been in the end.
#[derive(Debug)]
pub struct Check {
    hash: Sha256,
    left: u64,
    sha256: [u8; 32],
}

impl Check {
    /// Takes note of the next bytes; at the end, of none. The bytes are good unless this fails.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let read = bytes.len() as u64;
        let is_cut_short = bytes.is_empty() && self.left > 0;
        if is_cut_short || read > self.left {
            return Err(self.damaged());
        }
        self.hash.update(bytes);
        self.left -= read;
        if read > 0 && self.left == 0 && self.hash.clone().finalize()[..] != self.sha256 {
            return Err(self.damaged());
        }
        Ok(())
    }

    fn damaged(&self) -> io::Error {
        let name = hex::encode(self.sha256);
        tracing::error!(blob = name, "a blob is damaged: its bytes are not those that were stored");
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("blob {name} is damaged: its bytes are not those that were stored"),
        )
    }
}

impl ContentReader {
    /// Up to `bytes_max` bytes; none at the end.
    pub fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Bytes> {
        match self {
            ContentReader::Inline(bytes) => Ok(bytes.split_to(bytes_max.min(bytes.len()))),
            ContentReader::Whole(file, check) => {
                let chunk = read(file, bytes_max)?;
                check.take(&chunk)?;
                Ok(chunk)
            }
            ContentReader::Part(file) => read(file, bytes_max),
        }
    }
}

fn read(file: &mut File, bytes_max: usize) -> io::Result<Bytes> {
    let mut chunk = vec![0; bytes_max];
    let read = file.read(&mut chunk)?;
    chunk.truncate(read);
    Ok(chunk.into())
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
        Ok(Self(Arc::new(Folder { path, temporary, space, counts: Counts::default(), remover: OnceLock::new() })))
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
        Upload { folder: Arc::clone(&self.0), small: Vec::new(), large: None, size: 0, refused_at }
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

/// A content on its way in: in memory while small, in a temporary file once large. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    folder: Arc<Folder>,
    small: Vec<u8>,
    large: Option<Box<Large>>,
    size: u64,
    /// With so little room on the disk it is refused.
    refused_at: Room,
}

#[derive(Debug)]
struct Large {
    /// Closed when nothing more comes, so that many finished uploads do not take many open files.
    file: Option<File>,
    path: TempPath,
    hash: Sha256,
}

impl Upload {
    /// Bytes taken up so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the next `bytes` will touch the disk.
    pub fn spills(&self, bytes: usize) -> bool {
        self.large.is_some() || self.small.len() + bytes > Content::INLINE_BYTES_MAX
    }

    /// Takes up the next bytes. Blocks on the disk only where [`spills`](Self::spills) says so. Fails with
    /// [`io::ErrorKind::StorageFull`] before the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.spills(bytes.len()) {
            self.check_room(bytes.len())?;
            if self.large.is_none() {
                self.spill()?;
            }
        }
        match self.large.as_deref_mut() {
            Some(Large { file: Some(file), hash, .. }) => {
                file.write_all(bytes)?;
                hash.update(bytes);
            }
            Some(Large { file: None, .. }) => return Err(io::Error::other("the upload has been closed")),
            None => self.small.extend_from_slice(bytes),
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Many uploads at once must not use up what commits need.
    fn check_room(&self, bytes: usize) -> io::Result<()> {
        // What is in memory goes to the file with them.
        let written = (self.small.len() + bytes) as u64;
        if self.folder.space.room_after(written) >= self.refused_at { Err(no_room()) } else { Ok(()) }
    }

    /// Closes the file, if there is one: nothing more will be written.
    pub fn close_file(&mut self) {
        if let Some(large) = self.large.as_deref_mut() {
            large.file = None;
        }
    }

    /// Moves what is in memory to a file.
    fn spill(&mut self) -> io::Result<()> {
        let (mut file, path) = NamedTempFile::new_in(&self.folder.temporary)?.into_parts();
        file.write_all(&self.small)?;
        let hash = Sha256::new_with_prefix(&self.small);
        self.small = Vec::new();
        self.large = Some(Box::new(Large { file: Some(file), path, hash }));
        Ok(())
    }

    /// Ends the upload with a file of its own, however small. Durable when this returns. Blocks on the disk.
    pub fn finish_as_blob(mut self) -> io::Result<Content> {
        if self.large.is_none() {
            self.check_room(0)?;
            self.spill()?;
        }
        self.finish()
    }

    /// Ends the upload. A large content is a durable blob when this returns. Blocks on the disk.
    pub fn finish(self) -> io::Result<Content> {
        let Some(large) = self.large else {
            return Ok(Content::Inline(self.small.into()));
        };
        let Large { file, path, hash } = *large;
        let sha256: [u8; 32] = hash.finalize().into();
        match file {
            Some(file) => file.sync_all()?,
            None => File::open(&path)?.sync_all()?,
        }
        // Counted before the name exists, so that a concurrent release of the same bytes cannot delete it.
        self.folder.counts.add(sha256);
        let handle = BlobHandle { sha256, size: self.size, folder: Arc::clone(&self.folder) };
        path.persist(self.folder.path_of(&sha256)).map_err(|error| error.error)?;
        sync_folder(&self.folder.path)?;
        Ok(Content::Blob(handle))
    }
}

/// Said before the disk is full.
fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk has no room for so much")
}

/// Makes new names in a folder survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
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
