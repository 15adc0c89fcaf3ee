//! Submitting and waiting: RFC 9110, RFC 7240, Idempotency-Key.

use reqwest::Method;
use serde_json::json;

use crate::Check;
use crate::support::answer::Answer;
use crate::target::Target;

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check {
            clause: "RFC 9110, 15.3.3, 10.2.2, 10.2.3",
            claim: "an accepted job is 202 with a Location that leads to it, and Retry-After in seconds",
            check: accepted,
        },
        Check {
            clause: "RFC 9562, 5.7; RFC 3339, 5.6",
            claim: "ids are UUIDs of version 7, times are in UTC",
            check: formats,
        },
        Check {
            clause: "RFC 9110, 15.3.3 and 15.5.10",
            claim: "a result that is not there yet is 202, one that never will be 409",
            check: results_that_are_not_there,
        },
        Check { clause: "RFC 9110, 9.2.2", claim: "cancelling twice is cancelling once", check: cancel_twice },
        Check {
            clause: "RFC 9110, 9.3.5 and 15.3.5",
            claim: "deleting is 204, and what was deleted is 404",
            check: delete,
        },
        Check {
            clause: "RFC 7240, 4.3 and 3",
            claim: "Prefer: wait is kept, and Preference-Applied says so",
            check: wait,
        },
        Check {
            clause: "RFC 7240, 2",
            claim: "preferences that are unknown or malformed are ignored",
            check: unknown_preferences,
        },
        Check {
            clause: "draft idempotency-key-header, 2",
            claim: "the same key and request is the same job, in either form of the key",
            check: same_key,
        },
        Check {
            clause: "draft idempotency-key-header, 2.6",
            claim: "the same request that arrives many times at once is one job",
            check: same_key_at_once,
        },
        Check {
            clause: "draft idempotency-key-header, 2.7",
            claim: "a key that comes with another request is 422, a malformed one 400",
            check: other_request,
        },
    ]
}

fn accepted(target: &Target) {
    let answer = target.post("/v1/jobs", &target.job(&json!({})));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    let found = target.get(answer.header("location"));
    assert_eq!((found.status, &found.json()["id"]), (200, &answer.json()["id"]));
}

fn formats(target: &Target) {
    let job = target.get(&target.finished()).json();
    let id = job["id"].as_str().expect("an id");
    assert_eq!((id.len(), &id[14..15], id), (36, "7", id.to_lowercase().as_str()));
    for name in ["created_at", "started_at", "finished_at"] {
        let text = job[name].as_str().expect("a time");
        assert!(text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'), "{name}: {text}");
    }
}

fn results_that_are_not_there(target: &Target) {
    let pending = target.pending();
    let result = format!("{}/result", pending.path);
    let answer = target.get(&result);
    assert_eq!((answer.status, answer.header("location")), (202, pending.path.as_str()));
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(target.post(&format!("{}/cancel", pending.path), &json!(null)).status, 200);
    target.get(&result).refused(409, "cancelled");
}

fn cancel_twice(target: &Target) {
    let pending = target.pending();
    let cancel = || target.post(&format!("{}/cancel", pending.path), &json!(null));
    let (once, twice) = (cancel(), cancel());
    assert_eq!((once.status, twice.status, once.json()), (200, 200, twice.json()));
    assert_eq!(once.json()["state"], "cancelled");
}

fn delete(target: &Target) {
    let path = target.finished();
    let answer = Answer::of(target.request(Method::DELETE, &path));
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    target.get(&path).refused(404, "unknown_job");
}

fn wait(target: &Target) {
    let request = target.request(Method::POST, "/v1/jobs").body(target.job(&json!({})).to_string());
    let answer = Answer::of(request.header("prefer", "wait=30"));
    assert_eq!((answer.status, answer.header("preference-applied")), (200, "wait=30"), "{}", answer.text());
    assert_eq!(target.get(answer.header("location")).json()["state"], "succeeded");
    let pending = target.pending();
    let result = target.request(Method::GET, &format!("{}/result", pending.path)).header("prefer", "wait=1");
    let (begun, answer) = (std::time::Instant::now(), Answer::of(result));
    assert_eq!((answer.status, answer.header("preference-applied")), (202, "wait=1"));
    assert!((0.9..20.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
}

fn unknown_preferences(target: &Target) {
    for prefer in ["respond-async", "return=minimal, x=y; z", "wait", "wait=soon", ",,;=", "handling=lenient; wait=9"] {
        let request = target.request(Method::GET, &target.finished()).header("prefer", prefer);
        assert_eq!(Answer::of(request).status, 200, "{prefer}");
    }
    let request = target.request(Method::GET, &format!("{}/result", target.finished()));
    let answer = Answer::of(request.header("prefer", "return=minimal, wait=\"5\"; x"));
    assert_eq!((answer.status, answer.header("preference-applied")), (200, "wait=5"), "found among others");
}

fn submit_with_key(target: &Target, key: &str, priority: u8) -> Answer {
    let body = target.job(&json!({"priority": priority})).to_string();
    Answer::of(target.request(Method::POST, "/v1/jobs").header("idempotency-key", key).body(body))
}

/// A key nobody has used.
fn fresh_key() -> String {
    format!("conformance-{}", uuid::Uuid::now_v7())
}

fn same_key(target: &Target) {
    let key = fresh_key();
    let first = submit_with_key(target, &format!("\"{key}\""), 5);
    assert_eq!(first.status, 202, "{}", first.text());
    for form in [format!("\"{key}\""), key.clone()] {
        let again = submit_with_key(target, &form, 5);
        assert_eq!((again.status, again.header("location")), (202, first.header("location")), "{form}");
    }
    assert_ne!(submit_with_key(target, &fresh_key(), 5).header("location"), first.header("location"));
}

fn same_key_at_once(target: &Target) {
    let key = fresh_key();
    let places: Vec<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8).map(|_| scope.spawn(|| submit_with_key(target, &key, 5))).collect();
        senders.into_iter().map(|sender| sender.join().expect("an answer").header("location").to_owned()).collect()
    });
    assert!(!places[0].is_empty() && places.iter().all(|place| *place == places[0]), "{places:?}");
}

fn other_request(target: &Target) {
    let key = fresh_key();
    assert_eq!(submit_with_key(target, &key, 5).status, 202);
    submit_with_key(target, &key, 6).refused(422, "idempotency_key_reused");
    for malformed in ["\"\"", &"x".repeat(300)] {
        submit_with_key(target, malformed, 5).refused(400, "malformed");
    }
}
