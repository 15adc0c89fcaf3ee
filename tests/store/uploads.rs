//! Uploads: kept for a while, and for as long as a job names them, each for its owner and its bytes once for all.

use std::collections::HashMap;
use std::time::Duration;

use dropforge::job::State;
use dropforge::store::{NewJob, Payload, Retention, Share, StoreError};
use dropforge::time::Time;

use crate::parts::{NOW, assert_refused, at, bytes_of, job, no_limit, noise};
use crate::place::Place;

const OURS: &str = "";
/// A share without limits.
const ALL: Share = Share { uploads_max: u64::MAX, bytes_max: u64::MAX };

/// Bytes as an upload, which is a blob of any size.
fn upload(place: &Place, bytes: &[u8]) -> Payload {
    let mut upload = place.blobs().upload();
    upload.write(bytes).expect("the disk works");
    Payload { media_type: "image/png".into(), content: upload.finish_as_blob().expect("the disk works") }
}

async fn kept(place: &Place, bytes: &[u8], owner: &str, until: i64) -> [u8; 32] {
    let upload = upload(place, bytes);
    let sha256 = upload.content.sha256();
    place.keep_upload(upload, owner, at(until), ALL).await.expect("there is room");
    sha256
}

fn has(place: &Place, sha256: [u8; 32], owner: &str) -> bool {
    place.uploaded(sha256, owner).expect("the disk works").is_some()
}

/// A job whose input names this upload.
fn job_naming(place: &Place, sha256: [u8; 32]) -> NewJob {
    let blob = place.uploaded(sha256, OURS).expect("the disk works").expect("it is kept");
    NewJob { blobs: vec![blob], ..job("a") }
}

#[tokio::test]
async fn an_upload_of_any_size_comes_back_byte_by_byte_after_a_reopen_too() {
    let mut place = Place::new().await;
    let sizes = [0, 1, 64 << 10, (64 << 10) + 1, 3 << 20];
    let mut addresses = Vec::new();
    for (seed, size) in (0..).zip(sizes) {
        addresses.push(kept(&place, &noise(seed, size), OURS, 60).await);
    }
    for _ in 0..2 {
        for ((seed, size), sha256) in (0..).zip(sizes).zip(&addresses) {
            let found = place.uploaded(*sha256, OURS).expect("the disk works").expect("it is kept");
            assert_eq!((found.media_type.as_str(), found.content.size()), ("image/png", size as u64));
            assert!(bytes_of(&found.content) == noise(seed, size), "{size} bytes");
        }
        place = place.reopened().await;
    }
}

#[tokio::test]
async fn an_upload_that_no_job_names_goes_when_its_time_is_over() {
    let place = Place::new().await;
    let bytes = noise(1, 1 << 20);
    let (first, second) = (kept(&place, &bytes, OURS, 10).await, kept(&place, b"later", OURS, 20).await);
    let full = place.bytes_on_disk();
    place.sweep_uploads(at(9)).await.expect("the disk works");
    assert!(has(&place, first, OURS) && has(&place, second, OURS));
    assert!(!place.sweep_uploads(at(10)).await.expect("the disk works"), "there are no more");
    assert!(!has(&place, first, OURS) && has(&place, second, OURS));
    assert!(place.bytes_on_disk() + (1 << 19) < full, "its bytes are gone as well");
    let place = place.reopened().await;
    assert!(!has(&place, first, OURS) && has(&place, second, OURS));
    place.sweep_uploads(at(20)).await.expect("the disk works");
    assert!(!has(&place, second, OURS));
}

#[tokio::test]
async fn uploading_the_same_bytes_again_keeps_them_longer_and_once() {
    let place = Place::new().await;
    let bytes = noise(2, 1 << 20);
    let sha256 = kept(&place, &bytes, OURS, 10).await;
    let once = place.bytes_on_disk();
    assert_eq!(kept(&place, &bytes, OURS, 30).await, sha256);
    // Sooner than before is no reason to let go earlier.
    kept(&place, &bytes, OURS, 5).await;
    assert!(place.bytes_on_disk() < once + (1 << 19));
    place.sweep_uploads(at(29)).await.expect("the disk works");
    assert!(has(&place, sha256, OURS));
    place.sweep_uploads(at(30)).await.expect("the disk works");
    assert!(!has(&place, sha256, OURS));
}

#[tokio::test]
async fn an_upload_stays_as_long_as_a_job_names_it() {
    let mut place = Place::new().await;
    let sha256 = kept(&place, &noise(3, 200_000), OURS, 10).await;
    let id = place.add(job_naming(&place, sha256)).await;
    for seconds in [10, 1_000] {
        place.sweep_uploads(at(seconds)).await.expect("the disk works");
        place = place.reopened().await;
    }
    assert!(has(&place, sha256, OURS));
    let claimed = place.take("a");
    assert_eq!(claimed.blobs.len(), 1);
    assert!(bytes_of(&claimed.blobs[0]) == noise(3, 200_000));
    drop(claimed);
    place.cancel(id, None, NOW).await.expect("it can be cancelled");
    place.sweep_uploads(at(2_000)).await.expect("the disk works");
    assert!(has(&place, sha256, OURS), "a cancelled job may be retried");
    place.delete(id).await.expect("it has ended");
    place.sweep_uploads(at(3_000)).await.expect("the disk works");
    assert!(!has(&place, sha256, OURS));
}

