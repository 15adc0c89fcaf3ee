//! Jobs as a group leaves them: the records that it writes, and what readers may see until it is durable.

use std::sync::Arc;

use super::Group;
use crate::job::{Job, JobId, Kind};
use crate::store::StoreError;
use crate::store::blobs::BlobHandle;
use crate::store::keys;
use crate::store::record::Record;
use crate::store::writes::Writes;

impl Group<'_> {
    /// The job as this group leaves it so far.
    pub(in crate::store) fn load(&self, id: JobId) -> Result<Record, StoreError> {
        let newest = match self.after.get(&id) {
            Some(after) => after.as_deref().cloned(),
            None => self.disk.newest(id)?.map(Arc::unwrap_or_clone),
        };
        newest.ok_or(StoreError::NotFound)
    }

    /// Whether an earlier change of this group moved the job, so that the index is out of date for it.
    pub(in crate::store) fn is_changed(&self, id: JobId) -> bool {
        self.after.get(&id).is_some_and(|after| !self.disk.index().knows_early(id, after.as_ref()))
    }

    /// Makes space for so many more jobs.
    pub(in crate::store) fn reserve(&mut self, jobs: usize) {
        self.before.reserve(jobs);
        self.after.reserve(jobs);
        self.writes.reserve(jobs);
    }

    /// Adds an unfinished job of a kind to the commit, or refuses it if the kind has as many as it may.
    pub(in crate::store) fn add_to_queue<T>(
        &mut self,
        kind: &Kind,
        queue_max: u64,
        add: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.disk.index().take_place(kind, queue_max)?;
        let added = add(self);
        // It is counted by its record now, if at all.
        self.disk.index().join(kind, -1);
        added
    }

    /// Adds a changed job to the commit, and answers how it is then.
    pub(in crate::store) fn put(
        &mut self,
        record: Record,
        writes: Writes,
        blobs: &[BlobHandle],
    ) -> Result<Job, StoreError> {
        self.put_record(record, writes, blobs).map(|record| record.job.clone())
    }

    /// Adds a changed job to the commit. Everything that can fail has happened before the first line that adds.
    pub(in crate::store) fn put_record(
        &mut self,
        mut record: Record,
        mut writes: Writes,
        blobs: &[BlobHandle],
    ) -> Result<Arc<Record>, StoreError> {
        let id = record.job.id;
        writes.job(&mut record)?;
        self.remember(id)?;
        let webhook = self.moved_webhook(&record, &mut writes)?;
        if record.job.state.is_terminal() {
            self.remove_checkpoint(id, &mut writes)?;
        }
        if webhook.is_some() {
            self.set_webhook(id, webhook);
        }
        self.writes.append(writes);
        for blob in blobs {
            self.disk.blobs.retain(blob.sha256());
        }
        let was_unfinished = self.is_unfinished(id);
        let record = Arc::new(record);
        self.after.insert(id, Some(Arc::clone(&record)));
        let joined = i64::from(!record.job.state.is_terminal()) - i64::from(was_unfinished);
        if joined != 0 {
            self.disk.index().join(&record.job.kind, joined);
        }
        Ok(record)
    }

    /// Adds a job to the commit that was not there before and is one record.
    pub(in crate::store) fn put_new(&mut self, record: &Arc<Record>, sealed: Vec<u8>) {
        let id = record.job.id;
        self.remember_new(id);
        self.writes.encoded_job(id, sealed);
        self.after.insert(id, Some(Arc::clone(record)));
    }

    /// Whether the group leaves the job unfinished so far; it has been remembered.
    fn is_unfinished(&self, id: JobId) -> bool {
        let newest = match self.after.get(&id) {
            Some(after) => after.as_deref(),
            None => self.before.get(&id).and_then(Option::as_deref),
        };
        newest.is_some_and(|record| !record.job.state.is_terminal())
    }

    /// Takes a job's record out with the commit.
    pub(in crate::store) fn forget(&mut self, record: Record, mut writes: Writes) -> Result<Job, StoreError> {
        let id = record.job.id;
        self.remember(id)?;
        writes.remove(&keys::job_key(id));
        if self.disk.index().webhooks.knows(id) || self.webhooks.contains_key(&id) {
            writes.remove(&keys::webhook_key(id));
            self.set_webhook(id, None);
        }
        self.writes.append(writes);
        self.after.insert(id, None);
        Ok(record.job)
    }

    /// Has the index look at a job again that stays as it is, if it is there and can be read.
    pub(in crate::store) fn touch(&mut self, id: JobId) -> Result<(), StoreError> {
        match self.load(id) {
            Ok(record) => {
                self.remember(id)?;
                self.after.insert(id, Some(Arc::new(record)));
                Ok(())
            }
            // Said at open, and by `dropforge verify`.
            Err(StoreError::NotFound | StoreError::Damaged(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Keeps what readers may see of a job until the commit is durable.
    fn remember(&mut self, id: JobId) -> Result<(), StoreError> {
        if !self.before.contains_key(&id) {
            let before = self.disk.newest(id)?;
            self.before.insert(id, before);
        }
        Ok(())
    }

    /// The same for a job that is not there yet.
    pub(in crate::store) fn remember_new(&mut self, id: JobId) {
        self.before.entry(id).or_default();
    }
}
