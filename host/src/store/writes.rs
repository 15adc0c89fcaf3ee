//! Writes on their way into one commit.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blobs::Content;
use super::error::StoreError;
use super::exchange::Payload;
use super::keys::{Part, chunk_key, job_key, usage_key};
use super::record::{CHUNK_BYTES, Record, decode, encode, encode_job, seal};
use super::stored::{Inline, Place, Stored};
use super::table::Write;
use crate::job::JobId;

/// Writes that will become part of one commit.
#[derive(Debug, Default)]
pub(super) struct Writes {
    entries: Vec<Write>,
    bytes: usize,
}

impl Writes {
    /// No writes, and space for so many.
    pub(super) fn with_capacity(writes: usize) -> Self {
        Self { entries: Vec::with_capacity(writes), bytes: 0 }
    }

    /// One key set to these bytes, whatever they are.
    #[cfg(test)]
    pub(super) fn of(key: &[u8], value: Vec<u8>) -> Self {
        let mut writes = Self::default();
        writes.add(key, Some(value));
        writes
    }

    /// Makes space for so many more.
    pub(super) fn reserve(&mut self, writes: usize) {
        self.entries.reserve(writes);
    }

    /// Sets a key to a record in its envelope.
    pub(super) fn record<T: Serialize>(&mut self, key: &[u8], record: &T) -> Result<(), StoreError> {
        self.add(key, Some(encode(record)?));
        Ok(())
    }

    /// Sets a key to what was encoded already, in its envelope.
    pub(super) fn sealed(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.add(key, Some(seal(value)?));
        Ok(())
    }

    /// Sets a job's record. Payloads that would make it too large move out of it.
    pub(super) fn job(&mut self, record: &mut Record) -> Result<(), StoreError> {
        let sealed = match encode_job(record) {
            Err(StoreError::Refused(_)) => {
                self.move_out(record)?;
                encode_job(record)?
            }
            sealed => sealed?,
        };
        self.add(&job_key(record.job.id), Some(sealed));
        Ok(())
    }

    /// Sets the record of a job that was encoded already.
    pub(super) fn encoded_job(&mut self, id: JobId, sealed: Vec<u8>) {
        self.add(&job_key(id), Some(sealed));
    }

    fn move_out(&mut self, record: &mut Record) -> Result<(), StoreError> {
        let id = record.job.id;
        if let Some(bytes) = record.input.take_out() {
            self.bytes(id, Part::Input, &bytes)?;
        }
        if let Some(bytes) = record.output.as_mut().and_then(Stored::take_out) {
            self.bytes(id, Part::Output, &bytes)?;
        }
        if let Some(options) = record.options.take() {
            self.bytes(id, Part::Options, &options.0)?;
        }
        if let Some(report) = record.first_report.take() {
            self.sealed(&usage_key(id, 0), &report.0)?;
        }
        Ok(())
    }

    /// Writes a payload of a job: into its record if there is `room`, which becomes less then, else beside it.
    pub(super) fn payload(
        &mut self,
        id: JobId,
        part: Part,
        payload: &Payload,
        room: &mut usize,
    ) -> Result<Stored, StoreError> {
        let mut stored = Stored::of(&payload.media_type, &payload.content);
        match &payload.content {
            Content::Inline(bytes) if bytes.len() <= *room => {
                *room -= bytes.len();
                stored.place = Place::Here(Inline(bytes.clone()));
            }
            content => self.content(id, part, content)?,
        }
        Ok(stored)
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
            self.sealed(&chunk_key(id, part, sequence), chunk)?;
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
        if stored.place == Place::Chunks {
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

    /// Takes over all that changes at once with one thing.
    pub(super) fn append(&mut self, mut other: Writes) {
        self.entries.append(&mut other.entries);
        self.bytes += other.bytes;
    }

    /// All of them, in the order of writing.
    pub(super) fn entries(&self) -> &[Write] {
        &self.entries
    }

    /// The same, to keep.
    pub(super) fn into_entries(self) -> Vec<Write> {
        self.entries
    }

    fn add(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.entries.push((key.into(), value.map(sled::IVec::from)));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::blobs::Blobs;
    use super::super::exchange::Options;
    use super::super::record::{decode_job, encode_here, read_content};
    use super::super::table::Table;
    use super::*;
    use crate::job::{Job, Kind, Usage};
    use crate::time::Time;

    /// Fault: a job with much to say in its record beside its payloads cannot be recorded, and its outcome is lost.
    #[test]
    fn payloads_move_out_of_a_record_that_would_be_too_large() {
        let kind = Kind::new("a").expect("well-formed");
        let job = Job { tags: vec!["x".repeat(2_500)], ..Job::new(JobId::from_u128(7), kind, Time(5)) };
        let (id, mut record, mut writes) = (job.id, Record::new(job), Writes::default());
        let mut room = record.room();
        let payload = |byte| Payload {
            media_type: "text/plain".to_owned(),
            content: Content::Inline(Bytes::from(vec![byte; 600])),
        };
        record.input = writes.payload(id, Part::Input, &payload(1), &mut room).expect("there is room");
        record.output = Some(writes.payload(id, Part::Output, &payload(2), &mut room).expect("there is room"));
        let options = Options { arguments: vec!["y".repeat(300)], ..Options::default() };
        let encoded = options.encode().expect("small enough");
        record.options_bytes = u32::try_from(encoded.len()).expect("small");
        record.options = Some(Inline(encoded.into()));
        let usage = Usage { attempt: 1, log: vec!["z".repeat(300)], ..Usage::default() };
        record.first_report = Some(Inline(encode_here(&usage).expect("small enough")));
        record.usages = 1;
        assert!(writes.is_empty() && record.room() < 1_000, "all of it stands in the record");
        writes.job(&mut record).expect("what does not fit moves out");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let db = Table::open(&folder.path().join("db")).expect("it opens");
        let blobs = Blobs::open(folder.path()).expect("it opens");
        db.put(1, writes).expect("small");
        let sealed = db.get(job_key(id)).expect("readable").expect("it was written");
        let read = decode_job(&sealed).expect("it is whole");
        assert_eq!(read, record);
        let bytes = |part, stored: &Stored| {
            let content = read_content(&db, &blobs, id, part, stored).expect("it is whole");
            content.read_whole().expect("it is in memory")
        };
        assert_eq!(bytes(Part::Input, &read.input), vec![1; 600]);
        assert_eq!(read.output.as_ref().map(|output| bytes(Part::Output, output)), Some(vec![2; 600]));
        assert_eq!(read.read_options(&db).ok(), Some(options));
        assert_eq!(read.read_report(&db, 0).expect("it is whole"), Some(usage));
    }
}
