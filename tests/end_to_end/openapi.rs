//! The document for programs says what the host does, all of it and nothing else.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::document::Document;
use crate::support::guest::{self, Guest};
use crate::support::{Host, eventually, sse};

fn document(host: &Host) -> Document {
    Document::of(&host.get("/openapi.json"))
}

/// A host, its document, and requests whose answers are held against it.
struct Story {
    host: Host,
    document: Document,
}

impl Story {
    fn new(host: Host) -> Self {
        let document = document(&host);
        Self { host, document }
    }

    /// Sends a request and holds its answer, of this status, against the document.
    #[track_caller]
    fn send(
        &self,
        method: Method,
        path: &str,
        status: u16,
        more: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let answer = Answer::of(more(self.host.request(method.clone(), path)));
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        self.document.hold(method.as_str(), path, &answer);
        answer
    }

    #[track_caller]
    fn get(&self, path: &str, status: u16) -> Answer {
        self.send(Method::GET, path, status, |request| request)
    }

    #[track_caller]
    fn get_with(&self, path: &str, name: &str, value: &str, status: u16) -> Answer {
        self.send(Method::GET, path, status, |request| request.header(name, value))
    }

    #[track_caller]
    fn post(&self, path: &str, body: &str, status: u16) -> Answer {
        let body = body.to_owned();
        self.send(Method::POST, path, status, |request| request.body(body))
    }

    /// Each line of an answer in NDJSON, held against the schema of a line.
    #[track_caller]
    fn hold_lines(&self, place: &str, method: &str, answer: &Answer) {
        let schema = &self.document.value["paths"][place][method]["x-lines"]["response"];
        assert!(schema.is_object() && !answer.body.is_empty(), "{}", answer.text());
        for line in answer.text().lines() {
            self.document.hold_value(schema, &serde_json::from_str(line).expect("JSON"), line);
        }
    }
}

#[test]
fn every_operation_answers_as_the_document_says() {
    let setup = Host::prepare().with_plugin("message").with_plugin("pdf-to-png").with_plugin("integrate");
    let story = Story::new(setup.set("wait_max", "60s").start());
    for path in [
        "/",
        "/docs",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/plugins",
        "/v1/kinds",
        "/v1/kinds/message",
        "/v1/ws/schema",
    ] {
        story.get(path, 200);
    }
    story.get("/v1/ws", 400);
    story.get("/v1/kinds/none", 404);
    let tag = story.get("/openapi.json", 200).header("etag").to_owned();
    story.get_with("/openapi.json", "if-none-match", &tag, 304);
    story.get_with("/openapi.json", "if-match", "\"x\"", 412);
    submits(&story);
    results(&story);
    unfinished(&story);
    blobs(&story);
    story.get("/v1/jobs?limit=2", 200);
    story.get("/v1/jobs?state=none", 422);
    story.post("/v1/kinds/message/pause", "", 200);
    story.post("/v1/kinds/message/resume", "", 200);
    story.post("/v1/kinds/none/pause", "", 404);
    story.post("/v1/kinds/none/resume", "", 404);
    // The one that has no end is looked at below.
    let endless = ("GET".to_owned(), "/v1/events".to_owned());
    assert_eq!(story.document.unseen(), [endless]);
}

