//! Retention: what is left of finished jobs, for how long, and that what is taken is really gone.

use std::collections::HashMap;
use std::time::Duration;

use dropforge::job::{Ended, JobId, State};
use dropforge::store::{Attempt, Retention, StoreError};
use dropforge::time::Time;

use crate::parts::{NOW, assert_refused, at, attempt, bytes_of, given, job, noise, permanent};
use crate::place::Place;

/// Everything is kept for ever.
const ALL: Retention = Retention { age: Duration::MAX, jobs_max: usize::MAX, bytes_max: u64::MAX };

impl Place {
    /// Takes away all that is kept for too long.
    async fn tidy(&self, retention: &Retention, now: Time) {
        while self.retain(retention, &HashMap::new(), now).await.expect("the disk works") {}
    }

    /// A job that succeeded at this moment, with so many bytes of result besides 10 of input.
    async fn succeeded(&self, now: Time, output: &[u8]) -> JobId {
        let id = self.add(self.job_with_input("a", &[0; 10])).await;
        let success = Attempt { now, ..self.success_with(output) };
        self.finish(id, self.take("a").token, success).await.expect("the claim holds");
        id
    }

    fn is_gone(&self, id: JobId) -> bool {
        matches!(self.output(id), Err(StoreError::Gone))
    }
}

