//! A job comes in: once for its idempotency key, and with all that it names, or not at all.

use std::sync::Arc;

use crate::job::Job;
use crate::store::blobs::{BlobHandle, Content};
use crate::store::group::Group;
use crate::store::keys::{self, Part};
use crate::store::record::{self, KeyRecord, Record};
use crate::store::space::Room;
use crate::store::stored::Inline;
use crate::store::writes::Writes;
use crate::store::{Admission, NewJob, Payload, StoreError};
use crate::time::Time;

impl Group<'_> {
    pub(in crate::store) fn submit(&mut self, new: NewJob, admission: &Admission) -> Result<Job, StoreError> {
        if let Some(earlier) = self.answered_before(admission)? {
            return Ok(earlier);
        }
        if self.room != Room::Ample {
            return Err(StoreError::DiskFull);
        }
        let NewJob { job, input, options, blobs: named, webhook } = new;
        self.check_queue(&job.kind, admission.queue_max)?;
        let options = options.encode()?;
        let (id, mut writes) = (job.id, Writes::default());
        let mut record = Record {
            options_bytes: u32::try_from(options.len()).unwrap_or(u32::MAX),
            bytes: input.content.size() + options.len() as u64 + named_bytes(&named),
            named: u32::try_from(named.len()).ok(),
            ..Record::new(job)
        };
        let mut room = record.room();
        if (1..=room).contains(&options.len()) {
            room -= options.len();
            record.options = Some(Inline(options.into()));
        } else {
            writes.bytes(id, Part::Options, &options)?;
        }
        record.input = writes.payload(id, Part::Input, &input, &mut room)?;
        Self::write_uses(&mut writes, id, &named)?;
        let owner = record.job.owner;
        let webhook = webhook.map(|new| self.promise_webhook(id, owner, new, &mut writes)).transpose()?;
        let key =
            admission.key.map(|key| (key.name, KeyRecord { id, request: key.request, kept_until: key.kept_until }));
        if let Some((name, key)) = &key {
            writes.record(&keys::idempotency_key(name), key)?;
        }
        let first_named = usize::from(matches!(input.content, Content::Blob(_)));
        let contents = std::iter::once(input).chain(named).map(|payload| payload.content);
        let blobs: Vec<BlobHandle> = contents.filter_map(Content::into_blob).collect();
        // An id is never given twice, so there is nothing to look for that came before.
        self.remember_new(id);
        let job = self.put(record, writes, &blobs)?;
        if let Some(webhook) = webhook {
            *self.promised.entry(webhook.receiver.clone()).or_default().entry(owner).or_insert(0) += 1;
            self.set_webhook(id, Some(webhook));
        }
        if blobs.len() > first_named {
            let mut index = self.disk.index();
            blobs.iter().skip(first_named).for_each(|blob| index.uploads.begin_use(blob.sha256()));
        }
        self.keys.extend(key);
        if let Some(workers) = &admission.workers {
            self.start_early(id, Arc::clone(workers));
        }
        Ok(job)
    }

    /// The job that the same key was given for, if it was.
    fn answered_before(&self, admission: &Admission) -> Result<Option<Job>, StoreError> {
        let Some(key) = &admission.key else { return Ok(None) };
        let earlier = self.key(&key.name)?.filter(|earlier| earlier.kept_until > key.now);
        let Some(earlier) = earlier else { return Ok(None) };
        if earlier.request != key.request {
            return Err(StoreError::KeyReused);
        }
        match self.load(earlier.id) {
            Ok(mut record) => {
                self.disk.index().overlay(&mut record.job);
                Ok(Some(record.job))
            }
            // The job was deleted meanwhile; the request is a new one then.
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a key stands for as this group leaves it so far.
    fn key(&self, name: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        match self.keys.get(name) {
            Some(key) => Ok(Some(key.clone())),
            None => record::read(&self.disk.db, &keys::idempotency_key(name)),
        }
    }

    /// Forgets a key whose time is over, unless it was given again and has a new one. Nobody misses one that cannot be
    /// read.
    pub(in crate::store) fn drop_key(&mut self, name: &[u8; 32], now: Time) {
        if !matches!(self.key(name), Ok(Some(key)) if key.kept_until > now) {
            self.writes.remove(&keys::idempotency_key(name));
        }
    }
}

/// A blob counts for each job that names it, as equal results do.
fn named_bytes(named: &[Payload]) -> u64 {
    named.iter().map(|payload| payload.content.size()).sum()
}
