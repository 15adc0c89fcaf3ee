//! A job brings the whole process down: who is suspected, who is charged, who is left alone.
//!
//! Each host here is a process of its own that claims what it can, enters some of the guests, and aborts.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitStatus;

use dropforge::job::{Code, Ended, JobId, State};
use tempfile::TempDir;

use crate::checkpoints::found;
use crate::child::{start, undisturbed};
use crate::parts::{NOW, at, ids, job, kind, transient};
use crate::place::{CRASHES_MAX, Place, SETTINGS};

/// Late enough for every pause between attempts to be over.
const LATER: i64 = 3_600;

/// What a host process did before it died.
#[derive(Debug, Default)]
struct Life {
    suspects: Vec<JobId>,
    claimed: Vec<JobId>,
}

/// The part of the child: a host that claims everything it may have, is inside the guests of the jobs named in
/// `words`, and aborts. Guests of jobs named after a `-` it had entered and left again.
pub(crate) async fn host_that_crashes(place: &Path, words: &str) {
    let store = crate::open(place, &SETTINGS).expect("the place opens");
    let suspects = store.recover(CRASHES_MAX, at(LATER)).await.expect("the disk works");
    let claimed = store.claim(&[(kind("a"), 9)], 9, at(LATER));
    for claimed in &claimed {
        let id = claimed.job.id.to_string();
        claimed.mark.set(words.contains(&id));
        claimed.mark.set(words.contains(&id) && !words.contains(&format!("-{id}")));
    }
    let mut said: String = suspects.iter().map(|job| format!("\nsuspect {}", job.id)).collect();
    said.extend(claimed.iter().map(|claimed| format!("\nclaimed {}", claimed.job.id)));
    let mut out = io::stdout().lock();
    writeln!(out, "{said}").and_then(|()| out.flush()).expect("the parent listens");
    std::process::abort();
}

/// Runs such a host to its end.
fn run(folder: &TempDir, words: &str) -> Life {
    let output = start("crash", folder.path(), words).wait_with_output().expect("it is ours to wait for");
    assert_crashed(output.status);
    let mut life = Life::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let parsed = |id: &str| id.parse().expect("an id");
        match line.split_once(' ') {
            Some(("suspect", id)) => life.suspects.push(parsed(id)),
            Some(("claimed", id)) => life.claimed.push(parsed(id)),
            _ => {}
        }
    }
    life
}

/// A host that is inside the guests of all these jobs when it dies, and had left those of the others.
fn crash(folder: &TempDir, inside: &[JobId], left: &[JobId]) -> Life {
    let words = inside.iter().map(|id| format!("{id} ")).chain(left.iter().map(|id| format!("-{id} ")));
    let life = run(folder, &words.collect::<String>());
    for id in inside {
        assert!(life.claimed.contains(id), "{id} was to be run but was not claimed: {life:?}");
    }
    life
}

/// A host that may claim only one of these suspects and is inside it when it dies. Which one it was is answered.
fn crash_alone(folder: &TempDir, suspects: &[JobId]) -> JobId {
    let life = run(folder, &suspects.iter().map(|id| format!("{id} ")).collect::<String>());
    assert_eq!(life.claimed.len(), 1, "suspects run one at a time");
    life.claimed[0]
}

fn assert_crashed(status: ExitStatus) {
    // A panic would end with a code; an abort ends with a signal.
    assert!(status.code().is_none(), "the process ended in another way: {status}");
}

/// A place with so many queued jobs, closed.
async fn with_jobs(count: usize) -> (TempDir, Vec<JobId>) {
    let place = Place::new().await;
    let mut added = Vec::new();
    for _ in 0..count {
        added.push(place.add(job("a")).await);
    }
    (place.into_folder(), added)
}

fn crashes(place: &Place, added: &[JobId]) -> Vec<u32> {
    added.iter().map(|id| place.job(*id).crashes).collect()
}

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
async fn a_shared_crash_charges_nobody() {
    let (folder, added) = with_jobs(3).await;
    crash(&folder, &added, &[]);
    assert_eq!(crashes(&Place::open(folder).await, &added), [0, 0, 0]);
}