#[tokio::test]
async fn the_content_goes_by_age_and_later_the_record() {
    let place = Place::new().await;
    let retention = Retention { age: Duration::from_secs(100), ..ALL };
    let (old, young) = (place.succeeded(NOW, b"old").await, place.succeeded(at(1), b"young").await);
    place.tidy(&retention, at(99)).await;
    assert_eq!((place.output_bytes(old), place.output_bytes(young)), (b"old".to_vec(), b"young".to_vec()));
    place.tidy(&retention, at(100)).await;
    assert!(place.is_gone(old));
    assert_refused(place.artifacts(old), |error| matches!(error, StoreError::Gone));
    assert_refused(place.artifact(old, "page"), |error| matches!(error, StoreError::Gone));
    assert_eq!(place.job(old).state, State::Succeeded, "the record is still there");
    assert_eq!(place.usage(old).map(|reports| reports.len()).ok(), Some(1), "and so is its report");
    assert_eq!(place.output_bytes(young), b"young");
    let place = place.reopened().await;
    assert!(place.is_gone(old));
    place.tidy(&retention, at(199)).await;
    assert!(place.exists(old));
    place.tidy(&retention, at(200)).await;
    assert!(!place.exists(old));
    assert!(matches!(place.output(old), Ok(None)));
    assert_eq!(place.usage(old).ok(), Some(vec![]));
    assert!(place.is_gone(young) && place.exists(young));
    place.check_counts(&["a"]);
    let place = place.reopened().await;
    assert!(!place.exists(old) && place.exists(young));
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn of_too_many_finished_jobs_the_oldest_go_altogether() {
    let place = Place::new().await;
    let mut finished = Vec::new();
    // The oldest is the one that ended first, whenever it was submitted.
    for seconds in [4, 2, 0, 1, 3] {
        finished.push((seconds, place.succeeded(at(seconds), b"x").await));
    }
    let waiting = place.add(job("a")).await;
    place.tidy(&Retention { jobs_max: 5, ..ALL }, at(9)).await;
    assert_eq!(place.all().len(), 6, "unfinished jobs do not count");
    let place = place.reopened().await;
    place.tidy(&Retention { jobs_max: 2, ..ALL }, at(9)).await;
    for (seconds, id) in finished {
        assert_eq!(place.exists(id), seconds >= 3, "the one that ended at {seconds} s");
    }
    assert!(place.exists(waiting));
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn of_too_many_bytes_the_oldest_contents_go_and_the_records_stay() {
    let place = Place::new().await;
    let mut finished = Vec::new();
    for (seconds, size) in [(0, 90), (1, 990), (2, 99_990), (3, 190)] {
        finished.push(place.succeeded(at(seconds), &noise(1, size)).await);
    }
    let gone = |place: &Place| finished.iter().map(|id| place.is_gone(*id)).collect::<Vec<_>>();
    // 100, 1,000, 100,000 and 200 bytes with their inputs.
    place.tidy(&Retention { bytes_max: 101_300, ..ALL }, at(9)).await;
    assert_eq!(gone(&place), [false; 4]);
    place.tidy(&Retention { bytes_max: 101_299, ..ALL }, at(9)).await;
    assert_eq!(gone(&place), [true, false, false, false]);
    let place = place.reopened().await;
    place.tidy(&Retention { bytes_max: 101_199, ..ALL }, at(9)).await;
    assert_eq!(gone(&place), [true, true, false, false]);
    place.tidy(&Retention { bytes_max: 200, ..ALL }, at(9)).await;
    assert_eq!(gone(&place), [true, true, true, false]);
    assert_eq!(place.output_bytes(finished[3]).len(), 190);
    assert!(finished.iter().all(|id| place.exists(*id)));
}

#[tokio::test]
async fn jobs_that_are_not_finished_are_kept_whatever_their_age() {
    let place = Place::new().await;
    let id = place.add(place.job_with_input("a", b"precious")).await;
    let nothing = Retention { age: Duration::ZERO, jobs_max: 0, bytes_max: 0 };
    place.tidy(&nothing, at(1_000_000)).await;
    let claimed = place.take("a");
    assert_eq!(bytes_of(&given(&claimed).0.content), b"precious");
    place.tidy(&nothing, at(1_000_000)).await;
    place.end(&claimed, Ended::Succeeded).await;
    assert!(place.exists(id));
    place.tidy(&nothing, at(1_000_000)).await;
    assert!(place.all().is_empty());
}

#[tokio::test]
async fn a_job_whose_content_is_gone_cannot_be_retried() {
    let place = Place::new().await;
    let (failed, cancelled) = (place.ended("a", State::Failed).await, place.ended("a", State::Cancelled).await);
    place.tidy(&Retention { bytes_max: 0, ..ALL }, NOW).await;
    for id in [failed, cancelled] {
        assert_refused(place.retry(id, 100).await, |error| matches!(error, StoreError::Gone));
    }
    let place = place.reopened().await;
    for id in [failed, cancelled] {
        assert_refused(place.retry(id, 100).await, |error| matches!(error, StoreError::Gone));
        place.delete(id).await.expect("what is left can be deleted");
    }
}

#[tokio::test]
async fn a_retried_job_is_no_longer_in_retentions_reach() {
    let place = Place::new().await;
    let id = place.ended("a", State::Failed).await;
    place.retry(id, 100).await.expect("failed");
    place.tidy(&Retention { jobs_max: 0, bytes_max: 0, ..ALL }, NOW).await;
    let claimed = place.take("a");
    assert_eq!(claimed.job.id, id);
    // It is as old as its newest end.
    place.finish(id, claimed.token, Attempt { now: at(500), ..attempt(permanent()) }).await.expect("the claim holds");
    place.tidy(&Retention { age: Duration::from_secs(100), ..ALL }, at(599)).await;
    assert!(place.retry(id, 100).await.is_ok());
}

#[tokio::test]
async fn many_overdue_jobs_are_taken_in_few_rounds() {
    let place = Place::new().await;
    for _ in 0..450 {
        place.add(job("a")).await;
    }
    for claimed in place.claim_all(&[("a", 450)], NOW) {
        place.cancel(claimed.job.id, None, NOW).await.expect("unfinished");
    }
    let mut rounds = 1;
    while place.retain(&Retention { jobs_max: 0, ..ALL }, &HashMap::new(), NOW).await.expect("the disk works") {
        rounds += 1;
        assert!(rounds <= 10, "no end of rounds");
    }
    assert!(place.all().is_empty());
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn the_bytes_of_what_is_gone_are_gone_from_the_disk() {
    let place = Place::new().await;
    place.ended("a", State::Succeeded).await;
    let empty = place.bytes_on_disk();
    for seed in 0..3 {
        place.succeeded(NOW, &noise(seed, 5 << 20)).await;
    }
    let full = place.bytes_on_disk();
    assert!(full >= empty + (15 << 20));
    place.tidy(&Retention { bytes_max: 6 << 20, ..ALL }, NOW).await;
    let less = place.bytes_on_disk();
    assert!(less + (9 << 20) < full, "two of three results went, but only {} bytes", full - less);
    place.tidy(&Retention { jobs_max: 0, ..ALL }, NOW).await;
    let (least, place) = (place.bytes_on_disk(), place.reopened().await);
    assert!(least < empty + (3 << 20), "{} bytes are left of jobs that are gone", least - empty);
    assert!(place.bytes_on_disk() < empty + (3 << 20));
}

#[tokio::test]
async fn equal_contents_stay_until_the_last_of_their_jobs_goes() {
    let mut place = Place::new().await;
    let bytes = noise(1, 5 << 20);
    let as_input = place.add(place.job_with_input("a", &bytes)).await;
    let as_artifact = {
        place.end(&place.take("a"), permanent()).await;
        let id = place.add(job("a")).await;
        let artifacts = vec![place.artifact_of("one", &bytes), place.artifact_of("two", &bytes)];
        let success = Attempt { artifacts, ..attempt(Ended::Succeeded) };
        place.finish(id, place.take("a").token, success).await.expect("the claim holds");
        id
    };
    let as_output = place.succeeded(NOW, &bytes).await;
    for reopened in [true, false] {
        if reopened {
            place.delete(as_input).await.expect("finished");
        } else {
            place.delete(as_artifact).await.expect("finished");
        }
        assert!(place.output_bytes(as_output) == bytes, "the other's content must stay");
        if reopened {
            place = place.reopened().await;
            let artifact = place.artifact(as_artifact, "two").expect("readable").expect("there");
            assert!(bytes_of(&artifact.payload.content) == bytes, "the other's content must stay");
        }
    }
    let before = place.bytes_on_disk();
    place.delete(as_output).await.expect("finished");
    assert!(place.bytes_on_disk() + (4 << 20) < before, "nobody names it any more");
}

#[tokio::test]
async fn a_content_that_is_being_read_outlives_its_job() {
    let place = Place::new().await;
    for size in [1_000, 5 << 20] {
        let bytes = noise(2, size);
        let id = place.succeeded(NOW, &bytes).await;
        let payload = place.output(id).expect("readable").expect("there is a result");
        place.delete(id).await.expect("finished");
        assert!(bytes_of(&payload.content) == bytes);
    }
}

/// A job's result goes in the middle of a reader's request: that is no damage and no broken disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_while_a_content_goes_sees_all_of_it_or_that_it_is_gone() {
    let place = Place::new().await;
    for round in 0..40 {
        let bytes = noise(round, if round % 2 == 0 { 60_000 } else { 70_000 });
        let id = place.succeeded(NOW, &bytes).await;
        let read_to_the_end = || loop {
            match place.output(id) {
                Ok(Some(payload)) => assert_eq!(payload.content.size(), bytes.len() as u64),
                Ok(None) | Err(StoreError::Gone) => return,
                Err(error) => panic!("round {round}: {error}"),
            }
        };
        let retention =
            if round % 4 < 2 { Retention { bytes_max: 0, ..ALL } } else { Retention { jobs_max: 0, ..ALL } };
        tokio::join!(place.tidy(&retention, NOW), async { tokio::task::block_in_place(read_to_the_end) });
    }
}
