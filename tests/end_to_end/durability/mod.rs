//! What survives: the host is killed, at rest and under load, and stopped. What becomes of its data folder stands in
//! `data_folder`.

mod data_folder;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::{Answer, builder};
use crate::support::{Host, eventually, guest};

fn message(seconds: f64) -> Value {
    json!({"message": "hi", "seconds": seconds})
}

/// Fault: the answer left before the job was on disk.
#[test]
fn accepted_job_survives_kill() {
    let mut host = Host::prepare().with_plugin("message").start();
    for _ in 0..3 {
        let id = host.submit("message", message(0.0));
        host.kill_and_restart();
        assert_eq!(host.output(&id), br#"{"message":"hi"}"#);
    }
}

/// Fault: a job that was running when the host died stays "running" for ever, or its lost attempt counts.
#[test]
fn running_job_survives_kill_and_ends_once() {
    let mut host = Host::prepare().with_plugin("message").start();
    let id = host.submit("message", message(1.5));
    host.wait_until(&id, "gets on", |job| job["progress"]["fraction"].as_f64() > Some(0.2));
    host.kill_and_restart();
    let done = host.wait_for(&id, "succeeded");
    assert_eq!((&done["attempts"], &done["crashes"], &done["interruptions"]), (&json!(1), &json!(0), &json!(0)));
    assert_eq!(done["usage"].as_array().map(Vec::len), Some(1), "only the attempt that ended left a report");
    assert_eq!(host.output(&id), br#"{"message":"hi"}"#);

    host.kill_and_restart();
    assert_eq!(host.job(&id), done, "an outcome is final");
    assert_eq!(host.get("/v1/jobs").json()["jobs"].as_array().map(Vec::len), Some(1));
}

#[test]
fn result_and_artifacts_survive_kill() {
    let big = r#"(drop (call $artifact (text "small.txt") (text "small")))
                 (drop (memory.grow (i32.const 2)))
                 (memory.fill (i32.const 131072) (i32.const 120) (i32.const 131072))
                 (drop (call $artifact (text "big.txt") (i32.const 131072) (i32.const 131072)))
                 (return (call $done (text "text/plain") (text "kept")))"#;
    let mut host = Host::prepare().with_guest("big", guest::run(big)).start();
    let id = host.submit("big", Value::Null);
    let done = host.wait_for(&id, "succeeded");
    host.kill_and_restart();
    assert_eq!(host.job(&id), done);
    assert_eq!(host.output(&id), b"kept");
    for (name, content) in [("small.txt", b"small".to_vec()), ("big.txt", vec![b'x'; 131_072])] {
        assert!(host.get(&format!("/v1/jobs/{id}/artifacts/{name}")).body == content, "{name}");
    }
}

#[test]
fn failed_and_cancelled_jobs_stay_so_after_kill() {
    let setup = Host::prepare().with_guest("endless", guest::endless()).with_guest("trap", guest::run(""));
    let mut host = setup.set("workers", 1).start();
    let failed = host.submit("trap", Value::Null);
    let failure = host.failure(&failed);
    let running = host.submit("endless", Value::Null);
    host.wait_for(&running, "running");
    let waiting = host.submit("trap", Value::Null);
    for id in [&waiting, &running] {
        assert_eq!(host.cancel(id)["state"], "cancelled");
    }
    host.kill_and_restart();
    assert_eq!(host.failure(&failed), failure);
    for id in [&waiting, &running] {
        assert_eq!(host.job(id)["state"], "cancelled");
        host.result(id).refused(409, "cancelled");
    }
}

#[test]
fn scheduled_job_survives_kill_and_runs_when_due() {
    let mut host = Host::start();
    let id = host.submit_job(json!({"kind": "good", "delay": "3s", "tags": ["later"], "priority": 2}));
    let scheduled = host.job(&id);
    host.kill_and_restart();
    let again = host.job(&id);
    // On a very slow machine it may be due by now.
    if again["state"] == "scheduled" {
        assert_eq!(again, scheduled);
    }
    assert_eq!(host.output(&id), b"ok");
    let done = host.job(&id);
    assert!(done["started_at"].as_str() >= scheduled["run_at"].as_str(), "{done}");
}

#[test]
fn retries_survive_kill() {
    let third = r#"(if (i32.eq (local.get $attempt) (i32.const 3)) (then (return (call $done (text "text/plain") (text "ok")))))
                   (return (call $fail (i32.const 2) (text "not yet")))"#;
    let mut host = Host::prepare().with_guest("third", guest::run(third)).set("retry_pause", "1s").start();
    let id = host.submit("third", Value::Null);
    let paused = host.wait_for(&id, "scheduled");
    host.kill_and_restart();
    assert!(host.job(&id)["attempts"].as_u64() >= paused["attempts"].as_u64());
    assert_eq!(host.output(&id), b"ok");
    assert_eq!(host.job(&id)["attempts"], 3);
}

/// Fault: jobs acknowledged in the same instant as the crash are lost, doubled, or stuck.
#[test]
fn every_acknowledged_job_survives_a_kill_under_load() {
    let mut host = Host::prepare().with_guest("echo", guest::echo()).start();
    let acknowledged = Mutex::new(Vec::new());
    for round in 1..=3 {
        let count = AtomicUsize::new(0);
        let address = host.process().address().to_owned();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| submit_until_killed(&address, &acknowledged, &count));
            }
            eventually("enough jobs are acknowledged", || (count.load(Ordering::Relaxed) > 150).then_some(()));
            host.kill();
        });
        host.start_again();
        let acknowledged = acknowledged.lock().expect("no submitter panicked");
        assert_eq!(acknowledged.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(), acknowledged.len());
        for (id, text) in acknowledged.iter() {
            assert_eq!(host.output(id), text.as_bytes(), "round {round}");
        }
        assert_all_end(&host);
    }
}

