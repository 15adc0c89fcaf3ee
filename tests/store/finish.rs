//! Finishing: every way an attempt can end, and who may no longer end one.

use std::time::Duration;

use dropforge::job::{Code, Ended, Failure, Progress, State};
use dropforge::store::{Attempt, StoreError};

use crate::parts::{NOW, assert_refused, at, attempt, attempt_at, ids, job, job_but, noise, permanent, transient};
use crate::place::Place;

#[tokio::test]
async fn a_success_is_final() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let claimed = place.claim_all(&[("a", 1)], at(1)).pop().expect("one is queued");
    let progress = Progress { fraction: 1.0, message: "page 17 of 17".into() };
    let success = Attempt { progress: progress.clone(), started_at: at(2), now: at(3), ..place.success_with(b"done") };
    let answered = place.finish(id, claimed.token, success).await.expect("the claim holds");
    assert_eq!((answered.state, answered.attempts, answered.failure.as_ref()), (State::Succeeded, 1, None));
    assert_eq!((answered.started_at, answered.finished_at), (Some(at(2)), Some(at(3))));
    assert_eq!(answered.progress, progress);
    assert_eq!(place.job(id), answered);
    assert!(place.claim_all(&[("a", 9)], at(9_999)).is_empty());
    let place = place.reopened().await;
    assert_eq!(place.job(id), answered);
    assert_eq!(place.output_bytes(id), b"done");
    assert!(place.claim_all(&[("a", 9)], at(9_999)).is_empty());
}

#[tokio::test]
async fn a_permanent_failure_is_final() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let failure = Failure::new(Code::Trap, "unreachable");
    let ended = Ended::Failed(failure.clone(), None);
    let answered = place.finish(id, place.take("a").token, attempt_at(ended, at(4))).await.expect("the claim holds");
    assert_eq!((answered.state, answered.attempts, answered.failure), (State::Failed, 1, Some(failure)));
    assert_eq!(answered.finished_at, Some(at(4)));
    assert!(place.claim_all(&[("a", 9)], at(9_999)).is_empty());
    assert!(place.reopened().await.claim_all(&[("a", 9)], at(9_999)).is_empty());
}

#[tokio::test]
async fn a_transient_failure_schedules_another_attempt() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let failure = Failure::new(Code::Transient, "busy");
    let ended = Ended::Failed(failure.clone(), Some(Duration::from_secs(30)));
    let answered = place.finish(id, place.take("a").token, attempt_at(ended, at(4))).await.expect("the claim holds");
    assert_eq!((answered.state, answered.attempts, answered.failure), (State::Scheduled, 1, Some(failure)));
    assert_eq!((answered.run_at, answered.started_at, answered.finished_at), (Some(at(34)), None, None));
    place.check_counts(&["a"]);
    assert!(place.claim_all(&[("a", 9)], at(33)).is_empty());
    assert_eq!(ids(&place.claim_all(&[("a", 9)], at(34))), [id]);
}

#[tokio::test]
async fn retries_end_at_the_most_attempts() {
    let place = Place::new().await;
    let id = place.add(job_but("a", |job| job.max_attempts = 2)).await;
    assert_eq!(place.end(&place.take("a"), transient()).await.state, State::Scheduled);
    let second = place.claim_all(&[("a", 1)], at(60)).pop().expect("due by now");
    let answered = place.end(&second, transient()).await;
    assert_eq!((answered.state, answered.attempts), (State::Failed, 2));
    assert_eq!(answered.failure.map(|failure| failure.code), Some(Code::Transient));
    assert!(place.claim_all(&[("a", 9)], at(9_999)).is_empty());
    assert_eq!(place.job(id).run_at, None);
}

