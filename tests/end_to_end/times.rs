//! When jobs run: delays, expiry, retries, priority, turns.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Host, eventually, guest};

fn time(job: &Value, name: &str) -> Timestamp {
    let text = job[name].as_str().unwrap_or_else(|| panic!("no {name} in {job}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A host with one worker, which an endless job of this id keeps busy.
fn busy_host() -> (Host, String) {
    let setup = Host::prepare().with_guest("endless", guest::endless()).with_guest("good", guest::good());
    let host = setup.with_plugin("message").set("workers", 1).start();
    let id = host.submit("endless", Value::Null);
    host.wait_for(&id, "running");
    (host, id)
}

#[test]
fn a_delayed_job_is_scheduled_and_runs_when_it_is_due() {
    let host = Host::start();
    for (answer, delay_ms) in [
        (host.post_job(&json!({"kind": "good", "delay": "1s"})), 1000),
        (host.post_job(&json!({"kind": "good", "delay": 700})), 700),
        (host.post("/v1/kinds/good/jobs?delay=800ms", "x"), 800),
    ] {
        let job = answer.json();
        assert_eq!((answer.status, &job["state"]), (202, &json!("scheduled")));
        assert_eq!(time(&job, "run_at").duration_since(time(&job, "created_at")).as_millis(), delay_ms);
        let done = host.wait_for(job["id"].as_str().expect("an id"), "succeeded");
        assert!(time(&done, "started_at") >= time(&job, "run_at"), "{done}");
    }
}

#[test]
fn a_job_runs_at_the_time_it_names() {
    let host = Host::start();
    let soon = Timestamp::now() + Duration::from_millis(800);
    let id = host.submit_job(json!({"kind": "good", "run_at": soon.to_string()}));
    let done = host.wait_for(&id, "succeeded");
    assert!(time(&done, "started_at").as_millisecond() >= soon.as_millisecond());
    // A time zone other than UTC, long past: at once.
    let id = host.submit_job(json!({"kind": "good", "run_at": "2020-01-01T12:00:00+05:30"}));
    assert_eq!(host.output(&id), b"ok");
}

#[test]
fn a_scheduled_job_can_be_cancelled() {
    let host = Host::start();
    let id = host.submit_job(json!({"kind": "good", "delay": "300ms"}));
    assert_eq!(host.cancel(&id)["state"], "cancelled");
    let later = host.submit_job(json!({"kind": "good", "delay": "600ms"}));
    host.wait_for(&later, "succeeded");
    assert_eq!(host.job(&id)["state"], "cancelled");
}

/// Fault: only a worker that looks for work moves due jobs, so with all of them busy a due job stays `scheduled`.
#[test]
fn a_due_job_is_queued_also_while_every_worker_is_busy() {
    let (host, endless) = busy_host();
    let id = host.submit_job(json!({"kind": "good", "delay": "300ms"}));
    host.wait_for(&id, "queued");
    host.cancel(&endless);
    assert_eq!(host.output(&id), b"ok");
}

#[test]
fn a_job_that_cannot_start_in_time_expires() {
    let (host, endless) = busy_host();
    let expiring = host.submit_job(json!({"kind": "good", "expires_in": "300ms"}));
    let patient = host.submit_job(json!({"kind": "good", "expires_in": "1h"}));
    let failure = host.failure(&expiring);
    assert_eq!((&failure["code"], &failure["fault"]), (&json!("expired"), &json!("job")));
    host.result(&expiring).refused(409, "expired");
    host.cancel(&endless);
    assert_eq!(host.output(&patient), b"ok");
    assert_eq!(host.job(&expiring)["started_at"], Value::Null);
}

#[test]
fn a_client_that_waits_hears_of_the_expiry() {
    let (host, _) = busy_host();
    let request =
        host.request(reqwest::Method::POST, "/v1/kinds/good/jobs?expires_in=300ms").header("prefer", "wait=30");
    crate::support::answer::Answer::of(request.body("x")).refused(409, "expired");
}

#[test]
fn a_job_that_started_in_time_may_run_on() {
    let host = Host::prepare().with_plugin("message").start();
    let input = json!({"message": "hi", "seconds": 2});
    let id = host.submit_job(json!({"kind": "message", "input": input, "expires_in": "1s"}));
    assert_eq!(host.output(&id), br#"{"message":"hi"}"#);
}

/// Fault: the pause before another attempt counted as not being started, and the true failure was lost.
#[test]
fn a_job_that_started_in_time_does_not_expire_between_its_attempts() {
    let second = r#"(if (i32.eq (local.get $attempt) (i32.const 2)) (then (return (call $done (text "text/plain") (text "ok")))))
                    (return (call $fail (i32.const 2) (text "not yet")))"#;
    let host = Host::prepare().with_guest("second", guest::run(second)).set("retry_pause", "4s").start();
    let id = host.submit_job(json!({"kind": "second", "expires_in": "1s"}));
    assert_eq!(host.output(&id), b"ok");
}

#[test]
fn a_transient_failure_is_tried_again_until_it_works() {
    let third = r#"(if (i32.eq (local.get $attempt) (i32.const 3)) (then (return (call $done (text "text/plain") (text "ok")))))
                   (return (call $fail (i32.const 2) (text "not yet")))"#;
    let host = Host::prepare().with_guest("third", guest::run(third)).set("retry_pause", "200ms").start();
    let id = host.submit("third", Value::Null);
    let pausing = host.wait_for(&id, "scheduled");
    assert_eq!((&pausing["failure"]["code"], &pausing["failure"]["retryable"]), (&json!("transient"), &json!(true)));
    assert!(pausing["run_at"].is_string() && pausing["started_at"].is_null(), "{pausing}");
    assert_eq!(host.output(&id), b"ok");
    let done = host.job(&id);
    assert_eq!((&done["attempts"], &done["failure"]), (&json!(3), &Value::Null));
    let attempts: Vec<_> = done["usage"].as_array().expect("a list").iter().map(|usage| &usage["attempt"]).collect();
    assert_eq!(attempts, [1, 2, 3]);
}

#[test]
fn attempts_are_limited() {
    let host = Host::prepare().with_guest("never", guest::run(r#"(return (call $fail (i32.const 2) (text "down")))"#));
    let host = host.set("retry_pause", "20ms").set("retry_pause_max", "40ms").start();
    for (options, attempts) in [(json!({}), 3), (json!({"max_attempts": 1}), 1), (json!({"max_attempts": 12}), 12)] {
        let mut body = json!({"kind": "never"});
        body.as_object_mut().expect("an object").extend(options.as_object().expect("an object").clone());
        let id = host.submit_job(body);
        let job = host.wait_for(&id, "failed");
        assert_eq!((&job["attempts"], &job["failure"]["code"]), (&json!(attempts), &json!("transient")));
        assert_eq!(job["failure"]["message"], "down");
        // The last ten reports are kept.
        assert_eq!(job["usage"].as_array().map(Vec::len), Some(attempts.min(10)));
    }
}

#[test]
fn a_plugins_advice_when_to_try_again_is_followed() {
    let advised = r#"(if (i32.eq (local.get $attempt) (i32.const 2)) (then (return (call $done (text "text/plain") (text "ok")))))
                     (drop (call $fail (i32.const 2) (text "busy")))
                     (i32.store (i32.const 536) (i32.const 1)) (i64.store (i32.const 544) (i64.const 1500))
                     (return (i32.const 512))"#;
    let host = Host::prepare().with_guest("advised", guest::run(advised)).set("retry_pause", "10ms").start();
    let id = host.submit("advised", Value::Null);
    let done = host.wait_for(&id, "succeeded");
    let waited = time(&done, "started_at").duration_since(time(&done, "created_at"));
    assert!(waited.as_millis() >= 1500, "{waited:?}");
}

#[test]
fn high_priority_goes_first() {
    let (host, endless) = busy_host();
    let submit = |priority: u8| {
        host.submit_job(json!({"kind": "message", "input": {"message": "", "seconds": 0.02}, "priority": priority}))
    };
    let [low, normal, high] = [0, 5, 9].map(submit);
    host.cancel(&endless);
    let started = [high, normal, low].map(|id| time(&host.wait_for(&id, "succeeded"), "started_at"));
    assert!(started.is_sorted(), "{started:?}");
}

#[test]
fn a_long_queue_of_one_kind_does_not_hold_up_another() {
    let (host, endless) = busy_host();
    let input = json!({"message": "", "seconds": 0.02});
    let crowd: Vec<String> = (0..20).map(|_| host.submit("message", input.clone())).collect();
    let single = host.submit("good", Value::Null);
    host.cancel(&endless);
    let single = time(&host.wait_for(&single, "succeeded"), "started_at");
    let before = crowd.iter().filter(|id| time(&host.wait_for(id, "succeeded"), "started_at") < single).count();
    assert!(before <= 2, "{before} jobs of the long queue went first");
}

#[test]
fn jobs_that_wait_in_a_host_call_share_one_thread() {
    let host = Host::prepare().with_guest("sleepy", guest::sleeping(Duration::from_secs(3600)));
    let host = host.with_guest("good", guest::good()).set("workers", 1).start();
    let ids: Vec<String> = (0..50).map(|_| host.submit("sleepy", Value::Null)).collect();
    eventually("all of them wait at the same time", || {
        (host.get("/v1/kinds/sleepy").json()["counts"]["running"] == 50).then_some(())
    });
    host.still_works();
    for id in &ids {
        assert_eq!(host.cancel(id)["state"], "cancelled");
    }
    host.still_works();
}

/// Fault: a clock that is wrong for a minute makes every result look old, and retention takes them all.
#[test]
fn a_clock_that_jumps_ahead_takes_no_result_away() {
    let setup = Host::prepare().with_guest("good", guest::good()).set("keep", "1h");
    let clock = setup.folder().join("clock");
    let host = setup.set("test_clock", clock.display()).start();
    let id = host.submit("good", Value::Null);
    assert_eq!(host.output(&id), b"ok");
    std::fs::write(&clock, (24 * 60 * 60 * 1000).to_string()).expect("writable");
    eventually("the jump is noticed", || host.process().stderr().contains("jumped forward").then_some(()));
    // Whatever that look at the clock led to is done when the next job, which it promotes, has run.
    let later = host.submit_job(json!({"kind": "good", "delay": "1500ms"}));
    assert_eq!(host.output(&later), b"ok");
    assert_eq!(host.output(&id), b"ok");
}