#[tokio::test]
async fn a_crash_is_charged_to_the_suspect_that_was_run_alone() {
    let (folder, added) = with_jobs(2).await;
    crash(&folder, &added, &[]);
    let alone = crash_alone(&folder, &added);
    let place = Place::open(folder).await;
    assert_eq!(place.suspects, [alone]);
    for id in added {
        let found = place.job(id);
        assert_eq!((found.crashes, found.attempts, found.state), (u32::from(id == alone), 0, State::Queued));
    }
}

#[tokio::test]
async fn a_suspect_that_had_left_its_guest_is_not_charged() {
    let (folder, added) = with_jobs(1).await;
    crash(&folder, &added, &[]);
    crash(&folder, &[], &added);
    let place = Place::open(folder).await;
    assert_eq!((crashes(&place, &added), place.suspects.len()), (vec![0], 0));
}

#[tokio::test]
async fn the_job_that_brings_every_host_down_fails_and_the_others_go_on() {
    let (folder, added) = with_jobs(3).await;
    crash(&folder, &added, &[]);
    let mut guilty = None;
    for round in 1..=CRASHES_MAX {
        let alone = crash_alone(&folder, &added);
        assert_eq!(*guilty.get_or_insert(alone), alone, "round {round}: the same suspect comes first again");
    }
    let guilty = guilty.expect("there were rounds");
    let place = Place::open(folder).await.reopened().await;
    for id in &added {
        let found = place.job(*id);
        if *id == guilty {
            assert_eq!((found.state, found.crashes, found.attempts), (State::Failed, CRASHES_MAX, 0));
            assert_eq!(found.failure.map(|failure| failure.code), Some(Code::HostCrash));
            assert!(found.finished_at.is_some());
        } else {
            assert_eq!((found.state, found.crashes), (State::Queued, 0));
        }
    }
    for _ in 1..added.len() {
        let claimed = place.claim_all(&[("a", 9)], NOW);
        assert_eq!(claimed.len(), 1, "they are under suspicion until they have run");
        assert_eq!(place.end(&claimed[0], Ended::Succeeded).await.state, State::Succeeded);
    }
    assert!(place.claim_all(&[("a", 9)], NOW).is_empty());
    place.check_counts(&["a"]);
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
async fn a_neighbour_of_a_suspect_is_charged_nothing() {
    let (folder, added) = with_jobs(1).await;
    crash(&folder, &added, &[]);
    let place = Place::open(folder).await;
    let neighbour = place.add(job("a")).await;
    let folder = place.into_folder();
    crash(&folder, &[added[0], neighbour], &[]);
    let place = Place::open(folder).await;
    assert_eq!(place.job(neighbour).crashes, 0);
    assert!(place.suspects.contains(&neighbour));
}

#[tokio::test]
async fn a_crash_is_judged_once_and_not_forgotten_before() {
    let (folder, added) = with_jobs(2).await;
    crash(&folder, &added, &[]);
    let alone = crash_alone(&folder, &added);
    // This host ends before it has judged.
    let store = crate::open(folder.path(), &SETTINGS).expect("the place opens");
    undisturbed(|| drop(store));
    let mut place = Place::open(folder).await;
    assert_eq!(place.suspects, [alone]);
    for _ in 0..3 {
        assert_eq!(crashes(&place, &added).iter().sum::<u32>(), 1);
        place = place.reopened().await;
        assert!(place.suspects.is_empty());
    }
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

#[tokio::test]
async fn a_suspect_keeps_its_checkpoint_until_it_is_found_guilty() {
    let (folder, added) = with_jobs(1).await;
    let place = Place::open(folder).await;
    let claimed = place.take("a");
    place.save(&claimed, b"state").await;
    place.end(&claimed, Ended::Interrupted).await;
    drop(claimed);
    let folder = place.into_folder();
    crash(&folder, &added, &[]);
    for _ in 1..CRASHES_MAX {
        crash_alone(&folder, &added);
    }
    let place = Place::open(folder).await;
    let claimed = place.take("a");
    assert_eq!((claimed.job.crashes, found(&claimed).as_deref()), (CRASHES_MAX - 1, Some(b"state".as_slice())));
    drop(claimed);
    let folder = place.into_folder();
    crash_alone(&folder, &added);
    let place = Place::open(folder).await;
    assert_eq!(place.job(added[0]).state, State::Failed);
    place.retry(added[0], 100).await.expect("it has failed");
    assert_eq!(found(&place.take("a")), None);
}
