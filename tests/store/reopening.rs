//! Opening and closing: one host at a time, nothing accepted is lost, what memory held is rebuilt.

use dropforge::job::{Ended, State};
use dropforge::store::StoreError;
use futures_util::future::{join, join_all};

use crate::parts::{NOW, assert_refused, at, attempt_at, ids, job, job_for, kind, no_limit, permanent, transient};
use crate::place::{Place, SETTINGS};

#[tokio::test]
async fn a_place_has_one_host_at_a_time() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let second = crate::open(place.path(), &SETTINGS);
    assert_refused(second, |error| matches!(error, StoreError::Locked(_)));
    assert_eq!(place.take("a").job.id, id, "the first host is not disturbed");
    let place = place.reopened().await;
    assert!(place.exists(id));
}

#[tokio::test]
async fn a_place_that_was_never_used_opens_empty() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let below = folder.path().join("not/yet/there");
    let store = crate::open(&below, &SETTINGS).expect("the place opens");
    let (jobs, next) = store.list(&Default::default(), 9, None).expect("the disk works");
    assert_eq!((jobs.len(), next), (0, None));
    assert_eq!((store.next_due(NOW), store.counts(&kind("a")).unfinished()), (None, 0));
    assert!(store.claim(&[(kind("a"), 9)], 9, NOW).is_empty());
}

#[tokio::test]
async fn closing_finishes_what_was_asked_and_refuses_the_rest() {
    let place = Place::new().await;
    let asked = join_all((0..20).map(|_| place.submit(job("a"), no_limit())));
    // The first of the two is polled first, so all twenty have been handed over when the store closes.
    let (answers, ()) = join(asked, async { place.close() }).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_refused(place.submit(job("a"), no_limit()).await, |error| matches!(error, StoreError::Closed));
    let place = place.reopened().await;
    assert_eq!(place.counts(&kind("a")).of(State::Queued), 20);
}

#[tokio::test]
async fn running_jobs_are_queued_again_after_a_reopen_and_charged_nothing() {
    let place = Place::new().await;
    let added = [place.add(job("a")).await, place.add(job("a")).await];
    let claimed = place.claim_all(&[("a", 2)], at(5));
    assert_eq!(ids(&claimed), added);
    let running = place.job(added[0]);
    assert_eq!((running.state, running.started_at), (State::Running, Some(at(5))));
    drop(claimed);
    let place = place.reopened().await;
    assert!(place.suspects.is_empty());
    for id in added {
        let found = place.job(id);
        assert_eq!((found.state, found.started_at), (State::Queued, None));
        assert_eq!((found.attempts, found.crashes, found.interruptions), (0, 0, 0));
    }
    place.check_counts(&["a"]);
    assert_eq!(ids(&place.claim_all(&[("a", 9)], NOW)), added);
}

#[tokio::test]
async fn every_state_survives_a_reopen() {
    let place = Place::new().await;
    let finished = [
        place.ended("a", State::Succeeded).await,
        place.ended("a", State::Failed).await,
        place.ended("a", State::Cancelled).await,
    ];
    let again = place.add(job("a")).await;
    place.end(&place.take("a"), transient()).await;
    let interrupted = place.add(job("a")).await;
    place.end(&place.take("a"), Ended::Interrupted).await;
    let scheduled = place.add(job_for("a", at(60))).await;
    let deleted = place.ended("b", State::Succeeded).await;
    place.delete(deleted).await.expect("finished jobs can be deleted");
    let before = place.all();
    assert_eq!(before.len(), 6);
    let place = place.reopened().await;
    assert_eq!(place.all(), before);
    place.check_counts(&["a", "b"]);
    assert!(!place.exists(deleted));
    let states = finished.map(|id| place.job(id).state);
    assert_eq!(states, [State::Succeeded, State::Failed, State::Cancelled]);
    assert_eq!(place.job(again).run_at, Some(at(1)));
    assert_eq!(place.job(interrupted).interruptions, 1);
    assert_eq!(ids(&place.claim_all(&[("a", 9)], NOW)), [interrupted]);
    assert_eq!(ids(&place.claim_all(&[("a", 9)], at(1))), [again]);
    assert_eq!(ids(&place.claim_all(&[("a", 9)], at(60))), [scheduled]);
}

#[tokio::test]
async fn attempts_add_up_across_reopens() {
    let mut place = Place::new().await;
    let id = place.add(job("a")).await;
    for attempts in 1..=3 {
        let now = at(100 * i64::from(attempts));
        let claimed = place.claim_all(&[("a", 1)], now).pop().expect("due by now");
        let ended = if attempts < 3 { transient() } else { permanent() };
        let job = place.finish(id, claimed.token, attempt_at(ended, now)).await.expect("the claim holds");
        drop(claimed);
        place = place.reopened().await;
        assert_eq!(place.job(id), job);
        assert_eq!(job.attempts, attempts);
    }
    assert_eq!(place.job(id).state, State::Failed);
}
