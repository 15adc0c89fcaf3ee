//! Lists and counts: newest first, page by page, while everything moves.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use dropforge::job::{Ended, Job, JobId, State};
use dropforge::store::Filter;
use futures_util::future::join_all;

use crate::parts::{NOW, all, at, job, job_but, job_for, kind, no_limit, permanent, transient};
use crate::place::Place;

fn ids_of(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn the_newest_come_first_on_pages_of_every_size() {
    let place = Place::new().await;
    let mut added = Vec::new();
    for _ in 0..7 {
        added.insert(0, place.add(job("a")).await);
    }
    let place = place.reopened().await;
    for page in 1..=9 {
        assert_eq!(ids_of(&all(&place, &Filter::default(), page)), added, "pages of {page}");
    }
}

#[tokio::test]
async fn a_page_is_full_or_the_last() {
    let place = Place::new().await;
    join_all((0..10).map(|_| place.submit(job("a"), no_limit()))).await;
    let (mut lengths, mut before) = (Vec::new(), None);
    loop {
        let (jobs, next) = place.list(&Filter::default(), 4, before).expect("the disk works");
        assert!(next.is_none_or(|next| jobs.iter().all(|job| job.id >= next)));
        lengths.push(jobs.len());
        before = next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(lengths, [4, 4, 2]);
}

#[tokio::test]
async fn a_list_shows_only_what_the_filter_admits() {
    let place = Place::new().await;
    let tagged =
        |name: &str, tags: &[&str]| job_but(name, |job| job.tags = tags.iter().map(|tag| (*tag).to_owned()).collect());
    let running = place.add(tagged("a", &["red", "big"])).await;
    let _claimed = place.take("a");
    let failed = place.add(tagged("b", &["red"])).await;
    place.end(&place.take("b"), permanent()).await;
    let scheduled = place.add(job_for("a", at(60))).await;
    let queued = place.add(tagged("a", &["redder"])).await;
    let found = |filter: Filter| ids_of(&all(&place, &filter, 2));
    let of_kind = |name: &str| Filter { kind: Some(kind(name)), ..Filter::default() };
    let in_state = |state| Filter { state: Some(state), ..Filter::default() };
    let with_tag = |tag: &str| Filter { tag: Some(tag.to_owned()), ..Filter::default() };
    assert_eq!(found(Filter::default()), [queued, scheduled, failed, running]);
    assert_eq!(found(of_kind("a")), [queued, scheduled, running]);
    assert!(found(of_kind("c")).is_empty());
    assert_eq!(found(in_state(State::Running)), [running]);
    assert_eq!(found(in_state(State::Failed)), [failed]);
    assert_eq!(found(in_state(State::Queued)), [queued]);
    assert_eq!(found(in_state(State::Scheduled)), [scheduled]);
    assert!(found(in_state(State::Succeeded)).is_empty());
    assert_eq!(found(with_tag("red")), [failed, running], "whole tags only");
    assert_eq!(found(with_tag("big")), [running]);
    assert_eq!(found(Filter { kind: Some(kind("a")), tag: Some("red".into()), ..Filter::default() }), [running]);
    assert!(found(Filter { state: Some(State::Failed), ..of_kind("a") }).is_empty());
}

#[tokio::test]
async fn a_job_deleted_between_two_pages_disturbs_neither() {
    let place = Place::new().await;
    let mut added = Vec::new();
    for _ in 0..5 {
        added.insert(0, place.ended("a", State::Cancelled).await);
    }
    let (first, next) = place.list(&Filter::default(), 2, None).expect("the disk works");
    assert_eq!(ids_of(&first), added[..2]);
    // The page ends at the second, and it is gone when the next page is asked for.
    place.delete(added[1]).await.expect("finished");
    place.delete(added[2]).await.expect("finished");
    let (second, next) = place.list(&Filter::default(), 9, next).expect("the disk works");
    assert_eq!((ids_of(&second), next), (added[3..].to_vec(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_neither_skip_nor_repeat_while_jobs_arrive() {
    let place = Place::new().await;
    let mut old: Vec<JobId> = Vec::new();
    for answer in join_all((0..200).map(|_| place.submit(job("a"), no_limit()))).await {
        old.push(answer.expect("accepted").id);
    }
    let listed_enough = AtomicBool::new(false);
    let arrive = async {
        let mut arrived = 0;
        while !listed_enough.load(Ordering::Relaxed) {
            join_all((0..10).map(|_| place.submit(job("a"), no_limit()))).await;
            arrived += 10;
        }
        arrived
    };
    let list = async {
        for page in [1, 3, 7, 50] {
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let (jobs, next) = place.list(&Filter::default(), page, before).expect("the disk works");
                seen.extend(ids_of(&jobs));
                before = next;
                if before.is_none() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let newest_first = seen.is_sorted_by(|newer, older| newer > older);
            assert!(newest_first, "pages of {page}: in order, none twice");
            let different: HashSet<JobId> = seen.into_iter().collect();
            assert!(old.iter().all(|id| different.contains(id)), "pages of {page}: none skipped");
        }
        listed_enough.store(true, Ordering::Relaxed);
    };
    let (arrived, ()) = tokio::join!(arrive, list);
    assert_eq!(place.all().len(), 200 + arrived);
}

#[tokio::test]
async fn counts_agree_with_a_full_list_after_every_step_and_reopen() {
    let mut place = Place::new().await;
    let check = |place: &Place| place.check_counts(&["a", "b", "never-used"]);
    for round in 0..3 {
        for name in ["a", "b"] {
            for ended in [Ended::Succeeded, permanent(), transient(), Ended::Interrupted] {
                place.add(job_but(name, |job| job.priority = 9)).await;
                check(&place);
                let claimed = place.take(name);
                check(&place);
                let over = place.end(&claimed, ended).await;
                check(&place);
                if over.state == State::Failed {
                    place.retry(over.id, 100).await.expect("failed");
                    check(&place);
                }
                place.cancel(over.id, None, NOW).await.expect("idempotent");
                check(&place);
            }
            place.add(job_for(name, at(60))).await;
            place.add(job(name)).await;
            check(&place);
        }
        place.claim_all(&[("a", 2), ("b", 1)], at(60));
        check(&place);
        let newest = place.all().into_iter().find(|job| job.state.is_terminal()).expect("some have ended");
        place.delete(newest.id).await.expect("finished");
        check(&place);
        place = place.reopened().await;
        check(&place);
        assert_eq!(place.counts(&kind("a")).of(State::Running), 0, "round {round}");
    }
}