#[tokio::test]
async fn an_interrupted_job_is_queued_again_at_once_and_loses_no_attempt() {
    let mut place = Place::new().await;
    let id = place.add(job_but("a", |job| job.max_attempts = 1)).await;
    for interruptions in 1..=3 {
        let interrupted = Attempt {
            progress: Progress { fraction: 0.5, message: "half".into() },
            ..place.success_with(b"of no worth")
        };
        let interrupted = Attempt { ended: Ended::Interrupted, ..interrupted };
        let answered = place.finish(id, place.take("a").token, interrupted).await.expect("the claim holds");
        assert_eq!((answered.state, answered.attempts), (State::Queued, 0));
        assert_eq!((answered.interruptions, answered.started_at), (interruptions, None));
        assert_eq!(answered.progress, Progress::default());
        assert!(matches!(place.output(id), Ok(None)));
        place = place.reopened().await;
        assert_eq!(place.job(id), answered);
    }
    assert_eq!(place.end(&place.take("a"), Ended::Succeeded).await.state, State::Succeeded);
}

#[tokio::test]
async fn what_an_unsuccessful_attempt_wrote_is_not_kept() {
    let place = Place::new().await;
    place.add(job("a")).await;
    let before = place.bytes_on_disk();
    for (seed, ended) in [(0, Ended::Interrupted), (1, transient()), (2, permanent())] {
        let claimed = place.claim_all(&[("a", 1)], at(9_999)).pop().expect("not over yet");
        let artifacts = vec![place.artifact_of("page", &noise(seed, 3 << 20))];
        let unlucky = Attempt { ended, artifacts, ..place.success_with(&noise(seed + 10, 3 << 20)) };
        let job = place.finish(claimed.job.id, claimed.token, unlucky).await.expect("the claim holds");
        assert!(matches!(place.output(job.id), Ok(None)));
        assert_eq!(place.artifacts(job.id).ok(), Some(vec![]));
    }
    let grown = place.bytes_on_disk().saturating_sub(before);
    assert!(grown < 3 << 20, "18 MiB that nobody wants left {grown} bytes");
}

/// A job that was accepted must be able to end, however much is said about it.
#[tokio::test]
async fn the_most_a_host_says_about_a_job_can_be_kept() {
    let place = Place::new().await;
    let longest_type = format!("text/plain; x={}", "y".repeat(241));
    for ended in [Ended::Succeeded, permanent(), transient()] {
        let mut new = job_but(&"k".repeat(63), |job| {
            job.tags = (0..16).map(|_| "t".repeat(64)).collect();
            (job.timeout_ms, job.expires_at, job.run_at) = (Some(u64::MAX), Some(at(900)), Some(NOW));
        });
        new.input.media_type = longest_type.clone();
        let id = place.add(new).await;
        let claimed = place.take(&"k".repeat(63));
        let ended = match ended {
            Ended::Failed(failure, _) => Ended::Failed(Failure::new(failure.code, "m".repeat(2_000)), None),
            ended => ended,
        };
        let mut output = place.payload(b"done");
        output.media_type = longest_type.clone();
        let mut artifact = place.artifact_of(&"n".repeat(255), b"page");
        artifact.payload.media_type = longest_type.clone();
        let progress = Progress { fraction: 1.0, message: "p".repeat(256) };
        let last = Attempt { progress, output: Some(output), artifacts: vec![artifact], ..attempt(ended) };
        place.finish(id, claimed.token, last).await.expect("it ends like any other");
        place.cancel(id, None, NOW).await.expect("idempotent");
    }
}

#[tokio::test]
async fn a_second_finish_is_fenced() {
    let place = Place::new().await;
    for ended in [Ended::Succeeded, permanent(), transient(), Ended::Interrupted] {
        let id = place.add(job("a")).await;
        let claimed = place.take("a");
        let first = place.end(&claimed, ended).await;
        for again in [Ended::Succeeded, permanent(), transient(), Ended::Interrupted] {
            let refused = place.finish(id, claimed.token, attempt(again)).await;
            assert_refused(refused, |error| matches!(error, StoreError::Fenced));
        }
        assert_eq!(place.job(id), first);
        assert_eq!(place.usage(id).map(|reports| reports.len()).ok(), Some(1));
        place.cancel(id, None, NOW).await.expect("cancelling is idempotent");
    }
}

