//! What finished jobs left, oldest first, and how long idempotency keys are kept: retention's side of the memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use crate::job::{JobId, Kind, KindMap};
use crate::time::Time;

/// What is left of finished jobs before retention takes them: of all together, or of those of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Results go after this long; the record after twice as long. A kind's own goes before the host's.
    pub age: Duration,
    /// Finished jobs kept; beyond that the oldest go, record and all.
    pub jobs_max: usize,
    /// What the inputs, the blobs they name, results and artifacts of finished jobs have together, in bytes; beyond that the oldest go.
    pub bytes_max: u64,
}

/// What retention is to take, oldest first within a kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overdue {
    /// Jobs to be forgotten altogether.
    pub(super) jobs: Vec<JobId>,
    /// Jobs whose content goes but whose record stays.
    pub(super) contents: Vec<JobId>,
}

#[cfg(test)]
impl Overdue {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.contents.is_empty()
    }
}

/// When a job ended, and which: in the order in which they go.
type Key = (Time, JobId);

/// Finished jobs by the time they ended, and idempotency keys.
#[derive(Debug, Default)]
pub(super) struct Retained {
    /// Only kinds that have any.
    kinds: KindMap<Finished>,
    keys: BTreeSet<(Time, [u8; 32])>,
}

/// The finished jobs of one kind.
#[derive(Debug, Default)]
struct Finished {
    jobs: BTreeSet<Key>,
    contents: BTreeMap<Key, u64>,
    content_bytes: u64,
}

impl Retained {
    /// Takes up a job that has ended, with the size of its content if that is still there. Of one that `stays` only the content
    /// may be taken.
    pub(super) fn add(&mut self, kind: &Kind, id: JobId, at: Time, bytes: Option<u64>, stays: bool) {
        let finished = match self.kinds.get_mut(kind) {
            Some(finished) => finished,
            None => self.kinds.entry(kind.clone()).or_default(),
        };
        if !stays {
            finished.jobs.insert((at, id));
        }
        if let Some(bytes) = bytes {
            finished.contents.insert((at, id), bytes);
            finished.content_bytes = finished.content_bytes.saturating_add(bytes);
        }
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, kind: &Kind, id: JobId, at: Time) {
        let Some(finished) = self.kinds.get_mut(kind) else { return };
        finished.jobs.remove(&(at, id));
        let bytes = finished.contents.remove(&(at, id)).unwrap_or(0);
        finished.content_bytes = finished.content_bytes.saturating_sub(bytes);
        if finished.jobs.is_empty() && finished.contents.is_empty() {
            self.kinds.remove(kind);
        }
    }

