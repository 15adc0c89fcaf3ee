//! What jobs give back, and how a client waits for it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::answer::Answer;
use crate::support::{Host, guest};

#[test]
fn a_message_comes_back() {
    let host = Host::prepare().with_plugin("message").start();
    let id = host.submit("message", json!({"message": "hi", "seconds": 0.1}));
    let job = host.wait_for(&id, "succeeded");
    assert_eq!((&job["attempts"], &job["failure"]), (&json!(1), &Value::Null));

    let result = host.result(&id);
    assert_eq!((result.status, result.header("content-type")), (200, "application/json"));
    assert_eq!(result.json(), json!({"message": "hi"}));
}

#[test]
fn a_quarter_circle_measures_pi() {
    let host = Host::prepare().with_plugin("integrate").start();
    let measure = |size: u32| {
        let id = host.submit("integrate", json!({"f": "sqrt(4-xs**2)", "a": 0, "b": 2, "c": 0, "d": 2, "size": size}));
        let result: Value = serde_json::from_slice(&host.output(&id)).expect("the result is JSON");
        (result["result"].as_f64().expect("the result is a number") - std::f64::consts::PI).abs()
    };
    assert!(measure(1000) < 0.01);
    assert!(measure(4000) < 0.002, "a finer grid comes closer");
}

#[test]
fn a_bad_formula_is_the_clients_mistake_and_says_where() {
    let host = Host::prepare().with_plugin("integrate").start();
    let id = host.submit("integrate", json!({"f": "sqrt(4+*xs)", "a": 0, "b": 2, "c": 0, "d": 2, "size": 10}));
    let job = host.wait_for(&id, "failed");
    let failure = &job["failure"];
    assert_eq!((&failure["code"], &failure["fault"]), (&json!("invalid_input"), &json!("job")));
    assert_eq!((&failure["retryable"], &job["attempts"]), (&json!(false), &json!(1)));
    assert!(failure["message"].as_str().is_some_and(|text| text.contains("position 8")), "{failure}");

    let problem = host.result(&id).refused(409, "invalid_input");
    assert_eq!(&problem["failure"], failure);
}

#[test]
fn progress_can_be_seen_while_the_job_runs() {
    let host = Host::prepare().with_plugin("message").start();
    let id = host.submit("message", json!({"message": "hi", "seconds": 3}));
    let job = host.wait_until(&id, "says how far it is", |job| job["progress"]["fraction"].as_f64() > Some(0.0));
    assert_eq!(job["state"], "running");
    assert!(job["progress"]["message"].as_str().is_some_and(|text| text.ends_with("of 3.0 s")), "{job}");
    let before = job["progress"]["fraction"].as_f64();
    host.wait_until(&id, "gets on", |job| job["progress"]["fraction"].as_f64() > before);
}

#[test]
fn who_prefers_to_wait_gets_the_result_at_once() {
    let host = Host::prepare().with_plugin("message").start();
    let body = json!({"kind": "message", "input": {"message": "hi", "seconds": 0.3}}).to_string();
    let answer = Answer::of(host.request(Method::POST, "/v1/jobs").header("prefer", "wait=30").body(body));
    assert_eq!((answer.status, answer.json()), (200, json!({"message": "hi"})));
    assert_eq!(answer.header("preference-applied"), "wait=30");
    let location = answer.header("location");
    assert_eq!(host.get(location).json()["state"], "succeeded");
}

