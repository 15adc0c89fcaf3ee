//! How the host speaks HTTP where nothing goes wrong.

use std::time::{Duration, Instant};

use reqwest::{Method, Version};
use serde_json::{Value, json};

use crate::support::answer::{Answer, builder};
use crate::support::{Host, eventually, guest};

#[test]
fn an_accepted_job_is_answered_in_full() {
    let host = Host::start();
    let answer =
        host.post_job(&json!({"kind": "good", "tags": ["a"], "priority": 7, "max_attempts": 2, "delay": "1h"}));
    assert_eq!((answer.status, answer.header("content-type")), (202, "application/json"));
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    let job = answer.json();
    let id = job["id"].as_str().expect("an id");
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    assert_eq!((id.len(), &id[14..15]), (36, "7"), "a UUID of version 7: {id}");
    let own = format!("/v1/jobs/{id}");
    let mut expected = json!({
        "id": id, "kind": "good", "state": "scheduled", "priority": 7, "attempts": 0, "max_attempts": 2, "crashes": 0,
        "interruptions": 0, "progress": {"fraction": 0.0, "message": ""}, "failure": null, "usage": [], "tags": ["a"],
        "started_at": null, "finished_at": null,
        "links": {"self": own, "result": format!("{own}/result"), "artifacts": format!("{own}/artifacts"),
                  "events": format!("{own}/events"), "logs": format!("{own}/logs")},
    });
    for name in ["created_at", "run_at"] {
        let text = job[name].as_str().expect("a time");
        assert!(text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'), "{text} is RFC 3339 in UTC");
        expected[name] = json!(text);
    }
    assert_eq!(job, expected);
    assert_eq!(host.job(id), expected);
}

#[test]
fn ids_sort_by_the_time_of_submission() {
    let host = Host::start();
    let ids: Vec<String> = (0..50).map(|_| host.submit("good", Value::Null)).collect();
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn health_and_readiness_are_told() {
    let host = Host::start();
    for path in ["/healthz", "/readyz"] {
        let answer = host.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    }
    let page = host.get("/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html") && page.text().contains("Dropforge"));
}

#[test]
fn the_host_is_ready_when_every_file_has_been_looked_at() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("bad", b"nonsense").with_plugin("message");
    let host = host.start();
    // `start` returns with the first 200 of /readyz.
    let files = host.get("/v1/plugins").json();
    let states: Vec<_> = files["plugins"].as_array().expect("a list").iter().map(|file| &file["state"]).collect();
    assert_eq!(states, ["rejected", "serving", "serving"]);
}

#[test]
fn head_is_get_without_the_body() {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    for size in [10, 100_000] {
        let id = host.submit_raw("echo", "x".repeat(size));
        host.wait_for(&id, "succeeded");
        let answer = Answer::of(host.request(Method::HEAD, &format!("/v1/jobs/{id}/result")));
        assert_eq!((answer.status, answer.header("content-length")), (200, size.to_string().as_str()));
        assert!(answer.body.is_empty());
    }
    for path in ["/healthz", "/readyz", "/", "/v1/jobs", "/v1/kinds", "/v1/plugins"] {
        assert_eq!(Answer::of(host.request(Method::HEAD, path)).status, 200, "{path}");
    }
    assert_eq!(Answer::of(host.request(Method::HEAD, "/v1/jobs/none")).status, 404);
}

#[test]
fn http_2_without_tls_works_as_http_1_does() {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    let client = builder().http2_prior_knowledge().build().expect("a client can be made");
    let url = |path: &str| format!("{}{path}", host.process().address());
    let request = client.post(url("/v1/kinds/echo/jobs")).header("prefer", "wait=30").body("x".repeat(100_000));
    let answer = Answer::of(request);
    assert_eq!((answer.version, answer.status, answer.body.len()), (Version::HTTP_2, 200, 100_000));
    let refusal = Answer::of(client.post(url("/v1/jobs")).body("{"));
    refusal.refused(400, "malformed");
    assert_eq!(host.get("/healthz").version, Version::HTTP_11);
    // Fault: an answer to HEAD has a body where the request was refused before it came to a handler, which breaks the connection.
    let refusal = Answer::of(client.head(url("/v1/jobs")).header("host", "elsewhere.example"));
    assert_eq!((refusal.version, refusal.status, refusal.body.len()), (Version::HTTP_2, 421, 0));
    assert!(refusal.header("content-length").parse::<u64>().is_ok_and(|length| length > 0));
}

#[test]
fn a_plugins_page_cannot_act_as_the_hosts() {
    let page = guest::run(r#"(return (call $done (text "text/html") (text "<script>alert(1)</script>")))"#);
    let host = Host::prepare().with_guest("page", page).start();
    let id = host.submit("page", Value::Null);
    host.wait_for(&id, "succeeded");
    let result = host.result(&id);
    assert_eq!((result.header("content-type"), result.header("x-content-type-options")), ("text/html", "nosniff"));
    assert_eq!(result.header("content-security-policy"), "sandbox");
}

#[test]
fn a_client_that_goes_away_while_it_waits_harms_nobody() {
    let host = Host::prepare().with_plugin("message").with_guest("good", guest::good()).start();
    let body = json!({"kind": "message", "input": {"message": "hi", "seconds": 2}}).to_string();
    let request = host.request(Method::POST, "/v1/jobs").header("prefer", "wait=30").body(body);
    let impatient = request.timeout(std::time::Duration::from_secs(1));
    assert!(Answer::try_of(impatient).is_err(), "the client does not wait for the answer");
    let jobs = host.get("/v1/jobs?kind=message").json();
    let id = jobs["jobs"][0]["id"].as_str().expect("the job was accepted").to_owned();
    assert_eq!(host.output(&id), br#"{"message":"hi"}"#);
    host.still_works();
}

#[test]
fn an_upload_that_breaks_off_is_no_job() {
    use std::io::Write;
    let host = Host::start();
    let address = host.process().address().trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(address).expect("the host listens");
    write!(stream, "POST /v1/kinds/good/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n")
        .expect("writable");
    stream.write_all(&[b'x'; 100_000]).expect("writable");
    drop(stream);
    host.still_works();
    let jobs = host.get("/v1/jobs").json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "only the good one: {jobs}");
    crate::support::eventually("the half upload is gone", || {
        std::fs::read_dir(host.setup().data().join("tmp")).ok()?.next().is_none().then_some(())
    });
}

/// Fault: jobs that compute keep their threads for themselves, and the host passes for one that is stuck.
#[test]
fn a_host_whose_workers_all_compute_stays_ready() {
    let host = Host::prepare().with_guest("endless", guest::endless()).set("workers", 2).start();
    for _ in 0..4 {
        host.submit("endless", Value::Null);
    }
    eventually("both compute", || (host.get("/v1/kinds/endless").json()["counts"]["running"] == 2).then_some(()));
    // Longer than workers may be silent.
    let until = Instant::now() + Duration::from_secs(13);
    while Instant::now() < until {
        let answer = host.get("/readyz");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
