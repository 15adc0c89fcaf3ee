//! How fast the host reacts while every worker computes.
//!
//! These tests measure time, so they run one at a time, in a binary of their own: cargo runs test binaries one after the
//! other, and nothing else of the suite loads the processors meanwhile. The bounds are the promises' own where there is
//! one. Medians are judged tightly; single values generously, since on a shared machine the test itself may
//! not get a processor for some milliseconds.

mod support;

#[path = "responsive/exhibition.rs"]
mod exhibition;
#[path = "responsive/starved.rs"]
mod starved;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Host, eventually, guest};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has not left anything behind.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn time(job: &Value, name: &str) -> Timestamp {
    let text = job[name].as_str().unwrap_or_else(|| panic!("no {name} in {job}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A host all of whose workers, one for each processor, compute.
fn burning() -> Host {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("endless", guest::endless());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let host = setup.set("workers", workers).start();
    for _ in 0..workers {
        host.submit("endless", Value::Null);
    }
    eventually("all workers compute", || {
        (host.get("/v1/kinds/endless").json()["counts"]["running"] == workers).then_some(())
    });
    host
}

/// How long after the cancel of a job of this kind the only worker starts the next one.
fn time_to_free_the_worker(host: &Host, kind: &str) -> Duration {
    let first = host.submit(kind, Value::Null);
    host.wait_for(&first, "running");
    // The next one is in the queue already, so that its own submit costs nothing here.
    let next = host.submit("endless", Value::Null);
    let cancelled_at = Timestamp::now();
    host.cancel(&first);
    let started_at = time(&host.wait_for(&next, "running"), "started_at");
    host.cancel(&next);
    // Times in JSON are whole milliseconds, so a start within the same one seems to come before the cancel.
    started_at.duration_since(cancelled_at).try_into().unwrap_or(Duration::ZERO)
}

#[test]
fn a_cancel_frees_the_worker_of_a_computing_job_within_100_ms() {
    let _alone = alone();
    let host = Host::prepare().with_guest("endless", guest::endless()).set("workers", 1).start();
    let mut times: Vec<Duration> = (0..15).map(|_| time_to_free_the_worker(&host, "endless")).collect();
    assert!(median(&mut times) < Duration::from_millis(100), "{times:?}");
}

#[test]
fn a_cancel_stops_a_sleeping_job_within_100_ms() {
    let _alone = alone();
    let setup = Host::prepare().with_guest("sleepy", guest::sleeping(Duration::from_secs(3600)));
    let host = setup.set("workers", 1).start();
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let id = host.submit("sleepy", Value::Null);
            host.wait_for(&id, "running");
            let cancelled_at = Timestamp::now();
            host.cancel(&id);
            // The report is written when the attempt has stopped.
            let job = host.wait_until(&id, "has stopped", |job| job["usage"] != json!([]));
            assert_eq!(job["usage"][0]["bound"], "cancelled");
            Timestamp::now().duration_since(cancelled_at).try_into().expect("time goes on")
        })
        .collect();
    assert!(median(&mut times) < Duration::from_millis(100), "{times:?}");
}

#[test]
fn a_deadline_stops_a_computing_job_within_100_ms() {
    let _alone = alone();
    let host = Host::prepare().with_guest("endless", guest::endless()).set("workers", 1).start();
    for timeout_ms in [50, 200, 500, 1000] {
        let id = host.submit_job(json!({"kind": "endless", "timeout": timeout_ms}));
        let job = host.wait_for(&id, "failed");
        let ran: Duration =
            time(&job, "finished_at").duration_since(time(&job, "started_at")).try_into().expect("it ran");
        let late = ran.saturating_sub(Duration::from_millis(timeout_ms));
        assert!(late < Duration::from_millis(100), "{timeout_ms} ms became {ran:?}");
    }
}

#[test]
fn health_is_answered_while_every_worker_computes() {
    let _alone = alone();
    let host = burning();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(host.get("/healthz").status, 200);
            started.elapsed()
        })
        .collect();
    let median = median(&mut times);
    // The promise is 50 ms; the median shows that it is kept with ease, and one answer in a hundred may have
    // waited for a processor that something else on this machine had.
    assert!(median < Duration::from_millis(10), "median {median:?}, slowest {:?}", times[99]);
    assert!(times[99] < Duration::from_millis(100), "median {median:?}, slowest {:?}", times[99]);
}