#[test]
fn who_waits_for_a_failing_job_gets_the_failure() {
    let host = Host::prepare().with_guest("fails", guest::run(r#"(return (call $fail (i32.const 1) (text "no")))"#));
    let host = host.start();
    let answer = Answer::of(host.request(Method::POST, "/v1/kinds/fails/jobs").header("prefer", "wait=30").body("x"));
    let problem = answer.refused(409, "plugin_error");
    assert_eq!(problem["failure"]["message"], "no");
    assert!(answer.header("location").starts_with("/v1/jobs/"));
}

#[test]
fn who_waits_too_short_gets_the_job_and_may_wait_again() {
    let host = Host::prepare().with_plugin("message").start();
    let body = json!({"kind": "message", "input": {"message": "hi", "seconds": 2.5}}).to_string();
    let answer = Answer::of(host.request(Method::POST, "/v1/jobs").header("prefer", "wait=1").body(body));
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("preference-applied"), "wait=1");
    let result = format!("{}/result", answer.header("location"));

    let pending = host.get(&result);
    assert_eq!((pending.status, pending.json()["state"].clone()), (202, json!("running")));
    assert!(!pending.header("retry-after").is_empty());
    let done = Answer::of(host.request(Method::GET, &result).header("prefer", "wait=30"));
    assert_eq!((done.status, done.header("preference-applied")), (200, "wait=30"));
    assert_eq!(done.json(), json!({"message": "hi"}));
}

#[test]
fn nobody_waits_longer_than_the_host_allows() {
    let host = Host::prepare().with_guest("endless", guest::endless()).set("wait_max", "1s").start();
    let request = host.request(Method::POST, "/v1/kinds/endless/jobs").header("prefer", "wait=100000000000");
    let answer = Answer::of(request.body("x"));
    assert_eq!((answer.status, answer.header("preference-applied")), (202, "wait=1"));
    host.cancel(answer.json()["id"].as_str().expect("an id"));
}

#[test]
fn who_waits_no_longer_may_have_the_job_cancelled() {
    let host = Host::prepare().with_guest("endless", guest::endless()).with_guest("good", guest::good());
    let host = host.set("workers", 1).start();
    let request = host.request(Method::POST, "/v1/kinds/endless/jobs?on_timeout=cancel");
    let answer = Answer::of(request.header("prefer", "wait=1").body("x"));
    answer.refused(504, "wait_timeout");
    assert_eq!(host.get(answer.header("location")).json()["state"], "cancelled");
    // The only worker is free again.
    host.still_works();
}

#[test]
fn a_cancelled_job_stops_and_stays_cancelled() {
    let host = Host::prepare().with_guest("endless", guest::endless()).with_guest("good", guest::good());
    let host = host.set("workers", 1).start();
    let running = host.submit("endless", Value::Null);
    host.wait_for(&running, "running");
    let waiting = host.submit("good", Value::Null);
    assert_eq!(host.cancel(&waiting)["state"], "cancelled", "before it started");
    assert_eq!(host.cancel(&running)["state"], "cancelled", "while it runs");
    host.still_works();
    for id in [&running, &waiting] {
        host.result(id).refused(409, "cancelled");
        assert_eq!(host.cancel(id)["state"], "cancelled", "cancelling again changes nothing");
    }
    let job = host.wait_until(&running, "has its report", |job| job["usage"] != json!([]));
    assert_eq!((&job["usage"][0]["bound"], &job["attempts"]), (&json!("cancelled"), &json!(0)));
}

#[test]
fn cancelling_a_finished_job_changes_nothing() {
    let host = Host::start();
    let id = host.submit("good", Value::Null);
    let done = host.wait_for(&id, "succeeded");
    assert_eq!(host.cancel(&id), done);
    assert_eq!(host.output(&id), b"ok");
}

#[test]
fn artifacts_are_listed_in_creation_order_with_their_sums() {
    let artifacts = guest::run(
        r#"(drop (call $artifact (text "zebra.txt") (text "stripes")))
           (drop (call $artifact (text "ant.txt") (text "six legs")))
           (drop (call $artifact (text "Übergröße 1.txt") (text "")))
           (return (call $done (text "text/plain") (text "three")))"#,
    );
    let host = Host::prepare().with_guest("artifacts", artifacts).start();
    let id = host.submit("artifacts", Value::Null);
    assert_eq!(host.output(&id), b"three");

    let list = host.artifacts(&id);
    for (artifact, (name, content)) in
        list.iter().zip([("zebra.txt", "stripes"), ("ant.txt", "six legs"), ("Übergröße 1.txt", "")])
    {
        let sha256 = hex::encode(Sha256::digest(content));
        let expected = json!({"name": name, "media_type": "text/plain", "size": content.len(), "sha256": sha256});
        assert_eq!(*artifact, expected);
        let fetched = host.get(&format!("/v1/jobs/{id}/artifacts/{name}"));
        assert_eq!((fetched.status, fetched.header("content-type")), (200, "text/plain"));
        assert_eq!(fetched.text(), content);
    }
    assert_eq!(list.len(), 3);
    host.get(&format!("/v1/jobs/{id}/artifacts/missing.txt")).refused(404, "unknown_artifact");
}

#[test]
fn large_results_come_back_byte_for_byte_also_after_a_restart() {
    let mut host = Host::prepare().with_guest("echo", guest::echo()).start();
    // Just inside and outside of what is kept in the database, and as much as `input.bytes` gives at once.
    let ids = [0, 1, 64 * 1024, 64 * 1024 + 1, 1 << 20].map(|size| {
        let id = host.submit_raw("echo", pattern(size));
        assert!(host.output(&id) == pattern(size), "{size} bytes");
        (size, id)
    });
    host.kill_and_restart();
    for (size, id) in ids {
        assert!(host.output(&id) == pattern(size), "{size} bytes after the restart");
    }
}

#[test]
fn a_file_submitted_as_curl_does_is_octets() {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    for (sent, received) in [
        (Some("application/x-www-form-urlencoded"), "application/octet-stream"),
        (None, "application/octet-stream"),
        (Some("image/png"), "image/png"),
    ] {
        let mut request = host.request(Method::POST, "/v1/kinds/echo/jobs").body("a=b&c");
        if let Some(sent) = sent {
            request = request.header("content-type", sent);
        }
        let id = Answer::of(request).json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(host.output(&id), b"a=b&c");
        assert_eq!(host.result(&id).header("content-type"), received);
    }
}

#[test]
fn json_input_reaches_the_plugin_as_it_was_written() {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    let id =
        host.post("/v1/jobs", r#"{"kind": "echo", "input": {"b": 1.0,  "a": "\u00e9", "a": 10000000000000000000000}}"#);
    let id = id.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(host.output(&id), br#"{"b": 1.0,  "a": "\u00e9", "a": 10000000000000000000000}"#);
    assert_eq!(host.result(&id).header("content-type"), "application/json");
}

#[test]
fn many_jobs_at_once_each_get_their_own_result() {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let host = &host;
            scope.spawn(move || {
                let ids: Vec<_> = (0..25).map(|n| (n, host.submit_raw("echo", format!("{client}.{n}")))).collect();
                for (n, id) in ids {
                    assert_eq!(host.output(&id), format!("{client}.{n}").as_bytes());
                }
            });
        }
    });
}

