//! Kinds that are paused, and hosts that are told to stop.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Host, eventually, guest};

fn pause(host: &Host, kind: &str) -> Value {
    let answer = host.post(&format!("/v1/kinds/{kind}/pause"), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn resume(host: &Host, kind: &str) -> Value {
    let answer = host.post(&format!("/v1/kinds/{kind}/resume"), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_paused_kinds_jobs_wait_and_others_do_not() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("other", guest::good()).start();
    assert_eq!(host.get("/v1/kinds/good").json()["paused"], false);
    assert_eq!(pause(&host, "good")["paused"], true);
    assert_eq!(pause(&host, "good")["paused"], true, "pausing twice is the same");
    let waiting = host.submit("good", Value::Null);
    // The other kind's jobs come and go meanwhile.
    for _ in 0..5 {
        host.output(&host.submit("other", Value::Null));
    }
    assert_eq!(host.job(&waiting)["state"], "queued");
    assert_eq!(host.get(&format!("/v1/jobs/{waiting}/explain")).json()["rule"], "paused");
    assert_eq!(host.get("/v1/kinds/good").json()["paused"], true);
    assert_eq!(resume(&host, "good")["paused"], false);
    assert_eq!(host.output(&waiting), b"ok");
    host.post("/v1/kinds/absent/pause", "").refused(404, "unknown_kind");
    host.post("/v1/kinds/NO/resume", "").refused(404, "unknown_kind");
}

#[test]
fn a_pause_lets_running_jobs_go_on() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_millis(500))).start();
    let running = host.submit("slow", Value::Null);
    host.wait_for(&running, "running");
    pause(&host, "slow");
    host.wait_for(&running, "succeeded");
    let scheduled = host.submit_job(json!({"kind": "slow", "delay": "100ms"}));
    host.wait_for(&scheduled, "queued");
    resume(&host, "slow");
    host.wait_for(&scheduled, "succeeded");
}

#[test]
fn a_pause_survives_kill_and_so_does_its_end() {
    let mut host = Host::start();
    pause(&host, "good");
    let waiting = host.submit("good", Value::Null);
    host.kill_and_restart();
    assert_eq!(host.get("/v1/kinds/good").json()["paused"], true);
    assert_eq!(host.job(&waiting)["state"], "queued");
    resume(&host, "good");
    host.wait_for(&waiting, "succeeded");
    host.kill_and_restart();
    assert_eq!(host.get("/v1/kinds/good").json()["paused"], false);
    host.still_works();
    host.kill();
    assert!(host.setup().verify().status.success());
}

/// Fault: two change a kind at once, the disk has the word of one and memory that of the other, until the next start.
#[test]
fn who_pauses_and_resumes_at_the_same_time_finds_the_same_after_a_restart() {
    let mut host = Host::start();
    for round in 0..6 {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let host = &host;
                scope.spawn(move || {
                    for turn in 0..10 {
                        if (client + turn) % 2 == 0 {
                            pause(host, "good")
                        } else {
                            resume(host, "good")
                        };
                    }
                });
            }
        });
        let before = host.get("/v1/kinds/good").json()["paused"].clone();
        host.kill_and_restart();
        assert_eq!(host.get("/v1/kinds/good").json()["paused"], before, "in round {round}");
    }
    resume(&host, "good");
    host.still_works();
}

#[test]
fn a_host_told_to_stop_lets_running_jobs_end_within_the_grace() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_millis(1_500)));
    let mut host = host.with_guest("good", guest::good()).set("grace", "30s").start();
    let running = host.submit("slow", Value::Null);
    host.wait_for(&running, "running");
    host.process().signal(Signal::TERM);
    let not_ready =
        eventually("it says that it is about to stop", || Some(host.get("/readyz")).filter(|a| a.status != 200));
    not_ready.refused(503, "not_ready");
    // Still served meanwhile, and still accepting; what is accepted waits for the next start.
    let late = host.submit("good", Value::Null);
    assert_eq!(host.job(&late)["state"], "queued");
    assert_eq!(host.get(&format!("/v1/jobs/{late}/explain")).json()["rule"], "draining");
    assert!(host.ended().success());
    host.start_again();
    let job = host.job(&running);
    assert_eq!((&job["state"], &job["interruptions"]), (&json!("succeeded"), &json!(0)));
    host.wait_for(&late, "succeeded");
}

#[test]
fn a_job_that_outlasts_the_grace_is_handed_back() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_secs(20)));
    let mut host = host.set("grace", "300ms").set("timeout", "60s").start();
    let id = host.submit("slow", Value::Null);
    host.wait_for(&id, "running");
    let begin = Instant::now();
    assert!(host.terminate().success());
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(15), "{took:?}");
    host.start_again();
    let job = host.wait_until(&id, "runs again", |job| job["state"] == "running");
    assert_eq!((&job["interruptions"], &job["attempts"]), (&json!(1), &json!(0)));
}

#[test]
fn a_host_told_twice_stops_at_once() {
    let mut host = Host::prepare().with_guest("endless", guest::endless()).set("grace", "10m").start();
    let id = host.submit("endless", Value::Null);
    host.wait_for(&id, "running");
    host.process().signal(Signal::TERM);
    eventually("it says that it is about to stop", || (host.get("/readyz").status == 503).then_some(()));
    assert!(host.terminate().success());
}
