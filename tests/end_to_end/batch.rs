//! Many jobs in one request.

use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::{Host, PATIENCE, eventually, guest};

const MIB: usize = 1 << 20;

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"), "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn statuses(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["status"].as_u64().expect("a status")).collect()
}

fn ids(lines: &[Value]) -> Vec<String> {
    lines.iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn ten_thousand_jobs_are_accepted_in_order_by_few_flushes() {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    let line = |n: u32| json!({"kind": "good", "delay": "1h", "tags": [format!("n{n}")]}).to_string() + "\n";
    let body: String = (0..10_000).map(line).collect();
    let answers = lines(&host.post("/v1/jobs/batch", body));
    assert!(statuses(&answers).iter().all(|status| *status == 202));
    let ids = ids(&answers);
    assert_eq!(ids.len(), 10_000);
    for n in [0, 1, 4_999, 9_999] {
        assert_eq!(host.job(&ids[n])["tags"], json!([format!("n{n}")]));
    }
    assert_eq!(host.get("/v1/kinds/good").json()["counts"]["scheduled"], 10_000);
    // Durable, every one of them.
    let mut host = host;
    host.kill_and_restart();
    assert_eq!(host.get("/v1/kinds/good").json()["counts"]["scheduled"], 10_000);
}

#[test]
fn a_wrong_line_fails_alone_and_says_why() {
    let host = Host::prepare().with_guest("good", guest::good()).with_plugin("message").start();
    let body = [
        r#"{"kind": "good"}"#,
        "",
        "   ",
        r#"{"kind": "good", "priority": 11}"#,
        "nonsense",
        r#"{"kind": "absent"}"#,
        r#"{"kind": "message", "input": {"message": 3}}"#,
        "\r",
        r#"{"kind": "good"} {"kind": "good"}"#,
        r#"{"kind": "message", "input": {"message": "hi"}}"#,
    ];
    let answers = lines(&host.post("/v1/jobs/batch", body.join("\n")));
    assert_eq!(statuses(&answers), [202, 422, 400, 404, 422, 400, 202]);
    assert_eq!(answers[1]["problem"]["errors"][0]["pointer"], "/priority");
    assert_eq!(answers[2]["problem"]["type"], "urn:dropforge:problem:malformed");
    assert_eq!(answers[4]["problem"]["errors"][0]["pointer"], "/input/message");
    assert_eq!((&answers[4]["problem"]["status"], &answers[4]["id"]), (&json!(422), &Value::Null));
    assert_eq!(host.output(answers[6]["id"].as_str().expect("an id")), br#"{"message":"hi"}"#);
    assert_eq!(host.get("/v1/jobs").json()["jobs"].as_array().map(Vec::len), Some(2));
    assert!(lines(&host.post("/v1/jobs/batch", "")).is_empty());
    assert!(lines(&host.post("/v1/jobs/batch", "\n\n")).is_empty());
    host.post("/v1/jobs/batch?priority=3", "").refused(422, "invalid_option");
}

#[test]
fn a_line_may_have_a_mebibyte_and_no_more() {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    let line = |size: usize| {
        let empty = json!({"kind": "echo", "input": ""}).to_string();
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(size - empty.len())))
    };
    let body = [line(MIB), line(MIB + 1), line(3 * MIB), line(100)].join("\n");
    let answers = lines(&host.post("/v1/jobs/batch", body));
    assert_eq!(statuses(&answers), [202, 413, 413, 202]);
    host.wait_for(answers[3]["id"].as_str().expect("an id"), "succeeded");
}

#[test]
fn a_batch_beyond_the_limit_ends_there_and_what_came_before_counts() {
    let host = Host::prepare().with_guest("good", guest::good()).set("body_bytes_max", 40).start();
    // 17 bytes a line: two fit, the third does not.
    let answers = lines(&host.post("/v1/jobs/batch", "{\"kind\": \"good\"}\n".repeat(2)));
    assert_eq!(statuses(&answers), [202, 202]);
    let answers = lines(&host.post("/v1/jobs/batch", "{\"kind\": \"good\"}\n".repeat(3)));
    assert_eq!(answers.last().map(|line| &line["status"]), Some(&json!(413)));
}

#[test]
fn a_full_queue_refuses_the_lines_beyond_it() {
    let host = Host::prepare().with_guest("good", guest::good()).set("queue_max", 5).start();
    let body = (json!({"kind": "good", "delay": "1h"}).to_string() + "\n").repeat(8);
    let answers = lines(&host.post("/v1/jobs/batch", body));
    let statuses = statuses(&answers);
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 5, "{statuses:?}");
    assert!(statuses.iter().all(|status| [202, 503].contains(status)), "{statuses:?}");
}

