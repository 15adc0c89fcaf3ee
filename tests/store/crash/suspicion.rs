//! Who is suspected of a crash, how suspects are run, and what frees them.

use dropforge::job::{Ended, JobId, State};

use super::{crash, crashes, with_jobs};
use crate::child::undisturbed;
use crate::parts::{NOW, ids, job, kind, transient};
use crate::place::{Place, SETTINGS};

#[tokio::test]
async fn a_crash_is_suspected_of_those_inside_a_guest_and_of_nobody_else() {
    let (folder, added) = with_jobs(4).await;
    let life = crash(&folder, &added[..2], &added[2..3]);
    assert_eq!((life.suspects.len(), life.claimed), (0, added.clone()));
    let place = Place::open(folder).await;
    let mut suspects = place.suspects.clone();
    suspects.sort();
    assert_eq!(suspects, added[..2]);
    for id in added {
        let found = place.job(id);
        assert_eq!((found.state, found.attempts, found.crashes, found.interruptions), (State::Queued, 0, 0, 0));
    }
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn suspects_run_one_at_a_time_beside_all_other_work() {
    let (folder, added) = with_jobs(4).await;
    crash(&folder, &added[..2], &[]);
    let place = Place::open(folder).await;
    let claimed = place.claim_all(&[("a", 9)], NOW);
    let (suspects, others): (Vec<JobId>, Vec<JobId>) =
        ids(&claimed).into_iter().partition(|id| added[..2].contains(id));
    assert_eq!((suspects.len(), others), (1, added[2..].to_vec()));
    assert!(place.claim_all(&[("a", 9)], NOW).is_empty(), "the other suspect waits");
    let first = claimed.iter().find(|claimed| claimed.job.id == suspects[0]).expect("just claimed");
    place.end(first, Ended::Succeeded).await;
    let second = place.claim_all(&[("a", 9)], NOW);
    assert_eq!(second.len(), 1);
    assert!(added[..2].contains(&second[0].job.id) && second[0].job.id != suspects[0]);
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn a_suspect_takes_one_of_the_free_places_of_its_kind() {
    let (folder, added) = with_jobs(3).await;
    crash(&folder, &added[..1], &[]);
    let place = Place::open(folder).await;
    place.add(job("b")).await;
    let claimed = place.claim_all(&[("b", 1), ("a", 2)], NOW);
    assert_eq!(claimed.iter().filter(|claimed| claimed.job.kind == kind("a")).count(), 2);
    assert_eq!(claimed.len(), 3);
}

#[tokio::test]
async fn a_suspect_whose_kind_has_no_free_place_holds_up_nobody() {
    let (folder, added) = with_jobs(2).await;
    crash(&folder, &added, &[]);
    let place = Place::open(folder).await;
    let other = place.add(job("b")).await;
    assert_eq!(ids(&place.claim_all(&[("a", 0), ("b", 2)], NOW)), [other]);
    assert!(place.claim(&[(kind("a"), 1)], 0, NOW).is_empty());
    assert_eq!(place.claim_all(&[("a", 9)], NOW).len(), 1);
}

#[tokio::test]
async fn a_suspect_whose_attempt_ended_is_free_of_suspicion() {
    let (folder, added) = with_jobs(2).await;
    crash(&folder, &added, &[]);
    let place = Place::open(folder).await;
    for _ in 0..2 {
        // Even a failure shows that it did not bring the host down.
        place.end(&place.take("a"), transient()).await;
    }
    let folder = place.into_folder();
    let life = crash(&folder, &added, &[]);
    assert_eq!(life.claimed.len(), 2, "both are run at the same time again");
    let place = Place::open(folder).await;
    assert_eq!(crashes(&place, &added), [0, 0]);
}

#[tokio::test]
async fn a_suspect_that_was_interrupted_is_still_under_suspicion() {
    let (folder, added) = with_jobs(2).await;
    crash(&folder, &added, &[]);
    let place = Place::open(folder).await;
    place.end(&place.take("a"), Ended::Interrupted).await;
    let place = place.reopened().await;
    assert!(place.suspects.is_empty(), "no guest was inside when that host ended");
    assert_eq!(place.claim_all(&[("a", 9)], NOW).len(), 1);
}

#[tokio::test]
async fn a_job_that_was_ended_before_the_judgement_is_no_suspect() {
    let (folder, added) = with_jobs(2).await;
    crash(&folder, &added, &[]);
    let store = crate::open(folder.path(), &SETTINGS).expect("the place opens");
    store.cancel(added[0], None, NOW).await.expect("unfinished");
    store.cancel(added[1], None, NOW).await.expect("unfinished");
    store.delete(added[1]).await.expect("finished");
    undisturbed(|| drop(store));
    let place = Place::open(folder).await;
    assert!(place.suspects.is_empty());
    assert_eq!((place.job(added[0]).state, place.exists(added[1])), (State::Cancelled, false));
}
