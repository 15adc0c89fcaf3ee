//! Submitting: what is accepted is there, what is refused leaves nothing.

use std::collections::HashSet;

use dropforge::job::{Ended, JobId, Progress, State};
use dropforge::store::{Admission, Filter, NewJob, Options, Settings, StoreError};
use futures_util::future::join_all;

use crate::child::undisturbed;
use crate::parts::{
    NOW, assert_refused, at, attempt, bytes_of, given, job, job_but, job_for, kind, no_limit, noise, payload,
};
use crate::place::{CRASHES_MAX, Place, SETTINGS};

#[tokio::test]
async fn a_submitted_job_is_readable_at_once_and_from_a_fresh_open() {
    let place = Place::new().await;
    let new = job_but("a", |job| {
        job.priority = 7;
        job.max_attempts = 5;
        job.tags = vec!["blue".into(), "größer".into()];
        job.timeout_ms = Some(1_234);
        job.expires_at = Some(at(900));
        job.progress = Progress { fraction: 0.25, message: "as submitted".into() };
    });
    let expected = new.job.clone();
    let answered = place.submit(new, no_limit()).await.expect("accepted");
    assert_eq!(answered, expected);
    assert_eq!(place.job(expected.id), expected);
    assert_eq!(place.all(), std::slice::from_ref(&expected));
    let place = place.reopened().await;
    assert_eq!(place.job(expected.id), expected);
    assert_eq!(place.all(), [expected]);
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn a_scheduled_job_keeps_its_moment() {
    let place = Place::new().await;
    let id = place.add(job_for("a", at(60))).await;
    let place = place.reopened().await;
    let found = place.job(id);
    assert_eq!((found.state, found.run_at), (State::Scheduled, Some(at(60))));
    assert_eq!(place.next_due(NOW).map(|pause| pause.as_secs()), Some(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_submitted_all_at_once_are_all_kept() {
    let place = Place::new().await;
    let news: Vec<NewJob> = (0..500).map(|_| job("a")).collect();
    let expected: HashSet<JobId> = news.iter().map(|new| new.job.id).collect();
    let answers = join_all(news.into_iter().map(|new| place.submit(new, no_limit()))).await;
    assert!(answers.iter().all(Result::is_ok));
    let place = place.reopened().await;
    let found: HashSet<JobId> = place.all().into_iter().map(|job| job.id).collect();
    assert_eq!(found, expected);
    assert_eq!(place.counts(&kind("a")).of(State::Queued), 500);
}

#[tokio::test]
async fn what_was_never_submitted_is_not_there() {
    let place = Place::new().await;
    place.add(job("a")).await;
    let id = JobId::now_v7();
    assert!(!place.exists(id));
    assert!(matches!(place.output(id), Ok(None)));
    assert!(matches!(place.artifact(id, "page"), Ok(None)));
    assert_eq!(place.artifacts(id).ok(), Some(vec![]));
    assert_eq!(place.usage(id).ok(), Some(vec![]));
    assert_refused(place.cancel(id, None, NOW).await, |error| matches!(error, StoreError::NotFound));
    assert_refused(place.retry(id, 100).await, |error| matches!(error, StoreError::NotFound));
    assert_refused(place.delete(id).await, |error| matches!(error, StoreError::NotFound));
}

#[tokio::test]
async fn parameters_and_arguments_reach_every_claim() {
    let place = Place::new().await;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let long = "ß".repeat(30_000);
    let options = Options {
        parameters: vec![
            pair("dpi", "150"),
            pair("dpi", "75"),
            pair("", ""),
            pair("name", "grün\n\0"),
            pair("x", &long),
        ],
        arguments: vec!["--fast".into(), String::new(), "a b".into()],
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    let id = place.add(NewJob { options: options.clone(), ..job("a") }).await;
    let claimed = place.take("a");
    assert_eq!((claimed.job.id, &given(&claimed).1), (id, &options));
    drop(claimed);
    let place = place.reopened().await;
    assert_eq!(given(&place.take("a")).1, options);
}

#[tokio::test]
async fn parameters_beyond_64_kib_are_refused_and_leave_nothing() {
    let place = Place::new().await;
    let with = |length: usize| NewJob {
        options: Options { arguments: vec!["x".repeat(length)], ..Options::default() },
        ..job("a")
    };
    // A few bytes are the encoding's.
    place.add(with(64 * 1024 - 16)).await;
    let refused = place.submit(with(64 * 1024 + 1), no_limit()).await;
    assert_refused(refused, |error| matches!(error, StoreError::Refused(_)));
    assert_eq!(place.all().len(), 1);
    place.check_counts(&["a"]);
}

#[tokio::test]
async fn a_refused_submit_leaves_no_bytes_behind() {
    let place = Place::new().await;
    place.add(job("a")).await;
    let before = place.bytes_on_disk();
    for seed in 0..3 {
        let new = place.job_with_input("a", &noise(seed, 5 << 20));
        let refused = place.submit(new, Admission { queue_max: 1, key: None, workers: None }).await;
        assert_refused(refused, |error| matches!(error, StoreError::QueueFull { queue_max: 1 }));
    }
    let grown = place.bytes_on_disk().saturating_sub(before);
    assert!(grown < 3 << 20, "three refused inputs of 5 MiB left {grown} bytes");
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_jobs_and_still_takes_outcomes() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let folder = place.into_folder();
    // No disk has as much room as this host wants to keep.
    let greedy = Settings { reserve_bytes: u64::MAX, ..SETTINGS };
    let store = crate::open(folder.path(), &greedy).expect("the place opens");
    store.recover(CRASHES_MAX, NOW).await.expect("outcomes can be written");
    assert!(store.is_short_of_room());
    assert_refused(store.submit(job("a"), no_limit()).await, |error| matches!(error, StoreError::DiskFull));
    let claimed = store.claim(&[(kind("a"), 9)], 9, NOW).pop().expect("what was accepted is run");
    let success = dropforge::store::Attempt { output: Some(payload(&store, b"done")), ..attempt(Ended::Succeeded) };
    store.finish(id, claimed.token, success).await.expect("outcomes can be written");
    let output = store.output(id).expect("readable").expect("there is a result");
    assert_eq!(bytes_of(&output.content), b"done");
    undisturbed(|| drop(store));
    let place = Place::open(folder).await;
    assert!(!place.is_short_of_room());
    assert_eq!(place.job(id).state, State::Succeeded);
    let (jobs, _) = place.list(&Filter::default(), 9, None).expect("the disk works");
    assert_eq!(jobs.len(), 1, "the refused one is nowhere");
}