#[test]
fn a_queue_that_fills_up_in_the_middle_refuses_its_own_lines_and_no_others() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("echo", guest::echo());
    let host = host.set("queue_max", 3).start();
    let line = |kind: &str| json!({"kind": kind, "delay": "1h"}).to_string() + "\n";
    let body = ["good", "good", "echo", "good", "good", "good", "echo"].map(line).concat();
    let answers = lines(&host.post("/v1/jobs/batch", body));
    assert_eq!(statuses(&answers), [202, 202, 202, 202, 503, 503, 202]);
    assert_eq!(answers[4]["problem"]["code"], "queue_full");
    let count = |kind| host.get(&format!("/v1/kinds/{kind}")).json()["counts"]["scheduled"].clone();
    assert_eq!((count("good"), count("echo")), (json!(3), json!(2)));
}

/// Fault: lines that are submitted together, and those that go by themselves because they wait for something, change places.
#[test]
fn each_answer_is_the_one_of_its_line_whatever_the_lines_wait_for() {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    let line = |n: usize| match n % 10 {
        // Checked on a thread of its own; and in a file.
        3 => json!({"kind": "echo", "input": format!("{n} {}", "x".repeat(20_000)), "tags": [format!("n{n}")]}),
        6 => json!({"kind": "echo", "input": format!("{n} {}", "x".repeat(200_000)), "tags": [format!("n{n}")]}),
        // Refused, after a look for its file; and at once.
        7 => json!({"kind": format!("absent-{n}")}),
        8 => json!({"kind": "echo", "priority": 10 + n}),
        _ => json!({"kind": "echo", "input": n, "tags": [format!("n{n}")]}),
    };
    let body: String = (0..300).map(|n| line(n).to_string() + "\n").collect();
    let answers = lines(&host.post("/v1/jobs/batch", body));
    assert_eq!(answers.len(), 300);
    for (n, answer) in answers.iter().enumerate() {
        match n % 10 {
            7 => {
                assert_eq!(answer["status"], 404, "{n}: {answer}");
                assert!(answer["problem"]["detail"].to_string().contains(&format!("absent-{n}")), "{n}: {answer}");
            }
            8 => {
                assert_eq!(answer["status"], 422, "{n}: {answer}");
                assert!(answer["problem"]["detail"].to_string().contains(&(10 + n).to_string()), "{n}: {answer}");
            }
            _ => {
                let id = answer["id"].as_str().unwrap_or_else(|| panic!("{n}: {answer}"));
                assert_eq!(host.job(id)["tags"], json!([format!("n{n}")]));
            }
        }
    }
    for n in [0, 3, 6, 296] {
        let input = serde_json::from_slice::<Value>(&host.output(answers[n]["id"].as_str().expect("an id")));
        assert_eq!(input.expect("JSON"), line(n)["input"]);
    }
}

#[test]
fn a_batch_sent_again_under_its_key_is_the_same_jobs() {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    let send = |body: String| {
        let request = host.request(Method::POST, "/v1/jobs/batch").header("idempotency-key", "batch-1").body(body);
        lines(&Answer::of(request))
    };
    let body: String = (0..50).map(|n| json!({"kind": "good", "input": n}).to_string() + "\n").collect();
    let first = ids(&send(body.clone()));
    assert_eq!(ids(&send(body.clone())), first);
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 50, "equal keys, but lines of their own");
    let other = send(body.replace("\"input\":7,", "\"input\":8,"));
    assert_eq!((other[7]["status"].clone(), other[8]["id"].clone()), (json!(422), json!(first[8])));
}

#[test]
fn answers_come_while_lines_are_still_being_sent() {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    let address = host.process().address().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).expect("the host listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(stream, "POST /v1/jobs/batch HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .expect("writable");
    let mut answer = String::new();
    for n in 1..=3 {
        let line = "{\"kind\": \"good\"}\n";
        write!(stream, "{:x}\r\n{line}\r\n", line.len()).expect("writable");
        let mut buffer = [0; 4096];
        while answer.matches("\"status\":202").count() < n {
            let read = stream.read(&mut buffer).expect("an answer comes");
            assert!(read > 0, "the host closed the connection: {answer}");
            answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
    // The client goes away in the middle of a line: the three jobs stay, and there is no fourth.
    write!(stream, "8\r\n{{\"kind\":\r\n").expect("writable");
    drop(stream);
    host.still_works();
    eventually("all of them ended", || (host.get("/v1/kinds/good").json()["counts"]["succeeded"] == 4).then_some(()));
}

#[test]
fn a_client_that_reads_nothing_until_it_has_sent_all_still_gets_its_answers() {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    let address = host.process().address().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).expect("the host listens");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // Lines that are refused have the longest answers.
    let body = "{\"kind\": \"absent\"}\n".repeat(9_000);
    let head = format!(
        "POST /v1/jobs/batch HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}",
        body.len()
    );
    write!(stream, "{head}\r\n\r\n").expect("writable");
    stream.write_all(body.as_bytes()).expect("the host reads on");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the whole answer");
    assert_eq!(String::from_utf8_lossy(&answer).matches("\"code\":\"unknown_kind\"").count(), 9_000);
}
