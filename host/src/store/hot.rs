//! The store's pieces on the path of every job, by themselves, for the benchmarks in `benches/` and nobody else.
//!
//! Records and the index are private, because their shape may change with every version, and what the host does with them goes
//! through `Store`. A benchmark through `Store` would time the disk. So they are handed out here, hidden from the documentation,
//! with the few calls that are worth measuring; the rest of the crate stays as private as it is.

use bytes::Bytes;

use super::StoreError;
use super::index::Index;
use super::record::{self, Record};
use super::stored::{Inline, Place, Stored};
use crate::job::{Job, JobId, Kind};
use crate::time::Time;

/// What the store writes of a job.
#[derive(Debug)]
pub struct JobRecord(Record);

impl JobRecord {
    /// Of a job that waits, with a small JSON input, which stands in the record itself.
    pub fn queued(id: JobId, kind: Kind, created_at: Time) -> Self {
        let input = Bytes::from_static(br#"{"message":"hi","seconds":0}"#);
        let size = input.len() as u64;
        let input = Stored { media_type: "application/json".to_owned(), size, place: Place::Here(Inline(input)) };
        Self(Record { input, bytes: size, named: Some(0), ..Record::new(Job::new(id, kind, created_at)) })
    }

    /// As it goes to the disk, in its envelope.
    #[inline(never)]
    pub fn encode(&self) -> Result<Vec<u8>, StoreError> {
        record::encode_job(&self.0)
    }

    /// As it comes from there.
    #[inline(never)]
    pub fn decode(sealed: &[u8]) -> Result<Self, StoreError> {
        record::decode_job(sealed).map(Self)
    }
}

/// The jobs that wait, in the order in which they run.
#[derive(Debug)]
pub struct ReadyJobs(Index);

impl ReadyJobs {
    /// Of a store that was just made.
    pub fn empty() -> Self {
        Self(Index::new(1))
    }

    /// What happens to a job in memory once its submit is durable.
    #[inline(never)]
    pub fn insert(&mut self, job: &JobRecord) {
        self.0.replace(None, Some(&job.0));
    }

    /// What happens when a worker takes the next job of one of these kinds.
    #[inline(never)]
    pub fn pick(&mut self, free: &[(Kind, usize)], now: Time) -> Option<JobId> {
        self.0.claim(free, 1, now).pop().map(|job| job.id)
    }

    /// What happens when a job goes, wherever it stood.
    #[inline(never)]
    pub fn remove(&mut self, job: &JobRecord) {
        self.0.replace(Some(&job.0), None);
    }
}
