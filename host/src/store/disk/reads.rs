//! A job's record, read: by the writer as it is, by everybody else as a power cut would leave it.

use std::sync::Arc;

use super::Disk;
use crate::job::{Job, JobId};
use crate::store::StoreError;
use crate::store::index::Index;
use crate::store::record::{self, Record};

impl Disk {
    /// A job's record for the writer, who alone may see what is not durable yet.
    pub(in crate::store) fn newest(&self, id: JobId) -> Result<Option<Arc<Record>>, StoreError> {
        if let Some(recent) = self.index().recent.get(id) {
            return Ok(Some(Arc::clone(recent)));
        }
        Ok(record::read_job(&self.db, id)?.map(Arc::new))
    }

    /// A job's record as the last durable commit left it.
    pub(in crate::store) fn load(&self, id: JobId) -> Result<Option<Arc<Record>>, StoreError> {
        if let Some(recent) = self.index().recent.get(id) {
            return Ok(Some(Arc::clone(recent)));
        }
        let newest = record::read_job(&self.db, id)?.map(Arc::new);
        Ok(durable(&self.index(), id, newest))
    }

    /// A job as the last durable commit left it, with what only memory knows laid over.
    pub(in crate::store) fn load_job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        {
            let index = self.index();
            if let Some(recent) = index.recent.get(id) {
                return Ok(Some(overlaid(&index, recent)));
            }
        }
        let newest = record::read_job(&self.db, id)?.map(Arc::new);
        Ok(self.as_durable(id, newest))
    }

    /// The job of a record that was read, as readers may see it.
    pub(in crate::store) fn as_durable(&self, id: JobId, newest: Option<Arc<Record>>) -> Option<Job> {
        let index = self.index();
        durable(&index, id, newest).map(|durable| overlaid(&index, &durable))
    }
}

/// Under the same lock as the look at the record: else a job that ends in between would seem to wait again.
fn overlaid(index: &Index, record: &Record) -> Job {
    let mut job = record.job.clone();
    index.overlay(&mut job);
    job
}

/// What readers may see of a job whose record was read a moment ago: neither what could still be lost, nor what a commit has
/// made out of date meanwhile.
fn durable(index: &Index, id: JobId, newest: Option<Arc<Record>>) -> Option<Arc<Record>> {
    match (index.in_flight.get(&id), index.recent.get(id)) {
        (Some(before), _) => before.clone(),
        (None, Some(recent)) => Some(Arc::clone(recent)),
        (None, None) => newest,
    }
}
