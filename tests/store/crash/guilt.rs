//! Who is charged with a crash: the suspect that was run alone, once for each, and failed when it was often enough.

use dropforge::job::{Code, Ended, State};

use super::{crash, crash_alone, crashes, with_jobs};
use crate::checkpoints::found;
use crate::child::undisturbed;
use crate::parts::{NOW, job};
use crate::place::{CRASHES_MAX, Place, SETTINGS};

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
