//! State between attempts: durable once saved, for the holder of the claim alone, and gone when the job has ended.

use dropforge::job::{Ended, JobId, State};
use dropforge::store::{CHECKPOINT_BYTES_MAX, Checkpoint, Claimed, Content, Settings, StoreError, Token};
use futures_util::future::join_all;

use crate::parts::{NOW, assert_refused, at, attempt, bytes_of, job, job_but, kind, noise, permanent, transient};
use crate::place::{CRASHES_MAX, Place, SETTINGS};

/// Nothing, a little, several pieces, the most in pieces, the least in a file, and the most of all.
const SIZES: [usize; 6] = [0, 100, 9_000, 65_536, 65_537, CHECKPOINT_BYTES_MAX];

impl Place {
    async fn try_save(&self, id: JobId, token: Token, data: &[u8], digest: &str) -> Result<(), StoreError> {
        let checkpoint = Checkpoint { content: self.payload(data).content, plugin_sha256: digest.to_owned() };
        self.save_checkpoint(id, token, checkpoint).await
    }

    pub(crate) async fn save(&self, claimed: &Claimed, data: &[u8]) {
        self.try_save(claimed.job.id, claimed.token, data, "d1").await.expect("the claim holds");
    }
}

/// What a claimed job finds of earlier attempts.
pub(crate) fn found(claimed: &Claimed) -> Option<Vec<u8>> {
    let checkpoint = claimed.checkpoint.as_ref().expect("the disk gives back what it was given");
    checkpoint.as_ref().map(|checkpoint| bytes_of(&checkpoint.content))
}

#[tokio::test]
async fn a_checkpoint_reaches_the_next_attempt_however_the_last_one_ended() {
    let mut place = Place::new().await;
    for (seed, size) in (0..).zip(SIZES) {
        let id = place.add(job_but("a", |job| job.max_attempts = 9)).await;
        let claimed = place.take("a");
        assert_eq!(found(&claimed), None);
        let data = noise(seed, size);
        let digest = format!("{seed:064x}");
        place.try_save(id, claimed.token, &data, &digest).await.expect("the claim holds");
        place.end(&claimed, Ended::Interrupted).await;
        let claimed = place.take("a");
        assert!(found(&claimed).as_deref() == Some(&data[..]), "{size} bytes after an interruption");
        place.end(&claimed, transient()).await;
        let claimed = place.claim_all(&[("a", 1)], at(60)).pop().expect("due by now");
        assert!(found(&claimed).as_deref() == Some(&data[..]), "{size} bytes after a transient failure");
        drop(claimed);
        // The host is gone without a word about the attempt.
        place = place.reopened().await;
        let claimed = place.claim_all(&[("a", 1)], at(60)).pop().expect("it is ready again");
        assert!(found(&claimed).as_deref() == Some(&data[..]), "{size} bytes after a reopen");
        let checkpoint = claimed.checkpoint.as_ref().expect("readable").as_ref().expect("saved");
        assert_eq!(checkpoint.plugin_sha256, digest);
        place.end(&claimed, Ended::Succeeded).await;
    }
}

#[tokio::test]
async fn the_newest_checkpoint_replaces_the_others_and_leaves_nothing_of_them() {
    let mut place = Place::new().await;
    let id = place.add(job("a")).await;
    let before = place.bytes_on_disk();
    for (round, size) in (0..).zip(SIZES.into_iter().rev().chain(SIZES).chain([9_000, 100, 70_000, 70_000, 100])) {
        let claimed = place.take("a");
        // Twice in the same attempt, and then the very same once more.
        place.save(&claimed, &noise(100 + round, SIZES[round as usize % SIZES.len()])).await;
        let data = noise(round, size);
        place.save(&claimed, &data).await;
        place.save(&claimed, &data).await;
        place.end(&claimed, Ended::Interrupted).await;
        drop(claimed);
        place = place.reopened().await;
        let claimed = place.take("a");
        assert!(found(&claimed) == Some(data), "round {round}: {size} bytes");
        place.end(&claimed, Ended::Interrupted).await;
    }
    let claimed = place.take("a");
    place.save(&claimed, &noise(7, CHECKPOINT_BYTES_MAX)).await;
    for seed in 0..20 {
        place.save(&claimed, &noise(1_000 + seed, CHECKPOINT_BYTES_MAX)).await;
    }
    let grown = place.bytes_on_disk().saturating_sub(before);
    assert!(grown < 4 << 20, "one checkpoint of 1 MiB after dozens takes {grown} bytes");
    place.end(&claimed, Ended::Succeeded).await;
    drop(claimed);
    let grown = place.bytes_on_disk().saturating_sub(before);
    assert!(grown < 2 << 20, "the checkpoint of a finished job takes {grown} bytes");
    assert_eq!(place.job(id).state, State::Succeeded);
}