#[test]
fn the_usage_report_says_what_an_attempt_took() {
    let host = Host::prepare()
        .with_guest("echo", guest::echo())
        .with_guest("sleepy", guest::sleeping(Duration::from_millis(300)));
    let host = host.start();
    let id = host.submit_raw("echo", pattern(1000));
    let usage = host.wait_for(&id, "succeeded")["usage"].clone();
    assert_eq!(usage.as_array().map(Vec::len), Some(1));
    assert_eq!((&usage[0]["attempt"], &usage[0]["bound"]), (&json!(1), &Value::Null));
    assert_eq!((&usage[0]["bytes_in"], &usage[0]["bytes_out"]), (&json!(1000), &json!(1000)));
    assert_eq!(usage[0]["memory_bytes_peak"], 2 * 65536);
    assert_eq!(usage[0]["plugin_digest"], host.file("echo.wasm")["digest"]);
    assert!(usage[0]["fuel"].as_u64() > Some(0));

    let usage = host.wait_for(&host.submit("sleepy", Value::Null), "succeeded")["usage"][0].clone();
    assert!(usage["parked_ms"].as_u64() >= Some(290), "{usage}");
    assert!(usage["wall_ms"].as_u64() >= usage["parked_ms"].as_u64(), "{usage}");
    assert!(usage["cpu_ms"].as_u64() < Some(100), "{usage}");
}

/// Bytes in which a piece that is lost, doubled or swapped shows.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}
