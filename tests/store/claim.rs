//! Claiming: who is next, how many, and that nobody is handed out twice.

use std::collections::HashSet;
use std::thread;

use dropforge::job::{Ended, JobId, State};
use dropforge::time::Time;
use futures_util::future::join_all;

use crate::parts::{NOW, at, attempt_at, ids, job, job_but, job_for, kind, no_limit, transient};
use crate::place::Place;

#[tokio::test]
async fn equal_jobs_are_claimed_in_the_order_of_their_submission() {
    let place = Place::new().await;
    let mut added = Vec::new();
    for _ in 0..5 {
        added.push(place.add(job("a")).await);
    }
    assert_eq!(ids(&place.claim_all(&[("a", 2)], NOW)), added[..2]);
    let place = place.reopened().await;
    assert_eq!(ids(&place.claim_all(&[("a", 9)], NOW)), added, "also after a reopen");
}

#[tokio::test]
async fn higher_priorities_are_claimed_first() {
    let place = Place::new().await;
    let mut added = Vec::new();
    for priority in [3, 0, 9, 5] {
        added.push(place.add(job_but("a", |job| job.priority = priority)).await);
    }
    let expected = [added[2], added[3], added[0], added[1]];
    assert_eq!(ids(&place.claim_all(&[("a", 9)], NOW)), expected);
    let place = place.reopened().await;
    assert_eq!(ids(&place.claim_all(&[("a", 9)], NOW)), expected, "also after a reopen");
}

#[tokio::test]
async fn a_job_of_low_priority_ages_past_newer_ones_of_high_priority() {
    let place = Place::new().await;
    let low = place.add(job_but("a", |job| job.priority = 0)).await;
    let soon = place.add(job_but("a", |job| (job.priority, job.created_at) = (9, at(1)))).await;
    let late = place.add(job_but("a", |job| (job.priority, job.created_at) = (9, at(3_600)))).await;
    assert_eq!(ids(&place.claim_all(&[("a", 9)], at(3_600))), [soon, low, late]);
}

#[tokio::test]
async fn what_counts_is_when_a_job_is_due_and_not_when_it_was_submitted() {
    let place = Place::new().await;
    let later = place.add(job_for("a", at(20))).await;
    let sooner = place.add(job_for("a", at(10))).await;
    let between = place.add(job_but("a", |job| job.created_at = at(15))).await;
    assert_eq!(ids(&place.claim_all(&[("a", 9)], at(30))), [sooner, between, later]);
}

#[tokio::test]
async fn a_scheduled_job_is_not_claimed_before_its_time() {
    let mut place = Place::new().await;
    let id = place.add(job_for("a", at(60))).await;
    for _ in 0..2 {
        assert!(place.claim_all(&[("a", 9)], Time(at(60).0 - 1)).is_empty());
        assert_eq!(place.job(id).state, State::Scheduled);
        assert_eq!(place.next_due(at(59)).map(|pause| pause.as_millis()), Some(1_000));
        place = place.reopened().await;
    }
    let claimed = place.claim_all(&[("a", 9)], at(60));
    assert_eq!(ids(&claimed), [id]);
    assert_eq!((claimed[0].job.state, claimed[0].job.started_at), (State::Running, Some(at(60))));
    assert_eq!(place.next_due(at(60)), None);
}

#[tokio::test]
async fn a_job_that_failed_for_the_moment_is_not_claimed_before_its_pause_is_over() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let claimed = place.take("a");
    place.finish(id, claimed.token, attempt_at(transient(), at(10))).await.expect("the claim holds");
    assert!(place.claim_all(&[("a", 9)], at(10)).is_empty());
    let place = place.reopened().await;
    assert!(place.claim_all(&[("a", 9)], at(10)).is_empty());
    assert_eq!(ids(&place.claim_all(&[("a", 9)], at(11))), [id]);
}

#[tokio::test]
async fn no_more_are_claimed_than_there_is_room_for() {
    let place = Place::new().await;
    for name in ["a", "b", "c"] {
        for _ in 0..4 {
            place.add(job(name)).await;
        }
    }
    let kinds_of = |free: &[(&str, usize)], total| {
        let free: Vec<_> = free.iter().map(|(name, slots)| (kind(name), *slots)).collect();
        let claimed = place.claim(&free, total, NOW);
        claimed.iter().map(|claimed| claimed.job.kind.to_string()).collect::<String>()
    };
    assert_eq!(kinds_of(&[("b", 2), ("a", 1)], 9), "bba", "each kind has its limit, in the order of asking");
    assert_eq!(kinds_of(&[("a", 2), ("b", 2)], 3), "aab", "all together have theirs");
    assert_eq!(kinds_of(&[("a", 0), ("d", 3)], 9), "", "of other kinds there is none");
    assert_eq!(kinds_of(&[("a", 9), ("b", 9), ("c", 9)], 0), "");
    assert_eq!(kinds_of(&[], 9), "");
    assert_eq!(kinds_of(&[("a", 9), ("b", 9)], 9), "ab");
    place.check_counts(&["a", "b", "c"]);
}

#[tokio::test]
async fn a_claimed_job_is_running_for_everybody() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let claimed = place.claim_all(&[("a", 1)], at(3)).pop().expect("one is queued");
    assert_eq!((claimed.job.state, claimed.job.started_at), (State::Running, Some(at(3))));
    assert_eq!(place.job(id), claimed.job);
    assert_eq!(place.all(), [claimed.job]);
    place.check_counts(&["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_is_handed_out_once_however_many_ask() {
    let place = Place::new().await;
    join_all((0..300).map(|_| place.submit(job("a"), no_limit()))).await;
    let take_all = || {
        let mut taken = Vec::new();
        loop {
            match place.claim_all(&[("a", 3)], NOW) {
                claimed if claimed.is_empty() => return taken,
                claimed => taken.extend(ids(&claimed)),
            }
        }
    };
    let taken: Vec<JobId> = thread::scope(|scope| {
        let claimers: Vec<_> = (0..4).map(|_| scope.spawn(take_all)).collect();
        claimers.into_iter().flat_map(|claimer| claimer.join().expect("no claimer panics")).collect()
    });
    let different: HashSet<JobId> = taken.iter().copied().collect();
    assert_eq!((taken.len(), different.len()), (300, 300));
    assert_eq!(place.counts(&kind("a")).of(State::Running), 300);
}

#[tokio::test]
async fn every_claim_of_a_job_has_a_larger_token() {
    let mut place = Place::new().await;
    place.add(job("a")).await;
    let mut last = None;
    for round in 0..9 {
        let claimed = place.take("a");
        assert!(last < Some(claimed.token), "round {round}");
        last = Some(claimed.token);
        // Handed back, or lost with its host.
        if round % 3 == 0 {
            drop(claimed);
            place = place.reopened().await;
        } else {
            place.end(&claimed, Ended::Interrupted).await;
        }
    }
}
