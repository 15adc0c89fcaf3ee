//! How many unfinished jobs a kind may have, those counted that the commit to come adds, or takes away.

use super::Index;
use crate::job::Kind;
use crate::store::StoreError;

impl Index {
    /// Whether a kind may have one more.
    pub(in crate::store) fn has_place(&self, kind: &Kind, queue_max: u64) -> bool {
        let joining = self.joining.get(kind).copied().unwrap_or(0);
        self.counts(kind).unfinished().saturating_add_signed(joining) < queue_max
    }

    /// Takes a place for one that the commit is to add, if there is any left.
    pub(in crate::store) fn take_place(&mut self, kind: &Kind, queue_max: u64) -> Result<(), StoreError> {
        if !self.has_place(kind, queue_max) {
            return Err(StoreError::QueueFull { queue_max });
        }
        self.join(kind, 1);
        Ok(())
    }

    /// Counts jobs that the commit adds, or takes away.
    pub(in crate::store) fn join(&mut self, kind: &Kind, jobs: i64) {
        match self.joining.get_mut(kind) {
            Some(so_far) => *so_far += jobs,
            None if jobs == 0 => {}
            None => drop(self.joining.insert(kind.clone(), jobs)),
        }
    }

    /// To be called when the jobs of the commit are counted among the others.
    pub(in crate::store) fn end_joining(&mut self) {
        self.joining.values_mut().for_each(|jobs| *jobs = 0);
    }
}
