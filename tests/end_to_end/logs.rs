//! What attempts log, while they run and afterwards.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::{Answer, block_on};
use crate::support::{Host, PATIENCE, guest};

/// Logs its attempt's number of lines, waits, logs once more, and fails until the third attempt.
fn flaky() -> Vec<u8> {
    guest::run(
        r#"(call $log (i32.const 2) (text "begin"))
           (call $block (call $subscribe_duration (i64.const 300000000)))
           (call $log (i32.const 4) (text "end"))
           (if (i32.lt_u (local.get $attempt) (i32.const 2))
             (then (return (call $fail (i32.const 2) (text "not yet")))))
           (return (call $done (text "text/plain") (text "ok")))"#,
    )
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn told(lines: &[Value]) -> Vec<(u64, &str, &str)> {
    lines
        .iter()
        .map(|line| {
            let attempt = line["attempt"].as_u64().expect("a number");
            (attempt, line["level"].as_str().unwrap_or("-"), line["message"].as_str().expect("text"))
        })
        .collect()
}

const ALL: [(u64, &str, &str); 4] =
    [(1, "info", "begin"), (1, "error", "end"), (2, "info", "begin"), (2, "error", "end")];

#[test]
fn the_log_of_every_attempt_can_be_read_afterwards() {
    let host = Host::prepare().with_guest("flaky", flaky()).set("retry_pause", "50ms").start();
    let id = host.submit("flaky", Value::Null);
    host.wait_for(&id, "succeeded");
    let path = format!("/v1/jobs/{id}/logs");
    let answer = host.get(&path);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(told(&lines(&answer.text())), ALL);
    let text = Answer::of(host.request(Method::GET, &path).header("accept", "text/plain"));
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(text.text(), "INFO begin\nERROR end\nINFO begin\nERROR end\n");
    assert_eq!(host.get(&format!("{path}?follow=true")).text(), answer.text());
    assert_eq!(Answer::of(host.request(Method::HEAD, &path)).status, 200);
    host.get(&format!("{path}?follow=maybe")).refused(422, "invalid_option");
    host.get("/v1/jobs/none/logs").refused(404, "unknown_job");
}

#[test]
fn a_running_jobs_log_can_be_read_and_followed_to_the_end() {
    let host = Host::prepare().with_guest("flaky", flaky()).set("retry_pause", "200ms").start();
    let id = host.submit("flaky", Value::Null);
    let path = format!("/v1/jobs/{id}/logs");
    let request = host.request(Method::GET, &format!("{path}?follow=true")).timeout(PATIENCE);
    let mut followed = block_on(async { request.send().await }).expect("the host answers");
    let mut text = Vec::new();
    while let Some(chunk) = block_on(followed.chunk()).expect("the stream does not break off") {
        if text.is_empty() {
            assert_eq!(host.job(&id)["state"], "running", "the first line came while the job ran");
            let now = host.get(&path);
            assert_eq!(told(&lines(&now.text()))[0], ALL[0]);
            assert!(lines(&now.text())[0]["at"].is_string(), "{}", now.text());
        }
        text.extend_from_slice(&chunk);
    }
    assert_eq!(told(&lines(&String::from_utf8_lossy(&text))), ALL);
    assert_eq!(host.job(&id)["state"], "succeeded");
}

#[test]
fn a_cancelled_jobs_log_ends_for_those_who_follow_it() {
    let chatty = guest::run(
        r#"(call $log (i32.const 1) (text "here")) (call $log (i32.const 0) (text "still here"))
           (loop $forever (br $forever))"#,
    );
    let host = Host::prepare().with_guest("chatty", chatty).start();
    let id = host.submit("chatty", Value::Null);
    let request = host.request(Method::GET, &format!("/v1/jobs/{id}/logs?follow=true")).timeout(PATIENCE);
    let mut followed = block_on(async { request.send().await }).expect("the host answers");
    let first = block_on(followed.chunk()).expect("it does not break off").expect("a line");
    assert!(String::from_utf8_lossy(&first).contains("here"));
    host.cancel(&id);
    while block_on(followed.chunk()).expect("it does not break off").is_some() {}
    let afterwards = lines(&host.get(&format!("/v1/jobs/{id}/logs")).text());
    assert_eq!(told(&afterwards), [(1, "debug", "here"), (1, "trace", "still here")]);
}

#[test]
fn of_too_many_lines_the_newest_stay_and_the_gap_is_told() {
    let flood = guest::run(
        r#"(loop $again (call $log (i32.const 2) (text "line"))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $i) (i32.const 1500))))
           (call $log (i32.const 2) (text "last"))
           (call $block (call $subscribe_duration (i64.const 60000000000)))
           (return (call $done (text "text/plain") (text "ok")))"#,
    );
    let host = Host::prepare().with_guest("flood", flood).set("timeout", "5m").start();
    let id = host.submit("flood", Value::Null);
    let read = || lines(&host.get(&format!("/v1/jobs/{id}/logs")).text());
    let now = crate::support::eventually("the last line is there", || {
        Some(read()).filter(|lines| lines.last().is_some_and(|line| line["message"] == "last"))
    });
    assert_eq!((now.len(), &now[0]["message"]), (1001, &json!("501 lines before this one are no longer held")));
    host.cancel(&id);
    // The lines in hand are told until the attempt is let go of, a moment after its report was written.
    let afterwards =
        crate::support::eventually("only the report is left", || Some(read()).filter(|lines| lines.len() != 1001));
    assert_eq!((afterwards.len(), &afterwards[50]["message"]), (51, &json!("last")));
    assert_eq!(afterwards[0]["message"], json!("1451 lines before this one are no longer held"));
    assert_eq!(host.job(&id)["usage"][0]["log_lines"], 1501);
    // Who saw some of it is told what is missing since, and who saw all of it, nothing.
    let seen = |line: &Value| line["id"].as_str().expect("an id").to_owned();
    let since = |id_seen: &str| lines(&host.get(&format!("/v1/jobs/{id}/logs?after={id_seen}")).text());
    for (id_seen, first, rest) in [
        (seen(&now[1]), "949 lines before this one are no longer held", 51),
        (seen(&now[949]), "1 line before this one is no longer held", 51),
        (seen(&now[950]), "line", 50),
        (seen(&now[999]), "last", 1),
    ] {
        let told = since(&id_seen);
        assert_eq!((told.len(), &told[0]["message"]), (rest, &json!(first)), "{id_seen}");
        assert_eq!(since(&seen(&told[0])), told[1..], "what stands for missing lines can be gone on from as well");
    }
    assert_eq!(since(&seen(&now[1000])), [Value::Null; 0]);
}

#[test]
fn a_log_is_read_on_behind_any_of_its_lines() {
    let host = Host::prepare().with_guest("flaky", flaky()).set("retry_pause", "50ms").start();
    let id = host.submit("flaky", Value::Null);
    host.wait_for(&id, "succeeded");
    let path = format!("/v1/jobs/{id}/logs");
    let all = lines(&host.get(&path).text());
    for (number, line) in all.iter().enumerate() {
        let after = line["id"].as_str().expect("an id");
        for follow in ["", "&follow=true"] {
            assert_eq!(lines(&host.get(&format!("{path}?after={after}{follow}")).text()), all[number + 1..]);
        }
        let text =
            Answer::of(host.request(Method::GET, &format!("{path}?after={after}")).header("accept", "text/plain"));
        assert_eq!(text.text().lines().count(), all.len() - number - 1);
    }
    for wrong in ["", "-", "1", "1-x", "%2B1-1", "1-1-1"] {
        let problem = host.get(&format!("{path}?after={wrong}")).refused(422, "invalid_option");
        assert_eq!(problem["errors"][0]["parameter"], "after", "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("the id of a line")), "{problem}");
    }
}
