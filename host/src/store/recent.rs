//! The newest records in memory: a job that is submitted, run and asked for within seconds is not read from the disk for it.
//!
//! Two generations, of which the older goes when the younger is full: whatever is used again moves to the younger one, and
//! nobody has to keep account of who was used last. Only what is durable stands here.

use std::sync::Arc;

use super::record::Record;
use crate::job::{JobId, JobMap};

/// Memory of one generation, about.
const GENERATION_BYTES: usize = 16 << 20;

/// A whole generation, if one has to go: thousands of records, which take milliseconds to free.
pub(super) type Forgotten = Option<JobMap<Arc<Record>>>;

#[derive(Debug, Default)]
pub(super) struct Recent {
    young: JobMap<Arc<Record>>,
    young_bytes: usize,
    old: JobMap<Arc<Record>>,
}

impl Recent {
    pub(super) fn get(&self, id: JobId) -> Option<&Arc<Record>> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    /// Has a record stand for its job from now on. Answers those that have to go, for the caller to drop when nobody waits for it.
    #[must_use]
    pub(super) fn put(&mut self, record: Arc<Record>) -> Forgotten {
        self.old.remove(&record.job.id);
        self.young_bytes += record.footprint();
        if let Some(before) = self.young.insert(record.job.id, record) {
            self.young_bytes -= before.footprint();
        }
        if self.young_bytes <= GENERATION_BYTES {
            return None;
        }
        self.young_bytes = 0;
        let grown = std::mem::take(&mut self.young);
        Some(std::mem::replace(&mut self.old, grown))
    }

    pub(super) fn remove(&mut self, id: JobId) {
        self.old.remove(&id);
        if let Some(before) = self.young.remove(&id) {
            self.young_bytes -= before.footprint();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::job;
    use super::*;

    #[test]
    fn what_is_not_used_goes_and_what_is_used_stays() {
        let mut recent = Recent::default();
        let of_one_generation = GENERATION_BYTES / job(0, "a", 5, 0).footprint();
        drop(recent.put(Arc::new(job(0, "a", 5, 0))));
        drop(recent.put(Arc::new(job(1, "a", 5, 0))));
        for number in 2..3 * of_one_generation as u128 {
            drop(recent.put(Arc::new(job(number, "a", 5, 0))));
            drop(recent.put(Arc::new(job(1, "b", 5, 0))));
            assert!(recent.young.len() + recent.old.len() <= 2 * of_one_generation + 2);
        }
        assert!(recent.get(JobId::from_u128(0)).is_none());
        assert_eq!(recent.get(JobId::from_u128(1)).map(|record| record.job.kind.as_str()), Some("b"));
        recent.remove(JobId::from_u128(1));
        assert!(recent.get(JobId::from_u128(1)).is_none());
    }

    #[test]
    fn a_job_that_comes_and_goes_leaves_nothing() {
        let mut recent = Recent::default();
        for number in 0..100 {
            assert!(recent.put(Arc::new(job(number, "a", 5, 0))).is_none());
            recent.remove(JobId::from_u128(number));
        }
        assert_eq!((recent.young.len(), recent.young_bytes, recent.old.len()), (0, 0, 0));
    }
}
