//! Writes on their way into one atomic batch.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blobs::Content;
use super::error::StoreError;
use super::record::{CHUNK_BYTES, Part, Record, Stored, chunk_key, decode, encode, encode_job, job_key, seal};
use crate::job::JobId;

/// Writes that will become part of one atomic batch.
#[derive(Debug, Default)]
pub(super) struct Writes {
    entries: Vec<(sled::IVec, Option<sled::IVec>)>,
    bytes: usize,
}

impl Writes {
    /// Sets a key to a record in its envelope.
    pub(super) fn record<T: Serialize>(&mut self, key: &[u8], record: &T) -> Result<(), StoreError> {
        self.add(key, Some(encode(record)?));
        Ok(())
    }

    /// Sets a job's record.
    pub(super) fn job(&mut self, record: &Record) -> Result<(), StoreError> {
        self.add(&job_key(record.job.id), Some(encode_job(record)?));
        Ok(())
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.add(key, None);
    }

    /// The record a key was set to here, if it was.
    pub(super) fn find<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let newest = self.entries.iter().rev().find(|(written, _)| written == key);
        newest.and_then(|(_, value)| value.as_ref()).map(|sealed| decode(sealed)).transpose()
    }

    /// Writes an inline payload, cut into chunks. Blobs lie elsewhere and are on disk already.
    pub(super) fn content(&mut self, id: JobId, part: Part, content: &Content) -> Result<(), StoreError> {
        match content {
            // In this many chunks it could not be read again.
            Content::Inline(bytes) if bytes.len() > Content::INLINE_BYTES_MAX => {
                Err(StoreError::Refused(format!("a payload of {} bytes has to come as a blob", bytes.len())))
            }
            Content::Inline(bytes) => self.bytes(id, part, bytes),
            Content::Blob(_) => Ok(()),
        }
    }

    /// Writes bytes, cut into chunks.
    pub(super) fn bytes(&mut self, id: JobId, part: Part, bytes: &[u8]) -> Result<(), StoreError> {
        for (sequence, chunk) in (0u32..).zip(bytes.chunks(CHUNK_BYTES)) {
            self.add(&chunk_key(id, part, sequence), Some(seal(chunk)?));
        }
        Ok(())
    }

    /// Removes what [`Writes::content`] or [`Writes::bytes`] wrote. A blob is released elsewhere, after the commit.
    pub(super) fn remove_chunks(&mut self, id: JobId, part: Part, size: u64) {
        let chunks = u32::try_from(size.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX);
        for sequence in 0..chunks {
            self.remove(&chunk_key(id, part, sequence));
        }
    }

    /// Removes a payload's chunks, if it lies in chunks.
    pub(super) fn remove_stored(&mut self, id: JobId, part: Part, stored: &Stored) {
        if stored.blob.is_none() {
            self.remove_chunks(id, part, stored.size);
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the keys and values have together.
    pub(super) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over the writes of another.
    pub(super) fn append(&mut self, mut other: Writes) {
        self.entries.append(&mut other.entries);
        self.bytes += other.bytes;
    }

    /// The batch, in the order of writing.
    pub(super) fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.entries {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }

    fn add(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.entries.push((key.into(), value.map(sled::IVec::from)));
    }
}
