//! Stored bytes as they are read: from memory or from a file, which is held against its address on the way.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::BlobHandle;

/// How much is read at a time where all of it is wanted.
const READ_BYTES: usize = 256 * 1024;

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
    pub(in crate::store) fn into_blob(self) -> Option<BlobHandle> {
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
pub(in crate::store) fn open_file(path: &Path, size: u64, sha256: [u8; 32]) -> io::Result<ContentReader> {
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

pub(super) fn read(file: &mut File, bytes_max: usize) -> io::Result<Bytes> {
    let mut chunk = vec![0; bytes_max];
    let read = file.read(&mut chunk)?;
    chunk.truncate(read);
    Ok(chunk.into())
}
