//! Cancelling, giving another life, deleting, expiring: what clients and time do to jobs.

use dropforge::job::{Code, Ended, Job, JobId, Progress, State};
use dropforge::store::{Attempt, EXPIRE_MAX, StoreError};
use dropforge::time::Time;

use crate::parts::{
    NOW, assert_refused, at, attempt, bytes_of, given, ids, job, job_but, job_for, kind, no_limit, noise, permanent,
    transient,
};
use crate::place::Place;

#[tokio::test]
async fn a_queued_a_scheduled_and_a_running_job_can_be_cancelled() {
    let place = Place::new().await;
    let running = place.add(job("a")).await;
    let claimed = place.claim_all(&[("a", 1)], at(1));
    assert_eq!(ids(&claimed), [running]);
    let queued = place.add(job("a")).await;
    let scheduled = place.add(job_for("a", at(60))).await;
    for id in [queued, scheduled, running] {
        let cancelled = place.cancel(id, None, at(2)).await.expect("unfinished");
        assert_eq!((cancelled.state, cancelled.finished_at), (State::Cancelled, Some(at(2))));
        assert_eq!((cancelled.run_at, cancelled.failure.as_ref(), cancelled.attempts), (None, None, 0));
        assert_eq!(place.job(id), cancelled);
    }
    place.check_counts(&["a"]);
    assert!(place.claim_all(&[("a", 9)], at(9_999)).is_empty());
    assert_eq!(place.next_due(NOW), None);
    let place = place.reopened().await;
    place.check_counts(&["a"]);
    assert!(place.claim_all(&[("a", 9)], at(9_999)).is_empty());
}

#[tokio::test]
async fn a_cancelled_attempt_leaves_when_it_started_and_how_far_it_came() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let _claimed = place.claim_all(&[("a", 1)], at(1));
    let progress = Progress { fraction: 0.4, message: "page 7 of 17".into() };
    place.cancel(id, Some(progress.clone()), at(2)).await.expect("unfinished");
    let place = place.reopened().await;
    let found = place.job(id);
    assert_eq!((found.started_at, found.progress), (Some(at(1)), progress));
}

#[tokio::test]
async fn a_job_that_waits_for_another_attempt_can_be_cancelled() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    place.end(&place.take("a"), transient()).await;
    let cancelled = place.cancel(id, None, at(2)).await.expect("unfinished");
    assert_eq!((cancelled.state, cancelled.attempts, cancelled.failure), (State::Cancelled, 1, None));
    assert!(place.claim_all(&[("a", 9)], at(9_999)).is_empty());
}

#[tokio::test]
async fn cancelling_is_idempotent_and_changes_no_outcome() {
    let place = Place::new().await;
    for state in [State::Cancelled, State::Succeeded, State::Failed] {
        let id = place.ended("a", state).await;
        let before = place.job(id);
        let progress = Progress { fraction: 0.9, message: "too late".into() };
        let answered = place.cancel(id, Some(progress), at(99)).await.expect("idempotent");
        assert_eq!((&answered, place.job(id)), (&before, before.clone()));
    }
}

#[tokio::test]
async fn a_failed_or_cancelled_job_gets_another_life_under_its_old_id() {
    let place = Place::new().await;
    for state in [State::Failed, State::Cancelled] {
        let id = place.add(place.job_with_input("a", b"the input")).await;
        match state {
            State::Cancelled => drop(place.cancel(id, None, NOW).await.expect("unfinished")),
            _ => drop(place.end(&place.take("a"), permanent()).await),
        }
        let reopened = place.retry(id, 100).await.expect("retried");
        assert_eq!((reopened.id, reopened.state, reopened.attempts), (id, State::Queued, 0));
        assert_eq!((reopened.failure.as_ref(), reopened.finished_at, reopened.started_at), (None, None, None));
        assert_eq!(place.job(id), reopened);
        place.check_counts(&["a"]);
        let claimed = place.take("a");
        assert_eq!((claimed.job.id, bytes_of(&given(&claimed).0.content)), (id, b"the input".to_vec()));
        assert_eq!(place.end(&claimed, Ended::Succeeded).await.attempts, 1);
    }
}

#[tokio::test]
async fn another_life_has_all_its_attempts_and_survives_a_reopen() {
    let place = Place::new().await;
    let id = place.add(job_but("a", |job| job.max_attempts = 1)).await;
    place.end(&place.take("a"), transient()).await;
    place.retry(id, 100).await.expect("failed");
    let place = place.reopened().await;
    assert_eq!(place.job(id).state, State::Queued);
    assert_eq!(place.end(&place.take("a"), transient()).await.attempts, 1);
}

