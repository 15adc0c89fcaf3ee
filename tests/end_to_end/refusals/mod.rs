//! Requests the host refuses, each with its own status and code, as RFC 9457 has it.

mod options;
mod sizes;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::{Host, guest};

/// Where the first mistake is, as the problem says.
fn pointer(problem: &Value) -> &str {
    problem["errors"][0]["pointer"].as_str().unwrap_or_else(|| panic!("no pointer in {problem}"))
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap_or_else(|| panic!("no detail in {problem}"))
}

#[test]
fn what_is_not_json_is_malformed() {
    let host = Host::start();
    for body in ["", "{", "kind=good", r#"{"kind": "good"} and more"#, r#"{"kind": "good"}{"kind": "good"}"#, "\u{0}"] {
        host.post("/v1/jobs", body).refused(400, "malformed");
    }
    host.post("/v1/jobs", &b"{\"kind\": \"\xff\"}"[..]).refused(400, "malformed");
    host.still_works();
}

#[test]
fn what_does_not_describe_a_job_is_malformed_and_the_place_is_named() {
    let host = Host::start();
    for (body, place) in [
        (json!({"kind": 3}), "/kind"),
        (json!({"kind": "good", "priority": "high"}), "/priority"),
        (json!({"kind": "good", "priority": -1}), "/priority"),
        (json!({"kind": "good", "delay": "soon"}), "/delay"),
        (json!({"kind": "good", "timeout": "-2s"}), "/timeout"),
        (json!({"kind": "good", "run_at": "tomorrow"}), "/run_at"),
        (json!({"kind": "good", "tags": "one"}), "/tags"),
        (json!({"kind": "good", "tags": ["one", 2]}), "/tags/1"),
        (json!({"kind": "good", "parameters": {"a/b": {"c": 1}}}), "/parameters/a~1b"),
    ] {
        let problem = host.post_job(&body).refused(400, "malformed");
        assert_eq!(pointer(&problem), place, "{body}: {problem}");
    }
    for body in ["[]", "null", "\"good\""] {
        host.post("/v1/jobs", body).refused(400, "malformed");
    }
}

#[test]
fn a_missing_kind_and_an_unknown_field_are_named() {
    let host = Host::start();
    let missing = host.post_job(&json!({"input": 1})).refused(400, "malformed");
    assert!(detail(&missing).contains("`kind`"), "{missing}");
    let unknown = host.post_job(&json!({"kind": "good", "prioritty": 3})).refused(400, "malformed");
    assert!(detail(&unknown).contains("`prioritty`"), "{unknown}");
}

#[test]
fn an_unknown_kind_is_not_found() {
    let host = Host::start();
    for kind in ["absent", "GOOD", "", "../good", "good.wasm"] {
        host.post_job(&json!({"kind": kind})).refused(404, "unknown_kind");
    }
    host.post("/v1/kinds/absent/jobs", "x").refused(404, "unknown_kind");
    host.get("/v1/kinds/absent").refused(404, "unknown_kind");
}

#[test]
fn a_kind_that_is_not_there_is_told_from_one_that_was_meant_and_one_that_was_rejected() {
    let setup = Host::prepare().with_guest("pdf-to-png", guest::good());
    let host = setup.with_guest("broken", b"not a plugin").start();
    for (kind, told) in [
        ("pdf-to-pgn", "did you mean pdf-to-png?"),
        ("pdftopng", "did you mean pdf-to-png?"),
        ("broken", "broken.wasm was rejected:"),
    ] {
        let problem = host.post_job(&json!({"kind": kind})).refused(404, "unknown_kind");
        assert!(detail(&problem).contains(told), "{problem}");
    }
    let problem = host.post_job(&json!({"kind": "weather"})).refused(404, "unknown_kind");
    assert!(!detail(&problem).contains("did you mean"), "{problem}");
}

