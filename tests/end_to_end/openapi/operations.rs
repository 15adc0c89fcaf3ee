//! Every operation is asked for each answer that can be had of it, and each is held against the document.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::document;
use crate::support::Host;
use crate::support::answer::Answer;
use crate::support::document::Document;

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