#[test]
fn submits_are_accepted_while_every_worker_computes() {
    let _alone = alone();
    let host = burning();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            host.submit("good", Value::Null);
            started.elapsed()
        })
        .collect();
    let median = median(&mut times);
    // Each waits for the disk, which is a matter of milliseconds, or of some tens on a slow and shared one.
    assert!(median < Duration::from_millis(50), "median {median:?}, slowest {:?}", times[99]);
    assert!(times[99] < Duration::from_millis(1000), "median {median:?}, slowest {:?}", times[99]);
}

#[test]
fn a_dropped_file_serves_within_2_s() {
    let _alone = alone();
    let host = Host::prepare().start();
    for round in 0..5 {
        let name = format!("good-{round}");
        let dropped = Instant::now();
        host.drop_file(&format!("{name}.wasm"), guest::good());
        eventually("it serves", || (host.get(&format!("/v1/kinds/{name}")).status == 200).then_some(()));
        assert!(dropped.elapsed() < Duration::from_secs(2), "{:?}", dropped.elapsed());
    }
}

/// How long a job takes that computes for a while.
fn time_of_a_job(host: &Host) -> Duration {
    let job = host.wait_for(&host.submit("work", Value::Null), "succeeded");
    Duration::from_millis(job["usage"][0]["wall_ms"].as_u64().expect("a number"))
}

/// Fault: a large component is compiled, and everybody feels it.
#[test]
fn a_component_of_70_mb_slows_neither_jobs_nor_answers_while_it_is_compiled() {
    let _alone = alone();
    let work = "(local.set $i (i32.const 0)) (loop $more
        (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $more (i32.ne (local.get $i) (i32.const 100000000))))
        (return (call $done (text \"text/plain\") (text \"ok\")))";
    let host = Host::prepare().with_guest("work", guest::run(work)).set("workers", 1).start();
    let large = guest::huge(70);
    let answers = || {
        let answer = |_| {
            let started = Instant::now();
            assert_eq!(host.get("/healthz").status, 200);
            started.elapsed()
        };
        (0..20).map(answer).collect::<Vec<_>>()
    };
    let mut before: Vec<Duration> = (0..9).map(|_| time_of_a_job(&host)).collect();
    let mut answers_before: Vec<Duration> = (0..5).flat_map(|_| answers()).collect();
    host.drop_file("large.wasm", large);
    let state = || host.get("/v1/plugins").json()["plugins"][0]["state"].as_str().map(str::to_owned);
    eventually("it is being compiled", || (state().as_deref() == Some("compiling")).then_some(()));
    let mut during = Vec::new();
    let mut answers_during = Vec::new();
    while during.len() < 9 && state().as_deref() == Some("compiling") {
        during.push(time_of_a_job(&host));
        answers_during.extend(answers());
    }
    assert!(during.len() >= 3, "the test needs a larger file");
    let (before, during, answer) = (median(&mut before), median(&mut during), median(&mut answers_during));
    // Of those that are slow for one reason or another, too: nine of ten are faster than that.
    let [slow_before, slow_during] = [&mut answers_before, &mut answers_during].map(|times| {
        times.sort();
        times[times.len() * 9 / 10]
    });
    eprintln!(
        "a job: {before:?} before, {during:?} during; an answer: median {answer:?}, of ten the slowest {slow_before:?} before, {slow_during:?} during"
    );
    // On two processors the job keeps one nearly for itself; the rest is what a shared machine does.
    assert!(during < before * 2, "{before:?} became {during:?}");
    assert!(answer < Duration::from_millis(10), "median {answer:?}");
    // However loaded the machine is, it was so before.
    let most = (slow_before * 5).max(Duration::from_millis(50));
    assert!(slow_during < most, "{slow_before:?} became {slow_during:?}");
}

/// Fault: a thread that looks for work over and over while there is none it could start.
#[test]
fn a_host_that_waits_uses_no_processor() {
    let _alone = alone();
    let setup = Host::prepare().with_guest("good", guest::good());
    let host = setup.with_guest("sleepy", guest::sleeping(Duration::from_secs(3600))).start();
    host.submit("sleepy", Value::Null);
    host.submit_job(json!({"kind": "good", "delay": "1h"}));
    // A job of a kind that is gone is due, and nobody can take it.
    host.submit_job(json!({"kind": "good", "delay": "500ms"}));
    std::fs::remove_file(host.setup().plugins().join("good.wasm")).expect("the file is there");
    eventually("the kind is retired", || (host.get("/v1/kinds/good").status == 404).then_some(()));
    // This is the time that is measured.
    std::thread::sleep(Duration::from_secs(1));
    let before = host.process().cpu_time();
    std::thread::sleep(Duration::from_secs(4));
    let used = host.process().cpu_time() - before;
    assert!(used < Duration::from_millis(200), "{used:?} of 4 s");
}
