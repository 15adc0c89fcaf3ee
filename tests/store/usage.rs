//! Usage reports: one for every attempt that ended, the newest ten kept.

use dropforge::job::{Bound, Ended, Run, USAGE_KEPT, Usage};
use dropforge::store::Attempt;

use crate::parts::{attempt, job, transient};
use crate::place::Place;

#[tokio::test]
async fn a_report_comes_back_as_it_was_given() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let report = Usage {
        attempt: 1,
        bound: Some(Bound::Memory),
        fuel: u64::MAX,
        cpu_ms: 2,
        wall_ms: 3,
        parked_ms: 4,
        memory_bytes_peak: 5,
        bytes_in: 6,
        bytes_out: 7,
        plugin_digest: "8".repeat(64),
        backtrace: vec!["grow".into(), "main".into()],
        log: vec!["größer".into(), "und größer".into()],
        log_lines: 9,
        run: Run::default(),
    };
    let failed = Attempt { usage: report.clone(), ..attempt(transient()) };
    let token = place.take("a").token;
    place.finish(id, token, failed).await.expect("the claim holds");
    let report = Usage { run: token.run(), ..report };
    assert_eq!(place.usage(id).ok(), Some(vec![report.clone()]));
    let place = place.reopened().await;
    assert_eq!(place.usage(id).ok(), Some(vec![report]));
}

#[tokio::test]
async fn the_newest_ten_reports_are_kept_oldest_first() {
    let mut place = Place::new().await;
    let id = place.add(job("a")).await;
    for number in 1..=25_u32 {
        let usage = Usage { attempt: number, fuel: u64::from(number) << 40, ..Usage::default() };
        let interrupted = Attempt { usage, ..attempt(Ended::Interrupted) };
        place.finish(id, place.take("a").token, interrupted).await.expect("the claim holds");
        if number % 10 == 0 {
            place = place.reopened().await;
        }
        let kept: Vec<u32> = place.usage(id).expect("readable").iter().map(|usage| usage.attempt).collect();
        let oldest = (number + 1).saturating_sub(USAGE_KEPT as u32).max(1);
        assert_eq!(kept, (oldest..=number).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn of_a_long_report_the_numbers_and_the_innermost_frames_remain() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let mut log: Vec<String> = (0..500).map(|number| format!("{number} {}", "ü".repeat(2_000))).collect();
    log.push("the last line".into());
    let backtrace = (0..500).map(|number| format!("frame {number} {}", "x".repeat(500))).collect();
    let usage = Usage { attempt: 1, fuel: 42, log, backtrace, ..Usage::default() };
    let failed = Attempt { usage, ..attempt(transient()) };
    place.finish(id, place.take("a").token, failed).await.expect("a talkative attempt ends like any other");
    let place = place.reopened().await;
    let report = place.usage(id).expect("readable").pop().expect("one attempt ended");
    assert_eq!((report.attempt, report.fuel), (1, 42));
    assert!(report.backtrace.first().is_some_and(|frame| frame.starts_with("frame 0 ")), "{:?}", report.backtrace);
}

#[tokio::test]
async fn of_a_long_log_the_last_lines_remain() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    let log: Vec<String> = (0..10_000).map(|number| format!("line {number}")).collect();
    let usage = Usage { log, ..Usage::default() };
    let failed = Attempt { usage, ..attempt(transient()) };
    place.finish(id, place.take("a").token, failed).await.expect("a talkative attempt ends like any other");
    let report = place.usage(id).expect("readable").pop().expect("one attempt ended");
    assert!(report.log.len() >= 20, "only {} lines are left", report.log.len());
    let expected: Vec<String> = (10_000 - report.log.len()..10_000).map(|number| format!("line {number}")).collect();
    assert_eq!(report.log, expected);
}

#[tokio::test]
async fn a_log_of_very_many_very_short_lines_is_no_reason_to_lose_an_outcome() {
    let place = Place::new().await;
    let id = place.add(job("a")).await;
    for line in ["x", "", "ü", "…"] {
        let lines = vec![line.to_owned(); 20_000];
        let usage = Usage { log: lines.clone(), backtrace: lines, ..Usage::default() };
        let interrupted = Attempt { usage, ..attempt(Ended::Interrupted) };
        place.finish(id, place.take("a").token, interrupted).await.expect("a talkative attempt ends like any other");
    }
    assert_eq!(place.usage(id).map(|reports| reports.len()).ok(), Some(4));
}

#[tokio::test]
async fn reports_outlive_a_retry_and_go_with_the_job() {
    let place = Place::new().await;
    let id = place.ended("a", dropforge::job::State::Failed).await;
    place.retry(id, 100).await.expect("a failed job can be retried");
    place.end(&place.take("a"), Ended::Succeeded).await;
    assert_eq!(place.usage(id).map(|reports| reports.len()).ok(), Some(2));
    place.delete(id).await.expect("finished");
    assert_eq!(place.usage(id).ok(), Some(vec![]));
}

/// Fault: in a new folder runs are counted anew, and lines of the log that are new are taken for those of an earlier run.
#[tokio::test]
async fn runs_count_up_across_restarts_and_moves() {
    let mut place = Place::new().await;
    let id = place.add(job("a")).await;
    let mut runs = Vec::new();
    for number in 0..6 {
        place = match number {
            1 | 2 => place.reopened().await,
            4 => place.moved().await,
            _ => place,
        };
        let token = place.take("a").token;
        place.finish(id, token, attempt(Ended::Interrupted)).await.expect("the claim holds");
        runs.push(token.run());
        let kept: Vec<Run> = place.usage(id).expect("readable").iter().map(|usage| usage.run).collect();
        assert_eq!(kept, runs);
        assert!(runs.is_sorted_by(|earlier, later| earlier < later), "{runs:?}");
    }
}

/// Fault: a run that left no report, because the process died, is forgotten by a move, and the next ones seem older than it.
#[tokio::test]
async fn a_run_without_a_report_counts_too_when_a_folder_moves() {
    let mut place = Place::new().await;
    let id = place.add(job("a")).await;
    for _ in 0..5 {
        place = place.reopened().await;
    }
    let before = place.take("a").token.run();
    place = place.moved().await;
    assert!(place.usage(id).expect("readable").is_empty());
    assert!(place.take("a").token.run() > before);
}