fn submits(story: &Story) {
    let job = json!({"kind": "message", "input": {"message": "hi", "seconds": 0}, "tags": ["a"], "timeout": "10s"})
        .to_string();
    story.post("/v1/jobs", &job, 202);
    let waiting = |body: &str, path: &str, status| {
        let body = body.to_owned();
        story.send(Method::POST, path, status, |request| request.header("prefer", "wait=60").body(body))
    };
    waiting(&job, "/v1/jobs", 200);
    story.post("/v1/jobs", "{", 400);
    story.post("/v1/jobs", r#"{"kind": "none"}"#, 404);
    story.post("/v1/jobs", r#"{"kind": "message", "input": {}}"#, 422);
    story.post("/v1/kinds/none/jobs", "x", 404);
    story.post("/v1/kinds/message/jobs", r#"{"message": "hi", "seconds": 0}"#, 202);
    story.post("/v1/kinds/message/jobs?priority=10", r#"{"message": "hi", "seconds": 0}"#, 422);
    let input = r#"{"f": "1", "a": 0, "b": 1, "c": 0, "d": 1, "size": 10}"#;
    waiting(input, "/v1/kinds/integrate/jobs", 200);
    waiting("no PDF", "/v1/kinds/pdf-to-png/jobs?dpi=72", 409);
    story.post("/v1/kinds/pdf-to-png/jobs?dpi=0", "x", 422);
    let long = json!({"message": "hi", "seconds": 60}).to_string();
    let path = "/v1/kinds/message/jobs?on_timeout=cancel";
    story.send(Method::POST, path, 504, |request| request.header("prefer", "wait=1").body(long));
    let batch = story.post("/v1/jobs/batch", &format!("{job}\nno job\n"), 200);
    story.hold_lines("/v1/jobs/batch", "post", &batch);
    story.post("/v1/jobs/batch?a=b", "", 422);
}

fn results(story: &Story) {
    let pdf = crate::support::shipped("host/assets/demo.pdf");
    let path = "/v1/kinds/pdf-to-png/jobs?dpi=20&last_page=2";
    let answer = story.send(Method::POST, path, 200, |request| request.header("prefer", "wait=60").body(pdf));
    let job = answer.header("location").to_owned();
    story.get(&job, 200);
    let result = format!("{job}/result");
    story.get(&result, 200);
    story.get_with(&result, "range", "bytes=0-3", 206);
    story.get_with(&result, "range", "bytes=99999999-", 416);
    story.get_with(&result, "if-none-match", "*", 304);
    story.get_with(&result, "if-match", "\"x\"", 412);
    story.get_with(&result, "prefer", "wait=1", 200);
    story.get(&format!("{job}/artifacts"), 200);
    story.get(&format!("{job}/artifacts/page-001.png"), 200);
    story.get(&format!("{job}/artifacts/page-003.png"), 404);
    story.get(&format!("{job}/artifacts.zip"), 200);
    story.get(&format!("{job}/explain"), 200);
    story.get(&format!("{job}/events"), 200);
    let logs = story.get(&format!("{job}/logs?follow=true"), 200);
    if !logs.body.is_empty() {
        story.hold_lines("/v1/jobs/{id}/logs", "get", &logs);
    }
    story.get_with(&format!("{job}/logs"), "accept", "text/plain", 200);
    story.get(&format!("{job}/logs?follow=never"), 422);
    story.post(&format!("{job}/cancel"), "", 200);
    story.post(&format!("{job}/retry"), "", 409);
    story.send(Method::DELETE, &job, 204, |request| request);
    for rest in ["", "/result", "/artifacts", "/artifacts/a", "/artifacts.zip", "/explain", "/events", "/logs"] {
        story.get(&format!("{job}{rest}"), 404);
    }
    story.send(Method::DELETE, &job, 404, |request| request);
}

fn unfinished(story: &Story) {
    let body = json!({"kind": "message", "input": {"message": "hi", "seconds": 0}, "delay": "1h"}).to_string();
    let job = story.post("/v1/jobs", &body, 202).header("location").to_owned();
    story.get(&format!("{job}/result"), 202);
    story.get(&format!("{job}/explain"), 200);
    story.send(Method::DELETE, &job, 409, |request| request);
    story.post(&format!("{job}/cancel"), "", 200);
    story.get(&format!("{job}/result"), 409);
    story.post(&format!("{job}/retry"), "", 202);
}

fn blobs(story: &Story) {
    let blob = story.post("/v1/blobs", "some bytes", 201).header("location").to_owned();
    story.get(&blob, 200);
    story.get_with(&blob, "range", "bytes=0-3", 206);
    story.get("/v1/blobs/none", 404);
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
fn a_kind_has_a_path_with_its_own_schemas_and_examples() {
    let input = r##"{"$id": "https://example.org/x", "type": "object", "properties": {"size": {"$ref": "#/$defs/size"}},
        "$defs": {"size": {"type": "integer", "minimum": 1}}}"##;
    let parameters = r##"{"type": "object", "additionalProperties": false, "required": ["dpi"],
        "properties": {"dpi": {"$ref": "#/$defs/dpi"}, "priority": {"type": "string"}}, "$defs": {"dpi": {"type": "integer"}}}"##;
    let kind = Guest { reads: &["application/json"], input: Some(input), parameters: Some(parameters), ..Guest::GOOD };
    let host = Host::prepare().with_plugin("integrate").with_guest("sized", kind.component()).start();
    let document = document(&host);
    let operation = &document.value["paths"]["/v1/kinds/sized/jobs"]["post"];
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    document.hold_value(body, &json!({"size": 3}), "a good input");
    let refused = std::panic::catch_unwind(|| document_of_a_bad_input(&document.value, body));
    assert!(refused.is_err(), "a bad input does not fit");
    let parameter = |name: &str| -> Vec<Value> {
        operation["parameters"].as_array().expect("a list").iter().filter(|one| one["name"] == name).cloned().collect()
    };
    let [dpi] = parameter("dpi").try_into().expect("one");
    assert_eq!((&dpi["in"], &dpi["required"]), (&json!("query"), &json!(true)));
    document.hold_value(&dpi["schema"], &json!(200), "a good parameter");
    let [priority] = parameter("priority").try_into().expect("ours alone");
    assert_eq!(priority["schema"]["maximum"], 9);
    let integrate = &document.value["paths"]["/v1/kinds/integrate/jobs"]["post"];
    let examples = integrate["requestBody"]["content"]["application/json"]["examples"].as_object().expect("examples");
    let example = &examples.values().next().expect("one")["value"];
    assert_eq!(host.post("/v1/kinds/integrate/jobs", example.to_string()).status, 202, "{example}");
    let jobs = &document.value["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    assert_eq!(host.post("/v1/jobs", jobs["integrate-1"]["value"].to_string()).status, 202, "{jobs}");
}

fn document_of_a_bad_input(document: &Value, schema: &Value) {
    let whole = json!({"allOf": [schema], "components": document["components"]});
    jsonschema::draft202012::new(&whole).expect("a schema").validate(&json!({"size": 0})).expect("it fits");
}

#[test]
fn it_follows_the_plugins_and_keeps_its_tag_until_they_change() {
    let host = Host::start();
    let ask = || host.get("/openapi.json");
    let before = ask();
    assert_eq!((ask().header("etag"), ask().body == before.body), (before.header("etag"), true));
    host.drop_file("more.wasm", guest::answering("more"));
    host.file("more.wasm");
    let after = ask();
    assert_ne!(after.header("etag"), before.header("etag"));
    assert!(after.json()["paths"]["/v1/kinds/more/jobs"].is_object());
    std::fs::remove_file(host.setup().plugins().join("more.wasm")).expect("it is there");
    eventually("the kind is gone", || (ask().header("etag") == before.header("etag")).then_some(()));
}

#[test]
fn a_token_for_some_kinds_sees_a_document_of_those() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("other", guest::good());
    let (all, some) = (setup.new_token(&["--scope=read"]), setup.new_token(&["--scope=read", "--kind=other"]));
    let submits = setup.new_token(&["--scope=submit"]);
    let host = setup.start();
    let kinds = |token: &str| {
        let document = host.get_as(token, "/openapi.json").json();
        ["good", "other"].map(|kind| document["paths"][format!("/v1/kinds/{kind}/jobs")].is_object())
    };
    assert_eq!((kinds(&all), kinds(&some)), ([true, true], [false, true]));
    host.get("/openapi.json").refused(401, "unauthorized");
    host.get_as(&submits, "/openapi.json").refused(403, "missing_scope");
}

#[test]
fn no_plugin_can_bloat_or_break_it() {
    let wide: Vec<String> = (0..2_000).map(|n| format!(r#""p{n}": {{"type": "string"}}"#)).collect();
    let wide = format!(r#"{{"properties": {{{}}}}}"#, wide.join(", "));
    let long = format!(r#"{{"description": "{}"}}"#, "x".repeat(150_000));
    let odd = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}"#;
    let named = r#"{"$id": "/components/schemas/Job", "$anchor": "here", "properties": {"$id": {"type": "string"}}}"#;
    let with = |input| Guest {
        reads: &["application/json"],
        input: Some(input),
        parameters: Some(input),
        pages: 16,
        ..Guest::GOOD
    };
    let mut setup = Host::prepare().with_guest("good", guest::good());
    for (name, schema) in [("wide", wide.as_str()), ("odd", odd), ("named", named)] {
        setup = setup.with_guest(name, with(schema).component());
    }
    let long = Guest { parameters: None, ..with(&long) };
    let mark = Guest { reads: &["no media type", "text/\u{1f}", "*/*"], ..Guest::GOOD };
    let host = setup.with_guest("long", long.component()).with_guest("mark", mark.component()).start();
    let answer = host.get("/openapi.json");
    let document = Document::of(&answer);
    for kind in ["good", "wide", "odd", "named", "long", "mark"] {
        assert_eq!(host.file(&format!("{kind}.wasm"))["state"], "serving", "{}", host.file(&format!("{kind}.wasm")));
        let operation = &document.value["paths"][format!("/v1/kinds/{kind}/jobs")]["post"];
        assert!(operation["parameters"].as_array().is_some_and(|all| all.len() < 150), "{kind}");
        for content in operation["requestBody"]["content"].as_object().expect("some").keys() {
            assert!(content.contains('/') && !content.contains(|c: char| c.is_control()), "{content:?}");
        }
    }
    let schemas = &document.value["components"]["schemas"];
    assert!(
        schemas["long.input"].is_null() && schemas["odd.input"].is_null() && schemas["named.input"]["$id"].is_null()
    );
    assert!(schemas["named.input"]["properties"]["$id"].is_object(), "a name is not taken for a keyword");
    assert!(answer.body.len() < 1_000_000, "{}", answer.body.len());
    document.hold("GET", "/v1/kinds", &host.get("/v1/kinds"));
    host.still_works();
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