#[test]
fn input_against_the_schema_is_refused_where_it_is_wrong() {
    let host = Host::prepare().with_plugin("message").start();
    for (input, place) in [
        (json!({"message": 3}), "/input/message"),
        (json!({"message": "hi", "seconds": -1}), "/input/seconds"),
        (json!({"seconds": 1}), "/input"),
        (json!("hi"), "/input"),
        (Value::Null, "/input"),
    ] {
        let problem = host.post_job(&json!({"kind": "message", "input": input})).refused(422, "invalid_input");
        assert_eq!(pointer(&problem), place, "{problem}");
    }
    // The body is the input here, so the pointer begins at its root.
    let problem = host.post("/v1/kinds/message/jobs", r#"{"message": 3}"#).refused(422, "invalid_input");
    assert_eq!(pointer(&problem), "/message");
    host.post("/v1/kinds/message/jobs", "hi").refused(422, "invalid_input");
}

#[test]
fn parameters_against_the_schema_are_refused_where_they_are_wrong() {
    let schema = r#"{"type": "object", "properties": {"dpi": {"type": "integer", "minimum": 1}, "name": {"type": "string"}},
                     "additionalProperties": false}"#;
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    // The guest's text cannot hold a quote.
    let schema = schema.to_string();
    let picky = guest::Guest { parameters: Some(&schema), ..guest::Guest::GOOD };
    let host = Host::prepare().with_guest("picky", picky.component()).start();
    // The pointer is the one of a document. Of one that is not known the sentence has the name.
    for (query, name, place) in [
        ("dpi=0", json!("dpi"), "/parameters/dpi"),
        ("dpi=x", json!("dpi"), "/parameters/dpi"),
        ("dpy=3", Value::Null, "/parameters"),
    ] {
        let problem = host.post(&format!("/v1/kinds/picky/jobs?{query}"), "x").refused(422, "invalid_input");
        assert_eq!((&problem["errors"][0]["parameter"], pointer(&problem)), (&name, place), "{problem}");
        assert!(name.is_string() || detail(&problem).contains("dpy"), "{problem}");
    }
    for (parameters, place) in [(json!({"dpi": 0}), "/parameters/dpi"), (json!({"dpy": 3}), "/parameters")] {
        let problem = host.post_job(&json!({"kind": "picky", "parameters": parameters})).refused(422, "invalid_input");
        assert_eq!(pointer(&problem), place);
    }
    for query in ["dpi=1", "name=200&priority=9&tag=a&arg=b", ""] {
        assert_eq!(host.output(&host.submit_raw(&format!("picky?{query}"), "x")), b"ok");
    }
}

#[test]
fn an_unknown_job_is_not_found_however_it_is_spelt() {
    let host = Host::start();
    let id = host.submit("good", Value::Null);
    host.wait_for(&id, "succeeded");
    let unknown = ["0197f3a0-0000-7000-8000-000000000000", "nonsense", "%20", "%00", "%FF", &id.to_uppercase()];
    for id in unknown.into_iter().map(str::to_owned).chain([id.replace('-', ""), format!("{id}0"), format!("{{{id}}}")])
    {
        for path in ["", "/result", "/artifacts", "/artifacts/x"] {
            host.get(&format!("/v1/jobs/{id}{path}")).refused(404, "unknown_job");
        }
        host.post(&format!("/v1/jobs/{id}/cancel"), "").refused(404, "unknown_job");
    }
}

#[test]
fn the_wrong_method_is_told_the_right_ones() {
    let host = Host::start();
    let id = host.submit("good", Value::Null);
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/jobs".to_owned(), "POST"),
        (Method::PUT, format!("/v1/jobs/{id}"), "GET"),
        (Method::POST, format!("/v1/jobs/{id}/result"), "GET"),
        (Method::GET, format!("/v1/jobs/{id}/cancel"), "POST"),
        (Method::GET, "/v1/kinds/good/jobs".to_owned(), "POST"),
        (Method::POST, "/v1/plugins".to_owned(), "GET"),
        (Method::PATCH, "/healthz".to_owned(), "GET"),
    ] {
        let answer = Answer::of(host.request(method, &path));
        answer.refused(405, "method_not_allowed");
        assert!(answer.header("allow").contains(allowed), "{path}: {:?}", answer.headers);
    }
}

#[test]
fn an_unknown_path_is_not_found() {
    let host = Host::start();
    for path in ["/v2/jobs", "/v1", "/v1/job", "/v1/jobs/", "/favicon.ico", "/v1/../etc/passwd", "//"] {
        host.get(path).refused(404, "not_found");
    }
}

#[test]
fn a_full_queue_refuses_with_advice_and_only_its_own_kind() {
    let host = Host::prepare().with_guest("endless", guest::endless()).with_guest("good", guest::good());
    let host = host.set("queue_max", 2).set("workers", 1).start();
    let first = host.submit("endless", Value::Null);
    host.wait_for(&first, "running");
    host.submit("endless", Value::Null);
    for answer in [host.post_job(&json!({"kind": "endless"})), host.post("/v1/kinds/endless/jobs", "x")] {
        answer.refused(503, "queue_full");
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", answer.headers);
    }
    let other = host.submit("good", Value::Null);
    host.cancel(&first);
    // A place is free again.
    let third = host.submit("endless", Value::Null);
    for id in host.get("/v1/jobs?kind=endless").json()["jobs"].as_array().expect("a list") {
        host.cancel(id["id"].as_str().expect("an id"));
    }
    host.wait_for(&third, "cancelled");
    assert_eq!(host.output(&other), b"ok");
}
