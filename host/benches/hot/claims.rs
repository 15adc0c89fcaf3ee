//! How workers come to jobs, several at a time: the claim of the queue, lock, look at the kinds, and reading the job included.
//!
//! The time is that of one claim, had by all threads together; with no contention at all two threads would halve it.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use dropforge::job::Backoff;
use dropforge::queue::{Queue, Runnable, Settings, Submission};
use dropforge::store::{self, Content, Options, Payload, Retention, Share, Store};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

const THREADS: [usize; 3] = [1, 2, 4];
/// Submits under way at a time: as many as one flush takes.
const SUBMITS_AT_ONCE: u64 = 256;
/// Nothing is retried, retained or uploaded here.
const NONE: Share = Share { uploads_max: 0, bytes_max: 0 };

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("claims");
    // Every claim needs a job, and submitting it takes many times as long as claiming it.
    group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
    for threads in THREADS {
        group.bench_with_input(BenchmarkId::new("threads", threads), &threads, |bencher, &threads| {
            bencher.iter_custom(|jobs| claim_all(threads, jobs));
        });
    }
    group.finish();
}

/// Submits so many jobs, and times the threads until they have claimed all of them.
fn claim_all(threads: usize, jobs: u64) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let queue = Arc::new(queue(folder.path()));
    runtime.block_on(submit(&queue, jobs));
    let start = Arc::new(Barrier::new(threads + 1));
    let claiming: Vec<_> = (0..threads as u64)
        .map(|thread| {
            let (queue, start) = (Arc::clone(&queue), Arc::clone(&start));
            let share = jobs / threads as u64 + u64::from(thread < jobs % threads as u64);
            thread::spawn(move || claim(&queue, share, &start))
        })
        .collect();
    start.wait();
    let began = Instant::now();
    claiming.into_iter().for_each(|thread| thread.join().expect("it claims its share"));
    began.elapsed()
}

/// A worker's loop, without the work.
fn claim(queue: &Queue, jobs: u64, start: &Barrier) {
    let runtime: Runtime = Builder::new_current_thread().build().expect("a runtime");
    let kinds: Arc<[Runnable]> = [Runnable { kind: super::kind(), concurrency_max: usize::MAX }].into();
    let (_sender, kinds) = watch::channel(kinds);
    start.wait();
    runtime.block_on(async {
        for _ in 0..jobs {
            // Dropped, it gives its place back, as it would at its end.
            drop(queue.claim(&kinds).await);
        }
    });
}

fn queue(folder: &Path) -> Queue {
    let settings = store::Settings { claims_max: THREADS[THREADS.len() - 1], reserve_bytes: 0 };
    let store = Store::open(folder, &settings).expect("a new folder");
    let settings = Settings {
        queue_max: u64::MAX,
        backoff: Backoff { first: Duration::ZERO, longest: Duration::ZERO },
        crashes_max: 1,
        retention: Retention { age: Duration::MAX, jobs_max: usize::MAX, bytes_max: u64::MAX },
        keys_kept: Duration::ZERO,
        uploads_kept: Duration::ZERO,
        uploads_share: NONE,
        listeners_max: 1,
        workers: THREADS[THREADS.len() - 1],
    };
    Queue::new(store, settings)
}

async fn submit(queue: &Arc<Queue>, jobs: u64) {
    for done in (0..jobs).step_by(SUBMITS_AT_ONCE as usize) {
        let mut submits = JoinSet::new();
        for _ in 0..SUBMITS_AT_ONCE.min(jobs - done) {
            let queue = Arc::clone(queue);
            submits.spawn(async move { queue.submit(submission()).await.map(drop) });
        }
        while let Some(submitted) = submits.join_next().await {
            submitted.expect("no submit panics").expect("the queue has room");
        }
    }
}

fn submission() -> Submission {
    let content = Content::Inline(br#"{"message":"hi","seconds":0}"#.as_slice().into());
    Submission {
        kind: super::kind(),
        input: Payload { media_type: "application/json".to_owned(), content },
        options: Options::default(),
        blobs: Vec::new(),
        webhook: None,
        priority: 5,
        max_attempts: 1,
        not_before: None,
        timeout: None,
        expires_in: None,
        tags: Vec::new(),
        queue_max: None,
        owner: None,
        key: None,
    }
}
