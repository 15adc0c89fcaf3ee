//! What a scrape says, and where a trace goes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::server::Server;
use crate::support::ws::{Over, Socket};
use crate::support::{Host, eventually, guest, program};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The value of a sample; nothing if there is none of that name and those labels.
fn sample(scrape: &str, name: &str) -> Option<f64> {
    let line = scrape.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn scrape(host: &Host) -> String {
    let answer = host.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer.header("content-type").starts_with("application/openmetrics-text"),
        "{}",
        answer.header("content-type")
    );
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

#[test]
fn a_scrape_says_what_jobs_stand_where_and_what_attempts_used() {
    let failing = guest::run(r#"(return (call $fail (i32.const 1) (text "no")))"#);
    let plugins = Host::prepare().with_guest("good", guest::good()).with_guest("failing", failing);
    let mut host = plugins.with_guest("endless", guest::endless()).set("workers", 1).start();
    for _ in 0..3 {
        host.output(&host.submit("good", Value::Null));
    }
    host.failure(&host.submit("failing", Value::Null));
    host.submit_job(json!({"kind": "good", "delay": "1h"}));
    let running = host.submit("endless", Value::Null);
    host.wait_for(&running, "running");
    host.submit("good", Value::Null);
    let text = scrape(&host);
    let is = |name: &str, value: f64| assert_eq!(sample(&text, name), Some(value), "{name} in {text}");
    is(r#"dropforge_jobs{kind="good",state="succeeded"}"#, 3.0);
    is(r#"dropforge_jobs{kind="good",state="scheduled"}"#, 1.0);
    is(r#"dropforge_jobs{kind="good",state="queued"}"#, 1.0);
    is(r#"dropforge_jobs{kind="failing",state="failed"}"#, 1.0);
    is(r#"dropforge_jobs{kind="endless",state="running"}"#, 1.0);
    is(r#"dropforge_attempts_total{kind="good",ended="succeeded"}"#, 3.0);
    is(r#"dropforge_attempts_total{kind="failing",ended="plugin_error"}"#, 1.0);
    is(r#"dropforge_attempt_run_seconds_count{kind="good"}"#, 3.0);
    is(r#"dropforge_job_wait_seconds_count{kind="good"}"#, 3.0);
    is(r#"dropforge_attempt_memory_peak_bytes_sum{kind="good"}"#, 3.0 * 131_072.0);
    is("dropforge_plugin_load_seconds_count", 3.0);
    is(r#"dropforge_http_request_seconds_count{route="/v1/jobs",method="POST",status="202"}"#, 7.0);
    let at_least =
        |name: &str, least: f64| assert!(sample(&text, name).is_some_and(|value| value >= least), "{name} in {text}");
    at_least(r#"dropforge_attempt_fuel_total{kind="good"}"#, 1.0);
    // One for each submit, as each was answered before the next; an early job's end is part of its submit's flush.
    at_least("dropforge_store_flush_seconds_count", 7.0);
    at_least("dropforge_store_batch_changes_sum", 11.0);
    let age = || sample(&scrape(&host), r#"dropforge_queue_age_seconds{kind="good"}"#);
    let before = age().expect("one waits");
    eventually("the one that waits ages", || age().filter(|now| *now > before));
    host.cancel(&running);
    eventually("nobody waits any more", || age().is_none().then_some(()));
    // What is counted begins anew with the process, what stands on disk does not.
    host.kill_and_restart();
    let text = scrape(&host);
    assert_eq!(sample(&text, r#"dropforge_jobs{kind="good",state="succeeded"}"#), Some(4.0), "{text}");
    assert!(!text.contains("dropforge_attempts_total{kind=\"failing\""));
}

#[test]
fn clients_cannot_make_a_scrape_grow() {
    let host = Host::start();
    scrape(&host);
    for number in 0..50 {
        host.get(&format!("/nowhere/{number}"));
        host.get(&format!("/v1/kinds/kind-{number}"));
        host.post(&format!("/v1/kinds/kind-{number}/jobs"), "");
        let method = Method::from_bytes(format!("M{number}").as_bytes()).expect("a method");
        Answer::of(host.request(method, "/v1/jobs"));
    }
    let text = scrape(&host);
    assert!(!text.contains("kind-7") && !text.contains("nowhere") && !text.contains("M7"), "{text}");
    for (name, count) in [
        (r#"{route="none",method="GET",status="404"}"#, 50.0),
        (r#"{route="/v1/kinds/{kind}/jobs",method="POST",status="404"}"#, 50.0),
        (r#"{route="/v1/jobs",method="_other",status="405"}"#, 50.0),
    ] {
        assert_eq!(
            sample(&text, &format!("dropforge_http_request_seconds_count{name}")),
            Some(count),
            "{name} in {text}"
        );
    }
}

#[test]
fn a_trace_goes_on_with_the_job() {
    let trace = TRACE;
    let setup =
        Host::prepare().with_guest("tool", program::module(program::ENVIRONMENT)).with_guest("good", guest::good());
    let mut host = setup.set("log", "debug").start();
    let submit = |host: &Host, trace: &str, body: &str| {
        let answer =
            Answer::of(host.request(Method::POST, "/v1/jobs").header("traceparent", trace).body(body.to_owned()));
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    let environment = |host: &Host, id: &str| String::from_utf8(host.output(id)).expect("text");
    let id = submit(&host, trace, r#"{"kind":"tool","delay":"1s"}"#);
    // It is on disk with the job, and no matter of who is asking.
    host.kill_and_restart();
    assert!(environment(&host, &id).contains(&format!("DROPFORGE_TRACEPARENT={trace}")));
    let log = host.process().stderr();
    let ended = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["message"] == "attempt ended");
    let span = &ended.expect("it is logged")["span"];
    assert_eq!((&span["job.id"], &span["job.kind"], &span["traceparent"]), (&json!(id), &json!("tool"), &json!(trace)));
    // One that is not well-formed is as good as none.
    let id = submit(&host, "nonsense", r#"{"kind":"tool"}"#);
    assert!(!environment(&host, &id).contains("TRACEPARENT"));
    // A retry of the request is the same request, whichever span it comes from.
    let keyed = |trace: &str| {
        let request =
            host.request(Method::POST, "/v1/jobs").header("idempotency-key", "k").header("traceparent", trace);
        Answer::of(request.body(r#"{"kind":"good"}"#)).json()["id"].clone()
    };
    assert_eq!(keyed(trace), keyed(&trace.replace("b7ad", "b7ae")));
}

/// The log of a host as JSON, line by line.
fn logged(host: &Host) -> Vec<Value> {
    host.process().stderr().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Fault: a job that failed is found in the log only from the moment a worker had it.
#[test]
fn a_job_can_be_followed_in_the_log_from_its_submit_to_its_end() {
    let host = Host::prepare().with_guest("good", guest::good()).set("log", "debug").start();
    let request = host.request(Method::POST, "/v1/kinds/good/jobs").header("traceparent", TRACE);
    let answer = Answer::of(request);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].clone();
    host.wait_for(id.as_str().expect("an id"), "succeeded");
    assert_eq!(host.get(&format!("/v1/jobs/{}", id.as_str().expect("an id"))).status, 200);
    let lines = eventually("the last look is logged", || {
        let lines = logged(&host);
        let is_look = |line: &Value| {
            line["message"] == "request answered"
                && line["span"]["route"] == "/v1/jobs/{id}"
                && line["span"]["job.id"] == id
        };
        lines.iter().any(is_look).then_some(lines)
    });
    let line =
        |message: &str| lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("no {message}"));
    let accepted = line("job accepted");
    assert_eq!((&accepted["job.id"], &accepted["job.kind"]), (&id, &json!("good")), "{accepted}");
    let span = &accepted["span"];
    assert_eq!(
        (&span["method"], &span["route"], &span["traceparent"]),
        (&json!("POST"), &json!("/v1/kinds/{kind}/jobs"), &json!(TRACE))
    );
    assert_eq!(line("attempt ended")["span"]["job.id"], id);
    // What a client makes up has no place in the log.
    host.get("/v1/jobs/made-up-by-a-client");
    host.get("/made-up-by-a-client");
    eventually("it is answered", || {
        let answered = |line: &&Value| line["message"] == "request answered" && line["status"] == 404;
        (logged(&host).iter().filter(answered).count() == 2).then_some(())
    });
    assert!(!host.process().stderr().contains("made-up-by-a-client"));
}

#[test]
fn a_trace_goes_on_with_a_job_that_came_over_a_websocket() {
    let host = Host::prepare().with_guest("tool", program::module(program::ENVIRONMENT)).start();
    let mut socket = Socket::open(&host, Over::Http1);
    let mut environment = |trace: Value| {
        socket.send(&json!({"op": "submit", "kind": "tool", "traceparent": trace}));
        let accepted = socket.message();
        assert_eq!(accepted["event"], "accepted", "{accepted}");
        let id = accepted["id"].as_str().expect("an id").to_owned();
        socket.until(|message| message["event"] == "result" && message["id"] == id.as_str());
        String::from_utf8(host.output(&id)).expect("text")
    };
    assert!(environment(json!(TRACE)).contains(&format!("DROPFORGE_TRACEPARENT={TRACE}")));
    assert!(!environment(json!("nonsense")).contains("TRACEPARENT"));
    socket.send(&json!({"op": "submit", "ref": 1, "kind": "tool", "traceparent": 7}));
    let refused = socket.message();
    assert_eq!((&refused["event"], &refused["problem"]["code"]), (&json!("problem"), &json!("malformed")), "{refused}");
    assert!(refused.to_string().contains("/traceparent"), "{refused}");
}

/// The traceparent of the newest request that has come to a server, if it has one.
fn newest_trace(server: &Server) -> Option<String> {
    let head = server.heads().pop().expect("a request has come");
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let traces: Vec<String> = fields
        .by_ref()
        .filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"))
        .map(|(_, value)| value.trim().to_owned())
        .collect();
    assert!(traces.len() <= 1, "{head}");
    traces.into_iter().next()
}

#[test]
fn what_a_job_sends_carries_its_trace_on_unless_the_plugin_does() {
    let server = Server::start();
    let toml = format!("[[http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {}", server.port());
    let setup = Host::prepare().with_guest("kind", guest::probe()).with_file("kind.toml", toml).set("log", "debug");
    let host = setup.start();
    let run = |trace: Option<&str>, field: &str| {
        let tried = format!("http GET http 127.0.0.1:{} /{field}", server.port());
        let request = host.request(Method::POST, "/v1/kinds/kind/jobs").body(tried);
        let answer = Answer::of(match trace {
            Some(trace) => request.header("traceparent", trace),
            None => request,
        });
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(host.output(&id), b"200 hello");
        id
    };
    run(None, "");
    assert_eq!(newest_trace(&server), None);
    let id = run(Some(TRACE), "");
    let child = newest_trace(&server).expect("the trace goes on");
    let parts: Vec<&str> = child.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { panic!("{child}") };
    assert_eq!((version, trace, flags), ("00", &TRACE[3..35], "01"));
    assert!(span.len() == 16 && span != &TRACE[36..52] && span != "0000000000000000", "{child}");
    // The log has both ends of it.
    let ended = eventually("the end is logged", || {
        logged(&host)
            .into_iter()
            .find(|line| line["message"] == "attempt ended" && line["span"]["job.id"] == id.as_str())
    });
    assert_eq!((&ended["span"]["span_id"], &ended["span"]["traceparent"]), (&json!(span), &json!(TRACE)));
    let own = TRACE.replace("b7ad", "b7ae");
    run(Some(TRACE), &format!(" traceparent:{own}"));
    assert_eq!(newest_trace(&server), Some(own), "a plugin that traces knows its own spans better");
}
