//! Jobs that may be claimed before their submit is durable. Until it is, nobody but the worker that claims one sees it; they count among those
//! of their kind from the beginning.

use std::sync::Arc;

use super::Index;
use crate::job::{Job, JobId};
use crate::store::record::Record;

/// One of them, as the commit to come has it.
#[derive(Debug)]
pub(super) struct Early {
    record: Arc<Record>,
    /// Whether a worker has read it, which is told once the job is.
    begun: bool,
}

impl Index {
    /// Puts a job in the row that is to be durable with the next commit.
    pub(in crate::store) fn begin_early(&mut self, record: Arc<Record>) {
        self.put(&record);
        self.early.insert(record.job.id, Early { record, begun: false });
    }

    /// The record of such a job, for the worker that has claimed it.
    pub(in crate::store) fn early(&self, id: JobId) -> Option<&Arc<Record>> {
        self.early.get(&id).map(|early| &early.record)
    }

    /// Notes that a worker has read the job, if it is not durable yet, and says whether that is so.
    pub(in crate::store) fn note_begun(&mut self, id: JobId) -> bool {
        self.early.get_mut(&id).map(|early| early.begun = true).is_some()
    }

    /// Whether what is known of a job is still true, though a commit is under way that has it so.
    pub(in crate::store) fn knows_early(&self, id: JobId, after: Option<&Arc<Record>>) -> bool {
        after.zip(self.early(id)).is_some_and(|(after, early)| Arc::ptr_eq(after, early))
    }

    /// Takes up that such a job is durable, and has told what was not told of it until now.
    pub(in crate::store) fn end_early(&mut self, id: JobId, tell: impl Fn(&Job)) -> Option<Arc<Record>> {
        let Early { record, begun } = self.early.remove(&id)?;
        tell(&record.job);
        if begun {
            let mut job = record.job.clone();
            self.overlay(&mut job);
            tell(&job);
        }
        Some(record)
    }
}