#[tokio::test]
async fn a_checkpoint_of_a_mebibyte_is_kept_and_a_larger_one_is_refused() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let claimed = place.take("a");
    let most = noise(1, CHECKPOINT_BYTES_MAX);
    place.save(&claimed, &most).await;
    let more = place.try_save(id, claimed.token, &noise(2, CHECKPOINT_BYTES_MAX + 1), "d1").await;
    assert_refused(more, |error| matches!(error, StoreError::Refused(_)));
    place.end(&claimed, Ended::Interrupted).await;
    assert!(found(&place.take("a")) == Some(most), "what was saved before is kept");
}

/// Fault: an attempt that was given up comes back to life and writes over what the next one has saved.
#[tokio::test]
async fn a_late_attempt_cannot_save_over_the_next_ones_checkpoint() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let fenced = |error: &StoreError| matches!(error, StoreError::Fenced);
    let (old, other) = (place.take("a"), place.add(job("b")).await);
    place.save(&old, b"first").await;
    place.end(&old, Ended::Interrupted).await;
    assert_refused(place.try_save(id, old.token, b"late", "d1").await, fenced);
    let new = place.take("a");
    assert_refused(place.try_save(id, old.token, b"late", "d1").await, fenced);
    place.save(&new, b"second").await;
    let bs = place.take("b");
    assert_refused(place.try_save(id, bs.token, b"another job's", "d1").await, fenced);
    assert_refused(place.try_save(other, new.token, b"another job's", "d1").await, fenced);
    assert_refused(place.try_save(id, old.token, &noise(1, 70_000), "d1").await, fenced);
    drop((old, bs));
    let token = new.token;
    drop(new);
    let place = place.reopened().await;
    assert_refused(place.try_save(id, token, b"late", "d1").await, fenced);
    let newest = place.take("a");
    assert_refused(place.try_save(id, token, b"late", "d1").await, fenced);
    assert_eq!(found(&newest).as_deref(), Some(b"second".as_slice()));
    assert_eq!(found(&place.take("b")), None);
    place.end(&newest, Ended::Succeeded).await;
    assert_refused(place.try_save(id, newest.token, b"late", "d1").await, fenced);
    place.delete(id).await.expect("finished jobs can be deleted");
    assert_refused(place.try_save(id, newest.token, b"late", "d1").await, fenced);
}