    /// Takes a job that retention cannot take away out of its reach; its bytes count no more. Looks at all there are: it is rare.
    pub(super) fn set_aside(&mut self, id: JobId) {
        let found = self.kinds.iter().find_map(|(kind, finished)| {
            let mut keys = finished.jobs.iter().chain(finished.contents.keys());
            keys.find(|(_, other)| *other == id).map(|(at, _)| (kind.clone(), *at))
        });
        if let Some((kind, at)) = found {
            self.remove(&kind, id, at);
        }
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

    /// Up to `most` finished jobs that retention is to take, and as many contents: by the rules of their kinds first, where there
    /// are any, then by those for all of them together.
    pub(super) fn overdue(
        &self,
        host: &Retention,
        of_kinds: &HashMap<Kind, Retention>,
        now: Time,
        most: usize,
    ) -> Overdue {
        let (no_rule, mut overdue) =
            (Retention { jobs_max: usize::MAX, bytes_max: u64::MAX, ..*host }, Overdue::default());
        let mut left: Vec<Left<'_>> = Vec::with_capacity(self.kinds.len());
        for (kind, finished) in &self.kinds {
            let rule = *of_kinds.get(kind).unwrap_or(&no_rule);
            let mut of_kind =
                Left { finished, rule, last_job: None, last_content: None, bytes: finished.content_bytes };
            of_kind.take_jobs(now, most, &mut overdue.jobs);
            left.push(of_kind);
        }
        let count: usize = self.kinds.values().map(|finished| finished.jobs.len()).sum();
        let surplus = count.saturating_sub(overdue.jobs.len()).saturating_sub(host.jobs_max);
        for _ in 0..surplus.min(most.saturating_sub(overdue.jobs.len())) {
            let Some(oldest) = left.iter_mut().filter(|kind| kind.job().is_some()).min_by_key(|kind| kind.job()) else {
                break;
            };
            overdue.jobs.extend(oldest.take_job());
        }
        for kind in &mut left {
            kind.take_contents(now, most, &mut overdue.contents);
        }
        let bytes = |left: &[Left<'_>]| left.iter().fold(0u64, |sum, kind| sum.saturating_add(kind.bytes));
        while bytes(&left) > host.bytes_max && overdue.contents.len() < most {
            let some = left.iter_mut().filter_map(|kind| kind.content().map(|(key, _)| (key, kind)));
            let Some((_, oldest)) = some.min_by_key(|(key, _)| *key) else { break };
            overdue.contents.extend(oldest.take_content());
        }
        overdue
    }
}

/// What is left of a kind's finished jobs while it is found out which are to go: always the oldest.
struct Left<'a> {
    finished: &'a Finished,
    rule: Retention,
    /// The newest job that goes.
    last_job: Option<Key>,
    /// The newest content that goes; it is there only once the jobs are settled.
    last_content: Option<Key>,
    /// Of the contents that stay.
    bytes: u64,
}

impl Left<'_> {
    fn job(&self) -> Option<Key> {
        self.finished.jobs.range((after(self.last_job), Bound::Unbounded)).next().copied()
    }

    fn take_job(&mut self) -> Option<JobId> {
        let key = self.job()?;
        self.last_job = Some(key);
        self.bytes = self.bytes.saturating_sub(self.finished.contents.get(&key).copied().unwrap_or(0));
        Some(key.1)
    }

    fn content(&self) -> Option<(Key, u64)> {
        let mut rest = self.finished.contents.range((after(self.last_content), Bound::Unbounded));
        // Those of jobs that go altogether go with them.
        let goes = |key: &Key| Some(*key) <= self.last_job && self.finished.jobs.contains(key);
        rest.find(|(key, _)| !goes(key)).map(|(key, bytes)| (*key, *bytes))
    }

    fn take_content(&mut self) -> Option<JobId> {
        let (key, bytes) = self.content()?;
        self.last_content = Some(key);
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(key.1)
    }

    fn is_old(&self, (at, _): Key, now: Time, ages: u32) -> bool {
        now.since(at) >= self.rule.age.saturating_mul(ages)
    }

    fn take_jobs(&mut self, now: Time, most: usize, jobs: &mut Vec<JobId>) {
        let mut surplus = self.finished.jobs.len().saturating_sub(self.rule.jobs_max);
        while self.job().is_some_and(|key| surplus > 0 || self.is_old(key, now, 2)) {
            if jobs.len() >= most {
                return;
            }
            jobs.extend(self.take_job());
            surplus = surplus.saturating_sub(1);
        }
    }

    fn take_contents(&mut self, now: Time, most: usize, contents: &mut Vec<JobId>) {
        while let Some((key, _)) = self.content() {
            let goes = self.bytes > self.rule.bytes_max || self.is_old(key, now, 1);
            if !goes || contents.len() >= most {
                return;
            }
            contents.extend(self.take_content());
        }
    }
}

