//! What finished jobs left, oldest first, and how long idempotency keys are kept: retention's side of the memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::job::JobId;
use crate::time::Time;

/// What is left of finished jobs before retention takes them. Zero means no limit of that sort is reached.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Results go after this long; the record after twice as long.
    pub age: Duration,
    /// Finished jobs kept; beyond that the oldest go, record and all.
    pub jobs_max: usize,
    /// Inputs, results and artifacts of finished jobs together; beyond that the oldest go.
    pub bytes_max: u64,
}

/// What retention is to take, oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overdue {
    /// Jobs to be forgotten altogether.
    pub(super) jobs: Vec<JobId>,
    /// Jobs whose content goes but whose record stays.
    pub(super) contents: Vec<JobId>,
}

/// Finished jobs by the time they ended.
#[derive(Debug, Default)]
pub(super) struct Retained {
    finished: BTreeSet<(Time, JobId)>,
    contents: BTreeMap<(Time, JobId), u64>,
    content_bytes: u64,
    keys: BTreeSet<(Time, [u8; 32])>,
}

impl Retained {
    /// Takes up a job that has ended, with the size of its content if that is still there. Of one that `stays` only the content
    /// may be taken.
    pub(super) fn add(&mut self, id: JobId, at: Time, bytes: Option<u64>, stays: bool) {
        if !stays {
            self.finished.insert((at, id));
        }
        if let Some(bytes) = bytes {
            self.contents.insert((at, id), bytes);
            self.content_bytes += bytes;
        }
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, id: JobId, at: Time) {
        self.finished.remove(&(at, id));
        self.content_bytes -= self.contents.remove(&(at, id)).unwrap_or(0);
    }

    /// Remembers until when an idempotency key is kept.
    pub(super) fn keep_key(&mut self, name: [u8; 32], until: Time) {
        self.keys.insert((until, name));
    }

    /// Takes out up to `most` idempotency keys whose time is over.
    pub(super) fn take_overdue_keys(&mut self, now: Time, most: usize) -> Vec<[u8; 32]> {
        let overdue: Vec<_> = self.keys.iter().take_while(|(until, _)| *until <= now).take(most).copied().collect();
        for key in &overdue {
            self.keys.remove(key);
        }
        overdue.into_iter().map(|(_, name)| name).collect()
    }

    /// Up to `most` finished jobs that retention is to take.
    pub(super) fn overdue(&self, retention: &Retention, now: Time, most: usize) -> Overdue {
        let surplus = self.finished.len().saturating_sub(retention.jobs_max);
        let is_old = |at: Time, ages: u32| now.since(at) >= retention.age.saturating_mul(ages);
        let jobs = self.finished.iter().enumerate().take_while(|(nth, (at, _))| *nth < surplus || is_old(*at, 2));
        let jobs: Vec<JobId> = jobs.map(|(_, (_, id))| *id).take(most).collect();
        let mut too_many = self.content_bytes.saturating_sub(retention.bytes_max);
        let contents = self.contents.iter().take_while(|((at, _), bytes)| {
            let takes = too_many > 0 || is_old(*at, 1);
            too_many = too_many.saturating_sub(**bytes);
            takes
        });
        let contents = contents.map(|((_, id), _)| *id).take(most).filter(|id| !jobs.contains(id)).collect();
        Overdue { jobs, contents }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_takes_the_oldest_by_age_count_and_bytes() {
        let mut retained = Retained::default();
        (1..=4).for_each(|number| retained.add(JobId::from_u128(number), Time(number as i64 * 1_000), Some(10), false));
        let overdue = |age_ms, jobs_max, bytes_max| {
            let retention = Retention { age: Duration::from_millis(age_ms), jobs_max, bytes_max };
            let Overdue { jobs, contents } = retained.overdue(&retention, Time(5_000), 100);
            let number = |ids: Vec<JobId>| ids.into_iter().map(|id| id.as_u128()).collect::<Vec<_>>();
            (number(jobs), number(contents))
        };
        assert_eq!(overdue(1_000_000, 100, 100), (vec![], vec![]));
        assert_eq!(overdue(2_000, 100, 100), (vec![1], vec![2, 3]));
        assert_eq!(overdue(1_000_000, 3, 100), (vec![1], vec![]));
        assert_eq!(overdue(1_000_000, 100, 25), (vec![], vec![1, 2]));
    }

    #[test]
    fn of_a_job_that_stays_only_the_content_goes() {
        let mut retained = Retained::default();
        retained.add(JobId::from_u128(1), Time(1), Some(10), true);
        retained.add(JobId::from_u128(2), Time(2), Some(10), false);
        let retention = Retention { age: Duration::from_millis(1), jobs_max: 0, bytes_max: 0 };
        let overdue = retained.overdue(&retention, Time(5_000), 100);
        assert_eq!((overdue.jobs, overdue.contents), (vec![JobId::from_u128(2)], vec![JobId::from_u128(1)]));
        retained.remove(JobId::from_u128(1), Time(1));
        assert_eq!(retained.content_bytes, 10);
    }
}
