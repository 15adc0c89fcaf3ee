//! Options of a job: each has its bounds, and is named where it is beyond them or not there yet.

use serde_json::{Value, json};

use super::{detail, pointer};
use crate::support::{Host, guest};

/// A moment so many days from now.
fn in_days(days: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string()
}

#[test]
fn options_have_bounds() {
    let host = Host::prepare().with_guest("good", guest::good()).set("timeout_max", "10s").set("timeout", "5s").start();
    let job = |options: &Value| {
        let mut job = json!({"kind": "good"});
        job.as_object_mut().expect("an object").append(&mut options.as_object().expect("an object").clone());
        job
    };
    // The first one is the one that is wrong.
    for (wrong, right) in [
        (json!({"priority": 10}), json!({"priority": 9})),
        (json!({"timeout": "10001ms"}), json!({"timeout": "10s"})),
        (json!({"timeout": 0}), json!({"timeout": 1000})),
        (json!({"max_attempts": 0}), json!({"max_attempts": 1})),
        (json!({"delay": "1s", "run_at": in_days(1)}), json!({"delay": "1ms"})),
        (json!({"expires_in": format!("{}h", 366 * 24 + 1)}), json!({"expires_in": format!("{}h", 366 * 24)})),
        (json!({"tags": ["x".repeat(65)]}), json!({"tags": ["x".repeat(64)]})),
    ] {
        let name = wrong.as_object().and_then(|options| options.keys().next()).expect("an option");
        let problem = host.post_job(&job(&wrong)).refused(422, "invalid_option");
        assert!(detail(&problem).contains(name.as_str()), "{problem}");
        assert_eq!(pointer(&problem), format!("/{name}"), "{problem}");
        assert_eq!(problem["errors"][0]["parameter"], Value::Null, "{problem}");
        let line = host.post("/v1/jobs/batch", job(&wrong).to_string()).json();
        assert_eq!(pointer(&line["problem"]), format!("/{name}"), "{line}");
        assert_eq!(host.output(&host.submit_job(job(&right))), b"ok", "{right}");
    }
    // What is put off is not waited for here.
    for (name, wrong, right) in
        [("delay", format!("{}h", 366 * 24 + 1), format!("{}h", 366 * 24)), ("run_at", in_days(367), in_days(365))]
    {
        let problem = host.post_job(&job(&json!({name: wrong}))).refused(422, "invalid_option");
        assert_eq!(pointer(&problem), format!("/{name}"), "{problem}");
        let id = host.submit_job(job(&json!({name: right})));
        assert_eq!(host.job(&id)["state"], "scheduled");
    }
    let long = "x".repeat(65);
    for (query, name) in [
        ("priority=10", "priority"),
        ("priority=high", "priority"),
        ("timeout=11s", "timeout"),
        ("delay=soon", "delay"),
        ("run_at=never", "run_at"),
        ("run_at=3000-01-01T00:00:00Z", "run_at"),
        ("expires_in=9000h", "expires_in"),
        ("on_timeout=explode", "on_timeout"),
        (&format!("tag={long}"), "tag"),
        ("webhook=x", "webhook"),
    ] {
        let problem = host.post(&format!("/v1/kinds/good/jobs?{query}"), "x").refused(422, "invalid_option");
        assert_eq!(problem["errors"][0]["parameter"], name, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], Value::Null, "{problem}");
        assert!(detail(&problem).contains(name), "{problem}");
    }
}

#[test]
fn what_this_version_cannot_do_yet_is_refused_not_ignored() {
    let host = Host::start();
    let problem = host.post_job(&json!({"kind": "good", "after": "x"})).refused(422, "invalid_option");
    assert_eq!(pointer(&problem), "/after");
    host.post("/v1/kinds/good/jobs?after=x", "x").refused(422, "invalid_option");
}
