//! The index of jobs that wait, with a million of them in it: one more, the next one picked, one taken out of the middle.
//!
//! Each is undone outside of the time that is counted, so that the million stays a million.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use criterion::Criterion;
use dropforge::job::JobId;
use dropforge::store::hot::{JobRecord, ReadyJobs};
use dropforge::time::Time;

const JOBS: u64 = 1_000_000;
/// Operations between two looks at the clock: many, since a look costs as much as an operation, and few against a million.
const AT_ONCE: u64 = 1_000;
/// Jobs that are submitted in the same millisecond.
const PER_MS: u64 = 40;
/// Far from each other, so that no two removals touch the same corner of the index.
const STRIDE: u64 = 7_919;

/// Does one of them so many times, and answers how long that took.
type Operation = fn(&mut ReadyJobs, u64) -> Duration;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ready");
    // Only if one of them is wanted.
    let jobs = RefCell::new(None);
    let operations: [(&str, Operation); 3] = [("insert", insert), ("pick", pick), ("remove", remove)];
    for (name, operation) in operations {
        group.bench_function(name, |bencher| {
            let mut jobs = jobs.borrow_mut();
            let jobs = jobs.get_or_insert_with(million);
            bencher.iter_custom(|times| in_pieces(times, |piece| operation(jobs, piece)));
        });
    }
    group.finish();
}

fn million() -> ReadyJobs {
    let mut jobs = ReadyJobs::empty();
    (0..JOBS).for_each(|number| jobs.insert(&record(number)));
    jobs
}

fn in_pieces(times: u64, mut piece: impl FnMut(u64) -> Duration) -> Duration {
    (0..times).step_by(AT_ONCE as usize).map(|done| piece(AT_ONCE.min(times - done))).sum()
}

/// The newest go to the end of the row.
fn insert(jobs: &mut ReadyJobs, times: u64) -> Duration {
    let new: Vec<JobRecord> = (JOBS..JOBS + times).map(record).collect();
    let began = Instant::now();
    new.iter().for_each(|job| jobs.insert(job));
    let taken = began.elapsed();
    new.iter().for_each(|job| jobs.remove(job));
    taken
}

/// The oldest is next.
fn pick(jobs: &mut ReadyJobs, times: u64) -> Duration {
    let (free, now) = ([(super::kind(), 1)], time(JOBS));
    let mut picked = Vec::with_capacity(times as usize);
    let began = Instant::now();
    picked.extend((0..times).map(|_| jobs.pick(&free, now).expect("a million are ready")));
    let taken = began.elapsed();
    for id in picked {
        let job = record(number(id));
        jobs.remove(&job);
        jobs.insert(&job);
    }
    taken
}

/// One that is cancelled may stand anywhere.
fn remove(jobs: &mut ReadyJobs, times: u64) -> Duration {
    let some: Vec<JobRecord> = (0..times).map(|number| record(number * STRIDE % JOBS)).collect();
    let began = Instant::now();
    some.iter().for_each(|job| jobs.remove(job));
    let taken = began.elapsed();
    some.iter().for_each(|job| jobs.insert(job));
    taken
}

fn record(number: u64) -> JobRecord {
    JobRecord::queued(JobId::from_u128(number.into()), super::kind(), time(number))
}

/// The number in a job's id.
fn number(id: JobId) -> u64 {
    id.as_u64_pair().1
}

fn time(number: u64) -> Time {
    Time(i64::try_from(number / PER_MS).expect("a few days at the most"))
}
