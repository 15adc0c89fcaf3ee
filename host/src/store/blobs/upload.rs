//! A content on its way into the folder: taken up piece by piece, durable before anybody can name it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};

use super::syncer::Closed;
use super::{BlobHandle, Content, Folder, Room, sync_folder};

/// A content on its way in: in memory while small, in a temporary file once large. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    folder: Arc<Folder>,
    pub(super) small: Vec<u8>,
    pub(super) large: Option<Box<Large>>,
    pub(super) size: u64,
    /// With so little room on the disk it is refused.
    refused_at: Room,
}

#[derive(Debug)]
pub(super) struct Large {
    pub(super) file: Written,
    pub(super) path: TempPath,
    pub(super) hash: Sha256,
}

#[derive(Debug)]
pub(super) enum Written {
    /// More may come.
    Open(File),
    /// Many finished uploads must not take many open files.
    Closed(Arc<Closed>),
}

impl Upload {
    /// Nothing yet. It is refused the disk when there is so little room.
    pub(super) fn new(folder: Arc<Folder>, refused_at: Room) -> Self {
        Self { folder, small: Vec::new(), large: None, size: 0, refused_at }
    }

    /// Bytes taken up so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the next `bytes` will touch the disk.
    pub fn spills(&self, bytes: usize) -> bool {
        self.large.is_some() || self.small.len() + bytes > Content::INLINE_BYTES_MAX
    }

    /// Bytes of memory that it takes up.
    pub fn memory_bytes(&self) -> u64 {
        self.small.capacity() as u64
    }

    /// Moves what is in memory to a file, and with it all that is still to come, however little. Blocks on the disk.
    pub fn leave_memory(&mut self) -> io::Result<()> {
        if self.large.is_some() {
            return Ok(());
        }
        self.check_room(0)?;
        self.spill()
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
            Some(Large { file: Written::Open(file), hash, .. }) => {
                file.write_all(bytes)?;
                hash.update(bytes);
            }
            Some(Large { file: Written::Closed(_), .. }) => return Err(io::Error::other("the upload has been closed")),
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

    /// Closes the file, if there is one: nothing more will be written. If it is `wanted`, its way to the disk begins, so that whoever ends the
    /// upload later waits less.
    pub fn close_file(&mut self, wanted: bool) {
        let Some(large @ Large { file: Written::Open(_), .. }) = self.large.as_deref_mut() else { return };
        let closed = Arc::new(Closed::new(&large.path));
        if wanted {
            self.folder.sync_soon(&closed);
        }
        large.file = Written::Closed(closed);
    }

    /// Moves what is in memory to a file.
    fn spill(&mut self) -> io::Result<()> {
        let (mut file, path) = NamedTempFile::new_in(&self.folder.temporary)?.into_parts();
        file.write_all(&self.small)?;
        let hash = Sha256::new_with_prefix(&self.small);
        self.small = Vec::new();
        self.large = Some(Box::new(Large { file: Written::Open(file), path, hash }));
        Ok(())
    }

    /// Ends the upload with a file of its own, however small. Durable when this returns. Blocks on the disk.
    pub fn finish_as_blob(self) -> io::Result<Content> {
        Together::finish(|together| together.add_as_blob(self))
    }

    /// Ends the upload. A large content is a durable blob when this returns. Blocks on the disk.
    pub fn finish(self) -> io::Result<Content> {
        Together::finish(|together| together.add(self))
    }
}

/// Uploads that end together: each file is synced by itself, the names of all at once.
#[derive(Debug)]
pub struct Together {
    /// Where the names are, once there are any.
    folder: Option<Arc<Folder>>,
}

impl Together {
    /// Ends those uploads that `add_all` adds. All that it answers is durable when this returns. Blocks on the disk.
    pub fn finish<T>(add_all: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let mut together = Self { folder: None };
        let finished = add_all(&mut together)?;
        if let Some(folder) = together.folder {
            sync_folder(&folder.path)?;
        }
        Ok(finished)
    }

    /// Ends an upload. A large content becomes a blob.
    pub fn add(&mut self, upload: Upload) -> io::Result<Content> {
        let Upload { folder, small, large, size, .. } = upload;
        let Some(large) = large else {
            return Ok(Content::Inline(small.into()));
        };
        let Large { file, path, hash } = *large;
        let sha256: [u8; 32] = hash.finalize().into();
        match file {
            Written::Open(file) => file.sync_all()?,
            Written::Closed(file) => file.finish()?,
        }
        // Counted before the name exists, so that a concurrent release of the same bytes cannot delete it.
        folder.counts.add(sha256);
        let handle = BlobHandle { sha256, size, folder: Arc::clone(&folder) };
        path.persist(folder.path_of(&sha256)).map_err(|error| error.error)?;
        self.folder = Some(folder);
        Ok(Content::Blob(handle))
    }

    /// The same with a file of its own, however small.
    pub fn add_as_blob(&mut self, mut upload: Upload) -> io::Result<Content> {
        upload.leave_memory()?;
        self.add(upload)
    }
}

/// Said before the disk is full.
pub(super) fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk has no room for so much")
}
