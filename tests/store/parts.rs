//! What the stories are made of: jobs, attempts, bytes, and looks at the result.

use std::time::Duration;

use dropforge::job::{Backoff, Code, Ended, Failure, Job, JobId, Kind, Progress, State, Usage};
use dropforge::store::{
    Admission, Attempt, Claimed, Content, Counts, Filter, NewJob, Options, Payload, Store, StoreError,
};
use dropforge::time::Time;

/// The moment at which every story begins.
pub(crate) const NOW: Time = Time(1_800_000_000_000);
/// Pauses between attempts, in every story. Attempts have no jitter.
pub(crate) const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// The moment so many seconds into the story.
pub(crate) fn at(seconds: i64) -> Time {
    Time(NOW.0 + seconds * 1_000)
}

pub(crate) fn kind(name: &str) -> Kind {
    Kind::new(name).expect("a well-formed kind")
}

/// A queued job with a small input, submitted at [`NOW`].
pub(crate) fn job(name: &str) -> NewJob {
    let job = Job {
        id: JobId::now_v7(),
        kind: kind(name),
        state: State::Queued,
        priority: 5,
        attempts: 0,
        max_attempts: 3,
        crashes: 0,
        interruptions: 0,
        progress: Progress::default(),
        failure: None,
        tags: Vec::new(),
        created_at: NOW,
        run_at: None,
        started_at: None,
        finished_at: None,
        timeout_ms: None,
        expires_at: None,
        owner: None,
    };
    let content = Content::Inline(job.id.as_bytes().to_vec().into());
    let input = Payload { media_type: "application/octet-stream".into(), content };
    NewJob { job, input, options: Options::default(), blobs: Vec::new(), webhook: None }
}

/// Such a job with something different about it.
pub(crate) fn job_but(name: &str, change: impl FnOnce(&mut Job)) -> NewJob {
    let mut new = job(name);
    change(&mut new.job);
    new
}

/// A job that waits for a moment.
pub(crate) fn job_for(name: &str, run_at: Time) -> NewJob {
    job_but(name, |job| (job.state, job.run_at) = (State::Scheduled, Some(run_at)))
}

/// As many jobs as anybody likes, and no key.
pub(crate) fn no_limit() -> Admission {
    Admission { queue_max: u64::MAX, key: None, workers: None }
}

/// An attempt that began and ended at [`NOW`] and left nothing but how it ended.
pub(crate) fn attempt(ended: Ended) -> Attempt {
    Attempt {
        ended,
        usage: Usage::default(),
        progress: Progress::default(),
        output: None,
        artifacts: Vec::new(),
        started_at: NOW,
        now: NOW,
        backoff: BACKOFF,
        jitter: 0.0,
    }
}

/// The same attempt, ended at another moment.
pub(crate) fn attempt_at(ended: Ended, now: Time) -> Attempt {
    Attempt { now, ..attempt(ended) }
}

/// A failure that another attempt may mend.
pub(crate) fn transient() -> Ended {
    Ended::Failed(Failure::new(Code::Transient, "busy"), None)
}

/// A failure that no other attempt would mend.
pub(crate) fn permanent() -> Ended {
    Ended::Failed(Failure::new(Code::PluginError, "no"), None)
}

pub(crate) fn ids(claimed: &[Claimed]) -> Vec<JobId> {
    claimed.iter().map(|claimed| claimed.job.id).collect()
}

pub(crate) fn payload(store: &Store, bytes: &[u8]) -> Payload {
    let mut upload = store.blobs().upload();
    // In pieces, as they come from a network.
    for piece in bytes.chunks(100_000) {
        upload.write(piece).expect("the disk works");
    }
    Payload { media_type: "application/octet-stream".into(), content: upload.finish().expect("the disk works") }
}

/// What a claimed job's plugin is given.
pub(crate) fn given(claimed: &Claimed) -> &(Payload, Options) {
    claimed.input.as_ref().expect("the disk gives back what it was given")
}

pub(crate) fn bytes_of(content: &Content) -> Vec<u8> {
    let mut reader = content.open(0).expect("the content can be opened");
    let mut bytes = Vec::new();
    loop {
        let chunk = reader.next_chunk(100_000).expect("the content can be read");
        if chunk.is_empty() {
            return bytes;
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// Bytes that look random, repeat nowhere and are the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    bytes.truncate(length);
    bytes
}

/// Every job the filter admits, newest first, by pages of this size.
pub(crate) fn all(store: &Store, filter: &Filter, page: usize) -> Vec<Job> {
    let (mut jobs, mut before) = (Vec::new(), None);
    loop {
        let (more, next) = store.list(filter, page, before).expect("the disk works");
        jobs.extend(more);
        match next {
            Some(next) => before = Some(next),
            None => return jobs,
        }
    }
}

/// Fails unless the counts are those of these jobs.
pub(crate) fn assert_counts(counts: &Counts, jobs: &[Job]) {
    for state in State::ALL {
        let listed = jobs.iter().filter(|job| job.state == state).count() as u64;
        assert_eq!(counts.of(state), listed, "jobs that are {}", state.as_str());
    }
}

/// Fails unless the store refused as expected.
pub(crate) fn assert_refused<T>(result: Result<T, StoreError>, expected: fn(&StoreError) -> bool) {
    match result {
        Ok(_) => panic!("what had to be refused was done"),
        Err(error) => assert!(expected(&error), "refused for another reason: {error}"),
    }
}