#[tokio::test]
async fn of_a_save_and_an_end_at_once_both_count_or_the_save_is_fenced() {
    let place = Place::new().await;
    for (round, ended) in (0..).zip([Ended::Succeeded, Ended::Interrupted, permanent()].into_iter().cycle().take(30)) {
        let name = format!("k{round}");
        let id = place.add(job(&name)).await;
        let claimed = place.take(&name);
        place.save(&claimed, b"before").await;
        let (first, second) = (noise(round, 5_000), attempt(ended));
        // In this order into the same flush, or the other way round.
        let (saved, job) = if round % 2 == 0 {
            tokio::join!(place.try_save(id, claimed.token, &first, "d1"), place.finish(id, claimed.token, second))
        } else {
            let (job, saved) =
                tokio::join!(place.finish(id, claimed.token, second), place.try_save(id, claimed.token, &first, "d1"));
            (saved, job)
        };
        let job = job.expect("a save does not take the claim away");
        if round % 2 == 0 {
            saved.expect("it came first");
        } else {
            assert_refused(saved, |error| matches!(error, StoreError::Fenced));
        }
        if !job.state.is_terminal() {
            let expected = if round % 2 == 0 { first } else { b"before".to_vec() };
            assert!(found(&place.take(&name)) == Some(expected), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_checkpoint_goes_when_its_job_ends_and_a_retry_begins_without() {
    let mut place = Place::new().await;
    for size in [100, 70_000] {
        for how in ["succeeded", "failed", "cancelled", "cancelled while it ran"] {
            let id = place.add(job("a")).await;
            let claimed = place.take("a");
            place.save(&claimed, &noise(1, size)).await;
            match how {
                "succeeded" => drop(place.end(&claimed, Ended::Succeeded).await),
                "failed" => drop(place.end(&claimed, permanent()).await),
                "cancelled while it ran" => drop(place.cancel(id, None, NOW).await.expect("unfinished")),
                _ => {
                    place.end(&claimed, Ended::Interrupted).await;
                    place.cancel(id, None, NOW).await.expect("unfinished");
                }
            }
            assert!(place.job(id).state.is_terminal(), "{how}");
            let late = place.try_save(id, claimed.token, b"late", "d1").await;
            assert_refused(late, |error| matches!(error, StoreError::Fenced));
            drop(claimed);
            place = place.reopened().await;
            if place.job(id).state != State::Succeeded {
                place.retry(id, 100).await.expect("it has failed or was cancelled");
                let claimed = place.claim_all(&[("a", 1)], at(600)).pop().expect("it is ready again");
                assert_eq!(found(&claimed), None, "{how}, with {size} bytes saved");
                place.end(&claimed, Ended::Succeeded).await;
            }
        }
    }
}

#[tokio::test]
async fn saving_moves_the_job_nowhere() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let claimed = place.take("a");
    let before = place.job(id);
    place.save(&claimed, b"state").await;
    assert_eq!(place.job(id), before);
    place.check_counts(&["a"]);
    assert!(place.claim_all(&[("a", 9)], at(600)).is_empty(), "it is still in the same hands");
    assert_eq!(place.end(&claimed, Ended::Succeeded).await.state, State::Succeeded);
}

/// Fault: the states of running jobs take the room that was kept for how they end.
#[tokio::test]
async fn a_checkpoint_does_not_take_the_room_that_outcomes_need() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let folder = place.into_folder();
    // More than any disk has: no room for anything new.
    let store = crate::open(folder.path(), &Settings { reserve_bytes: u64::MAX, ..SETTINGS }).expect("the place opens");
    store.recover(CRASHES_MAX, NOW).await.expect("the disk works");
    let claimed = store.claim(&[(kind("a"), 1)], 1, NOW).pop().expect("what was accepted is run");
    let content = Content::Inline(b"state".as_slice().into());
    let refused = store.save_checkpoint(id, claimed.token, Checkpoint { content, plugin_sha256: "d1".into() }).await;
    assert_refused(refused, |error| matches!(error, StoreError::DiskFull));
    let job = store.finish(id, claimed.token, attempt(Ended::Succeeded)).await.expect("there is room for outcomes");
    assert_eq!(job.state, State::Succeeded);
}

/// Fault: a hundred jobs that save now and then keep the disk busy with a flush each.
#[tokio::test]
async fn saves_at_once_share_their_flushes() {
    let place = Place::new().await;
    for _ in 0..40 {
        place.add(job("a")).await;
    }
    let claimed = place.claim_all(&[("a", 40)], NOW);
    let before = place.commits();
    join_all(claimed.iter().map(|claimed| place.save(claimed, b"state"))).await;
    let commits = place.commits() - before;
    assert!((1..=10).contains(&commits), "40 saves took {commits} flushes");
    let place = place.reopened().await;
    assert!(place.claim_all(&[("a", 40)], NOW).iter().all(|claimed| found(claimed).as_deref() == Some(b"state")));
}