#[tokio::test]
async fn of_two_finishes_at_once_one_is_fenced() {
    let place = Place::new().await;
    for _ in 0..20 {
        let id = place.add(job("a")).await;
        let token = place.take("a").token;
        let (one, two) = tokio::join!(
            place.finish(id, token, attempt(Ended::Succeeded)),
            place.finish(id, token, attempt(permanent()))
        );
        let (kept, refused) = if one.is_ok() { (one, two) } else { (two, one) };
        assert_refused(refused, |error| matches!(error, StoreError::Fenced));
        assert_eq!(place.job(id), kept.expect("one claim, one outcome"));
    }
}

#[tokio::test]
async fn an_old_token_is_fenced_once_another_has_the_job() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let old = place.take("a");
    place.end(&old, Ended::Interrupted).await;
    let new = place.take("a");
    let late = place.finish(id, old.token, attempt(permanent())).await;
    assert_refused(late, |error| matches!(error, StoreError::Fenced));
    assert_eq!(place.job(id).state, State::Running);
    assert_eq!(place.end(&new, Ended::Succeeded).await.attempts, 1);
}

#[tokio::test]
async fn a_token_from_before_a_reopen_is_fenced() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let old = place.take("a").token;
    let place = place.reopened().await;
    let late = place.finish(id, old, attempt(Ended::Succeeded)).await;
    assert_refused(late, |error| matches!(error, StoreError::Fenced));
    let new = place.take("a");
    let late = place.finish(id, old, attempt(Ended::Succeeded)).await;
    assert_refused(late, |error| matches!(error, StoreError::Fenced));
    assert_eq!(place.end(&new, Ended::Succeeded).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_token_is_good_for_its_own_job_only() {
    let place = Place::new().await;
    let (one, two) = (place.add(job("a")).await, place.add(job("a")).await);
    let claimed = place.claim_all(&[("a", 2)], NOW);
    let crossed = place.finish(one, claimed[1].token, attempt(Ended::Succeeded)).await;
    assert_refused(crossed, |error| matches!(error, StoreError::Fenced));
    place.end(&claimed[0], Ended::Succeeded).await;
    assert_eq!((place.job(one).state, place.job(two).state), (State::Succeeded, State::Running));
}

#[tokio::test]
async fn a_cancelled_job_stays_cancelled_and_takes_only_the_report_of_its_attempt() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let claimed = place.take("a");
    let cancelled = place.cancel(id, None, at(5)).await.expect("a running job can be cancelled");
    let late = Attempt { artifacts: vec![place.artifact_of("page", b"page")], ..place.success_with(b"late") };
    let answered = place.finish(id, claimed.token, late).await.expect("its report is wanted");
    assert_eq!(answered, cancelled);
    let place = place.reopened().await;
    assert_eq!(place.job(id), cancelled);
    assert!(matches!(place.output(id), Ok(None)));
    assert_eq!(place.artifacts(id).ok(), Some(vec![]));
    assert_eq!(place.usage(id).map(|reports| reports.len()).ok(), Some(1));
}

#[tokio::test]
async fn an_attempt_that_was_cancelled_cannot_end_the_jobs_next_life() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let old = place.take("a");
    place.cancel(id, None, NOW).await.expect("a running job can be cancelled");
    place.retry(id, 100).await.expect("a cancelled job can be retried");
    let late = place.finish(id, old.token, attempt(Ended::Succeeded)).await;
    assert_refused(late, |error| matches!(error, StoreError::Fenced));
    let new = place.take("a");
    let late = place.finish(id, old.token, attempt(Ended::Succeeded)).await;
    assert_refused(late, |error| matches!(error, StoreError::Fenced));
    assert_eq!(place.end(&new, Ended::Succeeded).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_deleted_job_cannot_be_finished() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let claimed = place.take("a");
    place.cancel(id, None, NOW).await.expect("a running job can be cancelled");
    place.delete(id).await.expect("a cancelled job can be deleted");
    let late = place.finish(id, claimed.token, attempt(Ended::Succeeded)).await;
    assert_refused(late, |error| matches!(error, StoreError::NotFound));
    assert!(!place.exists(id));
}