#[tokio::test]
async fn a_job_may_name_an_upload_whose_time_is_over_while_it_is_accepted() {
    let place = Place::new().await;
    let sha256 = kept(&place, &noise(4, 200_000), OURS, 10).await;
    let new = job_naming(&place, sha256);
    place.sweep_uploads(at(10)).await.expect("the disk works");
    assert!(!has(&place, sha256, OURS));
    let id = place.add(new).await;
    let place = place.reopened().await;
    assert_eq!(place.job(id).state, State::Queued);
    assert!(bytes_of(&place.take("a").blobs[0]) == noise(4, 200_000));
}

#[tokio::test]
async fn what_one_has_uploaded_is_not_there_for_another() {
    let place = Place::new().await;
    let bytes = noise(5, 100_000);
    let sha256 = kept(&place, &bytes, "ann", 10).await;
    assert!(has(&place, sha256, "ann") && !has(&place, sha256, "bob") && !has(&place, sha256, OURS));
    kept(&place, &bytes, "bob", 20).await;
    let place = place.reopened().await;
    place.sweep_uploads(at(10)).await.expect("the disk works");
    assert!(!has(&place, sha256, "ann") && has(&place, sha256, "bob"), "each has a time of its own");
    let found = place.uploaded(sha256, "bob").expect("the disk works").expect("it is kept");
    assert!(bytes_of(&found.content) == bytes);
}

#[tokio::test]
async fn what_is_no_upload_is_refused() {
    let place = Place::new().await;
    let inline = place.payload(b"in memory");
    assert_refused(place.keep_upload(inline.clone(), OURS, at(9), ALL).await, |error| {
        matches!(error, StoreError::Refused(_))
    });
    let new = NewJob { blobs: vec![inline], ..job("a") };
    assert_refused(place.submit(new, no_limit()).await, |error| matches!(error, StoreError::Refused(_)));
    for (length, fits) in [(255, true), (256, false)] {
        let kept = place.keep_upload(upload(&place, b"x"), &"x".repeat(length), at(9), ALL).await;
        assert_eq!(kept.is_ok(), fits, "an owner of {length} bytes");
    }
    place.check_counts(&["a"]);
}

/// When a share that is used up has room again.
fn frees_at(result: Result<(), StoreError>) -> Option<Time> {
    match result {
        Err(StoreError::ShareFull { frees_at, .. }) => frees_at,
        other => panic!("{other:?} instead of a share that is used up"),
    }
}

#[tokio::test]
async fn each_keeps_as_many_uploads_and_bytes_as_its_share_has() {
    let place = Place::new().await;
    let share = Share { uploads_max: 3, bytes_max: 1_000 };
    let keep = async |seed: u64, size: usize, owner: &str, until: i64| {
        place.keep_upload(upload(&place, &noise(seed, size)), owner, at(until), share).await
    };
    assert_eq!(frees_at(keep(1, 1_001, "ann", 9).await), None);
    keep(1, 400, "ann", 10).await.expect("there is room");
    keep(2, 599, "ann", 20).await.expect("there is room");
    assert_eq!(frees_at(keep(3, 2, "ann", 9).await), Some(at(10)));
    keep(3, 1, "ann", 30).await.expect("exactly so much");
    assert_eq!(frees_at(keep(4, 0, "ann", 9).await), Some(at(10)), "it has no bytes, but is one more");
    keep(1, 400, "ann", 12).await.expect("what is kept already may be kept longer");
    keep(1, 400, "bob", 10).await.expect("another has a share of their own, of the same bytes too");
    // What was counted before is counted after a reopen, and no more once it goes.
    let place = place.reopened().await;
    let keep = async |seed: u64, size: usize| {
        place.keep_upload(upload(&place, &noise(seed, size)), "ann", at(40), share).await
    };
    assert_eq!(frees_at(keep(5, 1).await), Some(at(12)));
    place.sweep_uploads(at(12)).await.expect("the disk works");
    keep(5, 400).await.expect("there is room again");
    assert_eq!(frees_at(keep(6, 1).await), Some(at(20)));
}

/// Fault: the disk fills with files that finished jobs name, as only their own bytes count.
#[tokio::test]
async fn blobs_that_an_input_names_count_among_the_bytes_that_finished_jobs_hold() {
    let place = Place::new().await;
    let sha256 = kept(&place, &noise(1, 100_000), OURS, 10).await;
    let id = place.add(job_naming(&place, sha256)).await;
    place.cancel(id, None, NOW).await.expect("it can be cancelled");
    let tidy = async |place: &Place, bytes_max: u64| {
        let retention = Retention { age: Duration::MAX, jobs_max: usize::MAX, bytes_max };
        place.retain(&retention, &HashMap::new(), NOW).await.expect("the disk works");
        place.sweep_uploads(at(2_000)).await.expect("the disk works");
    };
    tidy(&place, 100_100).await;
    assert!(has(&place, sha256, OURS));
    let place = place.reopened().await;
    tidy(&place, 99_999).await;
    assert!(!has(&place, sha256, OURS), "its job's content has gone");
}
