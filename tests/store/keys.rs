//! Idempotency keys and full queues: how many jobs come of how many requests.

use std::collections::HashMap;
use std::time::Duration;

use dropforge::job::{Ended, Job, JobId, State};
use dropforge::store::{Admission, IdempotencyKey, NewJob, Retention, StoreError};
use dropforge::time::Time;
use futures_util::future::join_all;

use crate::parts::{NOW, assert_refused, at, job, job_but, kind, noise, permanent};
use crate::place::Place;

/// How long keys are remembered in these stories.
const KEPT: i64 = 100;
/// A retention that takes no jobs, only keys whose time is over.
const KEYS_ONLY: Retention = Retention { age: Duration::MAX, jobs_max: usize::MAX, bytes_max: u64::MAX };

/// The same key, given with this request at this moment.
fn with_key(request: u8, now: Time) -> Admission {
    let kept_until = now.after(Duration::from_secs(KEPT as u64));
    Admission {
        queue_max: u64::MAX,
        key: Some(IdempotencyKey { name: [7; 32], request: [request; 32], now, kept_until }),
        workers: None,
    }
}

impl Place {
    async fn ask(&self, request: u8, now: Time) -> Result<Job, StoreError> {
        self.submit(job_but("a", |job| job.created_at = now), with_key(request, now)).await
    }

    async fn ask_well(&self, request: u8, now: Time) -> JobId {
        self.ask(request, now).await.expect("accepted, now or before").id
    }
}

#[tokio::test]
async fn the_same_key_and_request_is_the_same_job_also_after_a_reopen() {
    let mut place = Place::new().await;
    let first = place.ask_well(1, NOW).await;
    for seconds in [0, 1, KEPT - 1] {
        assert_eq!(place.ask_well(1, at(seconds)).await, first);
        place = place.reopened().await;
        assert_eq!(place.ask_well(1, at(seconds)).await, first);
    }
    assert_eq!(place.all().len(), 1);
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn the_same_key_is_answered_with_the_job_as_it_is_now() {
    let place = Place::new().await;
    let id = place.ask_well(1, NOW).await;
    let claimed = place.take("a");
    assert_eq!(place.ask(1, NOW).await.ok(), Some(place.job(id)));
    assert_eq!(place.job(id).state, State::Running);
    let ended = place.end(&claimed, Ended::Succeeded).await;
    assert_eq!(place.ask(1, NOW).await.ok(), Some(ended));
    assert!(place.claim_all(&[("a", 9)], NOW).is_empty(), "nothing is run twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_with_the_same_key_at_once_are_one_job() {
    let place = Place::new().await;
    let answers = join_all((0..100).map(|_| place.ask(1, NOW))).await;
    let first = answers[0].as_ref().expect("accepted").id;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|job| job.id == first)));
    let place = place.reopened().await;
    assert_eq!(place.all().len(), 1);
    assert_eq!(place.claim_all(&[("a", 200)], NOW).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_different_requests_with_the_same_key_at_once_one_is_accepted() {
    let place = Place::new().await;
    let answers = join_all((0..100).map(|request| place.ask(request, NOW))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(StoreError::KeyReused))).count(), 99);
    assert_eq!(place.all().len(), 1);
}

#[tokio::test]
async fn the_same_key_with_another_request_is_refused_also_after_a_reopen() {
    let place = Place::new().await;
    place.ask_well(1, NOW).await;
    assert_refused(place.ask(2, NOW).await, |error| matches!(error, StoreError::KeyReused));
    let place = place.reopened().await;
    assert_refused(place.ask(2, NOW).await, |error| matches!(error, StoreError::KeyReused));
    assert_eq!(place.all().len(), 1);
}

#[tokio::test]
async fn a_key_whose_time_is_over_makes_a_new_job() {
    for tidied in [false, true] {
        let place = Place::new().await;
        let first = place.ask_well(1, NOW).await;
        if tidied {
            place.retain(&KEYS_ONLY, &HashMap::new(), at(KEPT)).await.expect("the disk works");
        }
        let second = place.ask_well(2, at(KEPT)).await;
        assert_ne!(first, second);
        let place = place.reopened().await;
        assert_eq!(place.ask_well(2, at(KEPT)).await, second);
        assert_eq!(place.all().len(), 2);
    }
}

/// Tidying up after a key's first time must not take the second with it.
#[tokio::test]
async fn a_key_that_came_again_is_kept_for_its_new_time() {
    for reopened in [false, true] {
        let mut place = Place::new().await;
        place.ask_well(1, NOW).await;
        let second = place.ask_well(1, at(KEPT)).await;
        if reopened {
            place = place.reopened().await;
        }
        place.retain(&KEYS_ONLY, &HashMap::new(), at(KEPT + 1)).await.expect("the disk works");
        assert_eq!(place.ask_well(1, at(KEPT + 2)).await, second);
        place.retain(&KEYS_ONLY, &HashMap::new(), at(KEPT + KEPT)).await.expect("the disk works");
        assert_ne!(place.ask_well(1, at(KEPT + KEPT)).await, second);
    }
}

