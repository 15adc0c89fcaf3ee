//! The document for programs says what the host does, all of it and nothing else.

mod kinds;
mod operations;

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::answer::Answer;
use crate::support::document::Document;
use crate::support::{Host, eventually, sse};

fn document(host: &Host) -> Document {
    Document::of(&host.get("/openapi.json"))
}

#[test]
fn events_are_as_the_document_says() {
    let host = Host::prepare().with_plugin("message").start();
    let document = document(&host);
    let schemas = &document.value["paths"]["/v1/jobs/{id}/events"]["get"]["x-events"];
    assert_eq!(schemas, &document.value["paths"]["/v1/events"]["get"]["x-events"]);
    let mut all = sse::Stream::open(&host, "/v1/events", Some("no id of ours"));
    let id = host.submit("message", json!({"message": "hi", "seconds": 1}));
    let own = sse::Stream::open(&host, &format!("/v1/jobs/{id}/events"), None).rest();
    let mut heard = own;
    heard.push(all.next().expect("the stream goes on"));
    for name in ["state", "progress", "resync"] {
        assert!(heard.iter().any(|event| event.name == name), "{heard:?}");
    }
    for event in heard {
        document.hold_value(&schemas[&event.name], &event.data, &event.name);
    }
    assert!(!all.is_silent_for(Duration::from_secs(30)), "it goes on");
}

#[test]
fn what_the_door_refuses_is_in_the_document() {
    let setup = Host::prepare().with_plugin("message").set("rate_limit", "20/h");
    let (reader, admin) = (setup.new_token(&["--scope=read"]), setup.new_token(&["--scope=admin"]));
    let host = setup.start();
    let document = Document::of(&host.get_as(&admin, "/openapi.json"));
    let guarded = document.operations().into_iter().filter(|(_, path)| path == "/v1/jobs" || path == "/openapi.json");
    for (method, path) in guarded {
        let request = || host.request(method.parse().expect("a method"), &path);
        let unknown = Answer::of(request());
        assert_eq!(unknown.status, 401);
        document.hold(&method, &path, &unknown);
        if method == "POST" {
            let refused = Answer::of(request().bearer_auth(&reader));
            assert_eq!(refused.status, 403);
            document.hold(&method, &path, &refused);
        }
    }
    let too_many = eventually("the rate is used up", || {
        Some(host.get_as(&reader, "/v1/kinds")).filter(|answer| answer.status != 200)
    });
    assert_eq!(too_many.status, 429);
    document.hold("GET", "/v1/kinds", &too_many);
}

#[test]
fn each_path_offers_the_documented_methods_and_no_others() {
    let host = Host::prepare().with_plugin("message").start();
    let document = document(&host);
    for (path, item) in document.value["paths"].as_object().expect("paths") {
        let real = path.replace("{kind}", "message").replace("{id}", "x").replace("{", "").replace("}", "");
        let answer = Answer::of(host.request(Method::PATCH, &real));
        answer.refused(405, "method_not_allowed");
        let allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        for method in item.as_object().expect("an item").keys() {
            assert!(allowed.contains(&method.to_uppercase().as_str()), "{method} {path}: {allowed:?}");
        }
        for method in allowed {
            // OpenAPI has no word for CONNECT, and HEAD goes with GET.
            let is_known = item.get(method.to_lowercase()).is_some() || (method == "HEAD" && item.get("get").is_some());
            assert!(is_known || (method == "CONNECT" && path == "/v1/ws"), "{method} {path} is not documented");
        }
    }
}

#[test]
fn a_whole_number_may_be_written_with_a_point() {
    let host = Host::start();
    let job = json!({"kind": "good", "priority": 7.0, "max_attempts": 2.0, "timeout": 2000.0, "delay": 0.0});
    let answer = host.post_job(&job);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!((&answer.json()["priority"], &answer.json()["max_attempts"]), (&json!(7), &json!(2)));
    for (name, value) in
        [("priority", 7.5), ("priority", -1.0), ("max_attempts", 1e300), ("timeout", 0.5), ("delay", -1.0)]
    {
        let problem = host.post_job(&json!({"kind": "good", name: value})).refused(400, "malformed");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"), "{problem}");
    }
}

#[test]
fn the_page_for_people_asks_nobody_but_its_host() {
    let host = Host::start();
    let page = host.get("/docs");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.len() < 40_000, "{}", page.body.len());
    let text = page.text();
    for mark in ["://", "//\"", "src=", "@import", ": url(", "url(\"", "import(", "eval(", "innerHTML"] {
        assert!(!text.contains(mark), "{mark} stands in the page");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
    assert!(host.get("/").text().contains("href=\"/docs\""));
    let known = Answer::of(host.request(Method::GET, "/docs").header("if-none-match", page.header("etag")));
    assert_eq!(known.status, 304);
}