fn submit_until_killed(address: &str, acknowledged: &Mutex<Vec<(String, String)>>, count: &AtomicUsize) {
    let client = builder().build().expect("a client can be made");
    loop {
        let text = uuid::Uuid::now_v7().to_string();
        let request = client.post(format!("{address}/v1/kinds/echo/jobs")).body(text.clone());
        let Ok(answer) = Answer::try_of(request) else { return };
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        acknowledged.lock().expect("no submitter panicked").push((id, text));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Also the jobs whose acknowledgement got lost on the way end: none is stuck.
fn assert_all_end(host: &Host) {
    eventually("every job has ended", || {
        let counts = host.get("/v1/kinds/echo").json()["counts"].clone();
        ["queued", "running", "scheduled"].iter().all(|state| counts[state] == 0).then_some(())
    });
}

#[test]
fn repeated_kills_lose_nothing() {
    let mut host = Host::prepare().with_plugin("message").start();
    let ids: Vec<String> = (0..12).map(|_| host.submit("message", message(0.2))).collect();
    for pause_ms in [1, 50, 120, 250, 400] {
        // Different moments of the life of a host; which ones does not matter.
        std::thread::sleep(Duration::from_millis(pause_ms));
        host.kill_and_restart();
    }
    for id in &ids {
        assert_eq!(host.output(id), br#"{"message":"hi"}"#);
        assert_eq!(host.job(id)["attempts"], 1);
    }
}

#[test]
fn a_graceful_stop_hands_running_jobs_back() {
    let mut host = Host::prepare().with_plugin("message").set("workers", 1).set("grace", "0s").start();
    let running = host.submit("message", message(2.0));
    let waiting = host.submit("message", message(0.0));
    host.wait_until(&running, "gets on", |job| job["progress"]["fraction"].as_f64() > Some(0.0));
    assert!(host.terminate().success());

    host.start_again();
    let done = host.wait_for(&running, "succeeded");
    assert_eq!((&done["interruptions"], &done["attempts"], &done["crashes"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(done["usage"][0]["bound"], "interrupted");
    assert_eq!(host.wait_for(&waiting, "succeeded")["interruptions"], 0);
    assert_eq!(host.output(&running), br#"{"message":"hi"}"#);
}

#[test]
fn a_graceful_stop_answers_those_who_wait() {
    let mut host = Host::prepare().with_guest("endless", guest::endless()).start();
    let request = host.request(Method::POST, "/v1/kinds/endless/jobs").header("prefer", "wait=60").body("x");
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(move || Answer::of(request));
        eventually("the job runs", || {
            let running = host.get("/v1/jobs?state=running").json();
            running["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1).then_some(())
        });
        assert!(host.terminate().success());
        waiting.join().expect("the waiting client gets an answer")
    });
    assert_eq!(answer.status, 202);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    host.start_again();
    assert_eq!(host.wait_for(&id, "running")["interruptions"], 1);
    host.cancel(&id);
}

#[test]
fn jobs_of_a_removed_kind_wait_for_it_across_a_restart() {
    let setup = Host::prepare().with_guest("echo", guest::echo()).with_guest("endless", guest::endless());
    let mut host = setup.set("workers", 1).start();
    let busy = host.submit("endless", Value::Null);
    host.wait_for(&busy, "running");
    let id = host.submit_raw("echo", "still here");
    host.kill();
    std::fs::remove_file(host.setup().plugins().join("echo.wasm")).expect("the file is there");
    host.start_again();
    host.cancel(&busy);
    assert_eq!(host.job(&id)["state"], "queued");
    host.drop_file("echo.wasm", guest::echo());
    assert_eq!(host.output(&id), b"still here");
}