#[tokio::test]
async fn only_failed_and_cancelled_jobs_get_another_life() {
    let place = Place::new().await;
    let (scheduled, succeeded) = (place.add(job_for("a", at(60))).await, place.ended("a", State::Succeeded).await);
    let running = place.add(job("a")).await;
    let _claimed = place.take("a");
    let queued = place.add(job("a")).await;
    for (id, state) in [
        (scheduled, State::Scheduled),
        (succeeded, State::Succeeded),
        (running, State::Running),
        (queued, State::Queued),
    ] {
        assert_refused(place.retry(id, 100).await, |error| matches!(error, StoreError::WrongState(_)));
        assert_eq!(place.job(id).state, state);
    }
}

#[tokio::test]
async fn only_finished_jobs_can_be_deleted() {
    let place = Place::new().await;
    let scheduled = place.add(job_for("a", at(60))).await;
    let running = place.add(job("a")).await;
    let _claimed = place.take("a");
    let queued = place.add(job("a")).await;
    for id in [scheduled, running, queued] {
        assert_refused(place.delete(id).await, |error| matches!(error, StoreError::WrongState(_)));
        assert!(place.exists(id));
    }
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn a_deleted_job_is_gone_with_all_it_left() {
    let place = Place::new().await;
    let (kept, before) = (place.ended("a", State::Succeeded).await, place.bytes_on_disk());
    let id = place.add(place.job_with_input("a", &noise(1, (5 << 20) + 1))).await;
    let artifacts = vec![place.artifact_of("page", &noise(2, 5 << 20)), place.artifact_of("small", &noise(3, 60_000))];
    let success = Attempt { artifacts, ..place.success_with(&noise(4, 5 << 20)) };
    place.finish(id, place.take("a").token, success).await.expect("the claim holds");
    let full = place.bytes_on_disk();
    assert!(full > before + (15 << 20));
    let deleted = place.delete(id).await.expect("finished");
    assert_eq!((deleted.id, deleted.state), (id, State::Succeeded));
    assert_nothing_is_left(&place, id).await;
    assert!(place.bytes_on_disk() < full - (15 << 20) + (1 << 20), "its 15 MiB are still on the disk");
    let place = place.reopened().await;
    assert_nothing_is_left(&place, id).await;
    assert!(place.exists(kept));
    place.check_counts(&["a"]);
}

/// Whoever deletes a job while its end is being written: nothing of it may stay behind for ever.
#[tokio::test]
async fn a_job_deleted_in_the_moment_it_ends_leaves_nothing() {
    let place = Place::new().await;
    let before = place.bytes_on_disk();
    for round in 0..10 {
        let id = place.add(job("a")).await;
        let artifacts = vec![place.artifact_of("page", &noise(round, 1 << 20))];
        let success = Attempt { artifacts, ..place.success_with(&noise(round + 100, 1 << 20)) };
        let (ended, deleted) = tokio::join!(place.finish(id, place.take("a").token, success), place.delete(id));
        ended.expect("the claim holds");
        if deleted.is_err() {
            place.delete(id).await.expect("finished");
        }
        assert_nothing_is_left(&place, id).await;
    }
    let grown = place.bytes_on_disk().saturating_sub(before);
    assert!(grown < 3 << 20, "ten deleted jobs of 2 MiB left {grown} bytes");
}

async fn assert_nothing_is_left(place: &Place, id: JobId) {
    assert!(!place.exists(id));
    assert!(place.all().iter().all(|job| job.id != id));
    assert!(matches!(place.output(id), Ok(None)));
    assert_eq!(place.artifacts(id).ok(), Some(vec![]));
    assert!(matches!(place.artifact(id, "page"), Ok(None)));
    assert_eq!(place.usage(id).ok(), Some(vec![]));
    assert_refused(place.delete(id).await, |error| matches!(error, StoreError::NotFound));
    assert_refused(place.retry(id, 100).await, |error| matches!(error, StoreError::NotFound));
}

#[tokio::test]
async fn a_job_that_was_not_started_in_time_fails_with_expired() {
    let place = Place::new().await;
    let with = |seconds: i64| job_but("a", |job| job.expires_at = Some(at(seconds)));
    let started = place.add(with(10)).await;
    let _claimed = place.take("a");
    let (queued, patient, endless) = (place.add(with(10)).await, place.add(with(11)).await, place.add(job("a")).await);
    let mut scheduled = job_for("a", at(60));
    scheduled.job.expires_at = Some(at(10));
    let scheduled = place.add(scheduled).await;
    assert_eq!(place.expire(at(9)).await.expect("the disk works").len(), 0);
    let mut expired: Vec<JobId> =
        place.expire(at(10)).await.expect("the disk works").iter().map(|job| job.id).collect();
    expired.sort();
    assert_eq!(expired, [queued, scheduled]);
    for id in expired {
        let found = place.job(id);
        assert_eq!((found.state, found.finished_at, found.attempts), (State::Failed, Some(at(10)), 0));
        assert_eq!(found.failure.map(|failure| failure.code), Some(Code::Expired));
    }
    assert_eq!(place.job(started).state, State::Running, "what was started may take its time");
    assert_eq!(place.expire(at(10)).await.expect("the disk works").len(), 0, "nothing expires twice");
    let place = place.reopened().await;
    place.check_counts(&["a"]);
    let claimed = place.claim_all(&[("a", 9)], at(10));
    assert_eq!(ids(&claimed), [started, patient, endless], "what was started when the host ended was started in time");
}

#[tokio::test]
async fn an_expired_job_can_be_retried_and_does_not_expire_again() {
    let place = Place::new().await;
    let id = place.add(job_but("a", |job| job.expires_at = Some(at(10)))).await;
    place.expire(at(10)).await.expect("the disk works");
    place.retry(id, 100).await.expect("failed");
    assert_eq!(place.expire(at(99)).await.expect("the disk works").len(), 0);
    let late = place.finish(id, place.take("a").token, attempt(Ended::Succeeded)).await;
    assert_eq!(late.map(|job| job.state).ok(), Some(State::Succeeded));
}

/// Fault: jobs brought back one by one fill a queue far beyond its cap.
#[tokio::test]
async fn a_retry_needs_a_place_in_the_queue_as_a_submit_does() {
    let place = Place::new().await;
    let ids = [place.add(job("a")).await, place.add(job("a")).await];
    for id in ids {
        place.cancel(id, None, NOW).await.expect("unfinished");
    }
    place.retry(ids[0], 1).await.expect("the queue is empty");
    assert_refused(place.retry(ids[1], 1).await, |error| matches!(error, StoreError::QueueFull { queue_max: 1 }));
    place.retry(ids[1], 2).await.expect("there is room for two");
}

/// Fault: a job is started although its time for that is over, as nobody has come to say so yet.
#[tokio::test]
async fn a_job_whose_time_to_be_started_is_over_is_not_claimed() {
    let place = Place::new().await;
    let with = |seconds: i64| job_but("a", |job| job.expires_at = Some(at(seconds)));
    let (first, in_time) = (place.add(with(10)).await, place.add(with(11)).await);
    let mut scheduled = job_for("a", at(5));
    scheduled.job.expires_at = Some(at(10));
    let scheduled = place.add(scheduled).await;
    let always = place.add(job("a")).await;
    assert_eq!(ids(&place.claim_all(&[("a", 1)], at(10))), [in_time]);
    assert_eq!(place.ahead(always, 9), Some(0), "who is too late is not in the row any more");
    assert_eq!(ids(&place.claim_all(&[("a", 9)], at(10))), [always]);
    assert_eq!((place.job(first).state, place.job(scheduled).state), (State::Queued, State::Queued));
    place.check_counts(&["a"]);
    let mut expired = ids_of(&place.expire(at(10)).await.expect("the disk works"));
    expired.sort();
    assert_eq!(expired, [first, scheduled]);
    place.check_counts(&["a"]);
    // In the last millisecond it is in time.
    let last = place.add(with(20)).await;
    let just_before = Time(at(20).0 - 1);
    assert_eq!(ids(&place.claim_all(&[("a", 1)], just_before)), [last]);
}

/// Fault: each job that expires takes a flush of its own, and everything else that the clock does waits for minutes.
#[tokio::test]
async fn many_jobs_expire_with_few_flushes() {
    let place = Place::new().await;
    let new = || job_but("a", |job| job.expires_at = Some(at(10)));
    let added = futures_util::future::join_all((0..EXPIRE_MAX + 1).map(|_| place.submit(new(), no_limit()))).await;
    assert!(added.iter().all(Result::is_ok));
    let before = place.commits();
    assert_eq!(place.expire(at(10)).await.expect("the disk works").len(), EXPIRE_MAX);
    let flushes = place.commits() - before;
    assert!(flushes < EXPIRE_MAX as u64 / 10, "{flushes} flushes");
    assert_eq!(place.expire(at(10)).await.expect("the disk works").len(), 1, "and the rest");
    assert_eq!(place.counts(&kind("a")).of(State::Failed), EXPIRE_MAX as u64 + 1);
}

fn ids_of(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}