fn after(last: Option<Key>) -> Bound<Key> {
    last.map_or(Bound::Unbounded, Bound::Excluded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        Kind::new(name).expect("well-formed")
    }

    fn retention(age_ms: u64, jobs_max: usize, bytes_max: u64) -> Retention {
        Retention { age: Duration::from_millis(age_ms), jobs_max, bytes_max }
    }

    fn numbers(overdue: Overdue) -> (Vec<u128>, Vec<u128>) {
        let numbers = |ids: Vec<JobId>| {
            let mut numbers: Vec<u128> = ids.into_iter().map(|id| id.as_u128()).collect();
            numbers.sort_unstable();
            numbers
        };
        (numbers(overdue.jobs), numbers(overdue.contents))
    }

    /// Jobs 1 to 4, which ended so many seconds ago minus five, of these kinds and 10 bytes each.
    fn four(kinds: [&str; 4]) -> Retained {
        let mut retained = Retained::default();
        for (number, name) in (1..).zip(kinds) {
            retained.add(&kind(name), JobId::from_u128(number), Time(number as i64 * 1_000), Some(10), false);
        }
        retained
    }

    #[test]
    fn retention_takes_the_oldest_by_age_count_and_bytes() {
        // However many kinds share them.
        for kinds in [["a"; 4], ["a", "b", "a", "b"], ["a", "b", "c", "d"]] {
            let retained = four(kinds);
            let overdue = |age_ms, jobs_max, bytes_max| {
                let host = retention(age_ms, jobs_max, bytes_max);
                numbers(retained.overdue(&host, &HashMap::new(), Time(5_000), 100))
            };
            assert_eq!(overdue(1_000_000, 100, 100), (vec![], vec![]));
            assert_eq!(overdue(2_000, 100, 100), (vec![1], vec![2, 3]));
            assert_eq!(overdue(1_000_000, 3, 100), (vec![1], vec![]));
            assert_eq!(overdue(1_000_000, 100, 25), (vec![], vec![1, 2]));
            // The bytes of a job that goes count no more.
            assert_eq!(overdue(1_000_000, 3, 25), (vec![1], vec![2]));
        }
    }

    #[test]
    fn a_kinds_own_rules_go_before_the_hosts_and_its_jobs_count_among_all() {
        let retained = four(["a", "b", "a", "b"]);
        let overdue = |host: Retention, of_a: Retention| {
            numbers(retained.overdue(&host, &HashMap::from([(kind("a"), of_a)]), Time(5_000), 100))
        };
        let (all, none) = (retention(1_000_000, 100, 1_000), retention(0, 0, 0));
        assert_eq!(overdue(all, all), (vec![], vec![]));
        assert_eq!(overdue(all, none), (vec![1, 3], vec![]));
        assert_eq!(overdue(all, retention(2_000, 100, 100)), (vec![1], vec![3]));
        assert_eq!(overdue(all, retention(1_000_000, 1, 100)), (vec![1], vec![]));
        assert_eq!(overdue(all, retention(1_000_000, 100, 19)), (vec![], vec![1]));
        // Longer than the host's own, too.
        assert_eq!(overdue(retention(1_000, 100, 1_000), all), (vec![2], vec![4]));
        // But no kind takes more of the host's room than there is.
        assert_eq!(overdue(retention(1_000_000, 2, 1_000), all), (vec![1, 2], vec![]));
        assert_eq!(overdue(retention(1_000_000, 100, 20), all), (vec![], vec![1, 2]));
    }

    #[test]
    fn no_more_is_taken_at_a_time_than_was_asked_for() {
        let retained = four(["a", "b", "a", "b"]);
        for (host, taken) in
            [(retention(0, 100, 100), (3, 1)), (retention(1_000_000, 0, 0), (3, 1)), (retention(4_000, 9, 0), (0, 3))]
        {
            let Overdue { jobs, contents } = retained.overdue(&host, &HashMap::new(), Time(5_000), 3);
            assert!((jobs.len(), contents.len()) == taken, "{host:?}: {jobs:?} {contents:?}");
        }
    }

    #[test]
    fn of_a_job_that_stays_only_the_content_goes() {
        let mut retained = Retained::default();
        retained.add(&kind("a"), JobId::from_u128(1), Time(1), Some(10), true);
        retained.add(&kind("a"), JobId::from_u128(2), Time(2), Some(10), false);
        let overdue = retained.overdue(&retention(1, 0, 0), &HashMap::new(), Time(5_000), 100);
        assert_eq!(numbers(overdue), (vec![2], vec![1]));
        retained.remove(&kind("a"), JobId::from_u128(2), Time(2));
        assert_eq!(retained.kinds[&kind("a")].content_bytes, 10);
        retained.remove(&kind("a"), JobId::from_u128(1), Time(1));
        assert!(retained.kinds.is_empty());
    }
}