#[tokio::test]
async fn the_key_of_a_deleted_job_makes_a_new_job_and_is_kept_for_it() {
    let place = Place::new().await;
    let first = place.ask_well(1, NOW).await;
    place.end(&place.take("a"), permanent()).await;
    place.delete(first).await.expect("finished");
    let second = place.ask_well(1, at(50)).await;
    assert_ne!(first, second);
    place.retain(&KEYS_ONLY, &HashMap::new(), at(KEPT)).await.expect("the disk works");
    assert_eq!(place.ask_well(1, at(KEPT + 1)).await, second, "remembered from its second coming on");
    assert_eq!(place.all().len(), 1);
}

#[tokio::test]
async fn the_key_of_a_retried_job_is_still_its_key() {
    let place = Place::new().await;
    let id = place.ask_well(1, NOW).await;
    place.end(&place.take("a"), permanent()).await;
    place.retry(id, 100).await.expect("failed");
    assert_eq!(place.ask_well(1, NOW).await, id);
    assert_eq!(place.all().len(), 1);
}

#[tokio::test]
async fn a_refused_submit_does_not_use_up_its_key() {
    let place = Place::new().await;
    place.add(job("a")).await;
    let full = Admission { queue_max: 1, ..with_key(1, NOW) };
    assert_refused(place.submit(job("a"), full).await, |error| matches!(error, StoreError::QueueFull { queue_max: 1 }));
    let accepted = place.ask_well(2, NOW).await;
    assert_eq!(place.ask_well(2, NOW).await, accepted);
}

/// Not every engine finds this record too large, but one that does must not remember its key, not even for a moment.
#[tokio::test]
async fn a_job_that_cannot_be_stored_does_not_use_up_its_key() {
    let place = Place::new().await;
    for round in 0..10 {
        let key = |request: u8| {
            let with_key = with_key(request, NOW);
            Admission { key: with_key.key.map(|key| IdempotencyKey { name: [round; 32], ..key }), ..with_key }
        };
        let huge = job_but("a", |job| job.tags = vec!["x".repeat(10_000)]);
        let (first, second) = tokio::join!(place.submit(huge, key(1)), place.submit(job("a"), key(2)));
        assert!(first.is_ok() || second.is_ok(), "nobody has the key: {first:?}, {second:?}");
    }
}

#[tokio::test]
async fn a_request_seen_before_is_answered_even_by_a_full_queue() {
    let place = Place::new().await;
    let full = || Admission { queue_max: 1, ..with_key(1, NOW) };
    let first = place.submit(job("a"), full()).await.expect("there is room for one");
    let again = place.submit(job("a"), full()).await.expect("it was accepted before");
    assert_eq!(first.id, again.id);
}

/// The bytes of the second request are not needed, and must not stay for ever.
#[tokio::test]
async fn a_request_seen_before_leaves_no_bytes_behind() {
    let place = Place::new().await;
    place.ask_well(1, NOW).await;
    let before = place.bytes_on_disk();
    for seed in 0..3 {
        let new: NewJob = place.job_with_input("a", &noise(seed, 5 << 20));
        place.submit(new, with_key(1, NOW)).await.expect("accepted before");
    }
    let grown = place.bytes_on_disk().saturating_sub(before);
    assert!(grown < 3 << 20, "three repeated inputs of 5 MiB left {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_jobs_that_race_for_fifty_places_fifty_are_accepted() {
    let place = Place::new().await;
    let fifty = || Admission { queue_max: 50, key: None, workers: None };
    let answers = join_all((0..200).map(|_| place.submit(job("a"), fifty()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 50);
    let full = |answer: &Result<Job, StoreError>| matches!(answer, Err(StoreError::QueueFull { queue_max: 50 }));
    assert_eq!(answers.iter().filter(|answer| full(answer)).count(), 150);
    let place = place.reopened().await;
    assert_eq!(place.all().len(), 50);
    assert_eq!(place.counts(&kind("a")).unfinished(), 50);
    assert!(full(&place.submit(job("a"), fifty()).await), "also after a reopen");
}

#[tokio::test]
async fn a_place_in_the_queue_is_free_again_only_once_a_job_has_ended() {
    let place = Place::new().await;
    let two = || Admission { queue_max: 2, key: None, workers: None };
    let full = |answer: Result<Job, StoreError>| matches!(answer, Err(StoreError::QueueFull { queue_max: 2 }));
    for _ in 0..2 {
        place.submit(job("a"), two()).await.expect("there is room");
    }
    assert!(full(place.submit(job("a"), two()).await));
    place.submit(job("b"), two()).await.expect("each kind has a queue of its own");
    let claimed = place.take("a");
    assert!(full(place.submit(job("a"), two()).await), "a running job still counts");
    place.end(&claimed, Ended::Interrupted).await;
    assert!(full(place.submit(job("a"), two()).await));
    place.end(&place.take("a"), Ended::Succeeded).await;
    place.submit(job("a"), two()).await.expect("there is room again");
    assert!(full(place.submit(job("a"), two()).await));
}
