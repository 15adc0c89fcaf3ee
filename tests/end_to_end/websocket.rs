//! Many jobs over one WebSocket.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::support::ws::{Over, Socket};
use crate::support::{Host, eventually, guest};

const BOTH: [Over; 2] = [Over::Http1, Over::Http2];

fn is(event: &'static str) -> impl Fn(&Value) -> bool {
    move |message| message["event"] == event
}

fn host() -> Host {
    let plugins = Host::prepare().with_guest("good", guest::good()).with_guest("echo", guest::echo());
    plugins.with_guest("endless", guest::endless()).start()
}

#[test]
fn a_job_is_submitted_followed_and_its_result_told() {
    let host = host();
    for over in BOTH {
        let mut socket = Socket::open(&host, over);
        socket.send(&json!({"op": "submit", "ref": "mine", "kind": "echo", "input": {"a": [1, 2.50]}, "tags": ["t"]}));
        let messages = socket.until(is("result"));
        let id = messages[0]["id"].as_str().expect("accepted").to_owned();
        assert_eq!(messages[0]["event"], "accepted", "{over:?}: {messages:?}");
        assert_eq!((&messages[0]["ref"], &messages[0]["op"]), (&json!("mine"), &json!("submit")));
        assert_eq!(messages[0]["job"]["tags"], json!(["t"]));
        let states: Vec<&Value> = messages
            .iter()
            .filter(|message| message["event"] == "state")
            .map(|message| &message["job"]["state"])
            .collect();
        assert_eq!(states.last(), Some(&&json!("succeeded")), "{messages:?}");
        assert!(messages[1..].iter().all(|message| message["id"] == id.as_str()));
        let result = messages.last().expect("there are some");
        assert_eq!((&result["state"], &result["media_type"]), (&json!("succeeded"), &json!("application/json")));
        assert_eq!(result["output"], json!({"a": [1, 2.5]}));
        // Byte by byte as it was sent.
        assert_eq!(host.result(&id).body, br#"{"a":[1,2.5]}"#);
    }
}

#[test]
fn every_message_is_as_the_schema_says() {
    let host = host();
    let schema = host.get("/v1/ws/schema");
    assert_eq!((schema.status, schema.header("content-type")), (200, "application/schema+json"));
    let mut from_host = schema.json();
    from_host["anyOf"] = json!([{"$ref": "#/$defs/from_host"}]);
    let mut from_client = schema.json();
    from_client["anyOf"] = json!([{"$ref": "#/$defs/from_client"}]);
    let [from_host, from_client] =
        [from_host, from_client].map(|schema| jsonschema::validator_for(&schema).expect("a schema"));
    assert!(!from_host.is_valid(&json!({"event": "accepted"})) && !from_client.is_valid(&json!({"op": "sing"})));
    let mut socket = Socket::open(&host, Over::Http1);
    let running = host.submit("endless", Value::Null);
    for (message, last) in [
        (json!({"op": "ping", "ref": 1}), "pong"),
        (json!({"op": "submit", "kind": "good", "delay": "1h"}), "state"),
        (json!({"op": "submit", "kind": "nobody", "ref": "x"}), "problem"),
        (json!({"op": "submit", "kind": "good"}), "result"),
        (json!({"op": "subscribe", "id": running}), "state"),
        (json!({"op": "cancel", "id": running}), "result"),
        (json!({"op": "subscribe", "kind": "good"}), "accepted"),
        (json!({"op": "unsubscribe", "kind": "good"}), "accepted"),
    ] {
        assert!(from_client.is_valid(&message), "{message}");
        socket.send(&message);
        for told in socket.until(is(last)) {
            let wrong: Vec<String> = from_host.iter_errors(&told).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{told}: {wrong:?}");
        }
    }
}

#[test]
fn refusals_name_the_message_and_the_connection_goes_on() {
    let host = host();
    let unknown = "01a1fd11-5529-77b8-aa53-4958a48b0da4";
    for over in BOTH {
        let mut socket = Socket::open(&host, over);
        let mut refused = |message: &str, status: u64, code: &str, reference: Value| {
            socket.send_frame(Message::text(message));
            let answer = socket.message();
            assert_eq!(answer["event"], "problem", "{answer}");
            assert_eq!((&answer["status"], &answer["problem"]["code"]), (&json!(status), &json!(code)), "{answer}");
            assert_eq!(answer["ref"], reference);
        };
        refused("nonsense", 400, "malformed", Value::Null);
        refused("[1]", 400, "malformed", Value::Null);
        refused(r#"{"op": "sing", "ref": 7}"#, 400, "malformed", json!(7));
        refused(r#"{"op": "ping", "ref": []}"#, 400, "malformed", Value::Null);
        refused(&format!(r#"{{"op": "ping", "ref": "{}"}}"#, "x".repeat(129)), 400, "malformed", Value::Null);
        refused(r#"{"op": "submit", "ref": "a"}"#, 400, "malformed", json!("a"));
        refused(r#"{"op": "submit", "ref": "a", "kind": "good", "color": 1}"#, 400, "malformed", json!("a"));
        refused(r#"{"op": "submit", "ref": "a", "kind": "nobody"}"#, 404, "unknown_kind", json!("a"));
        refused(r#"{"op": "submit", "ref": "a", "kind": "good", "priority": 10}"#, 422, "invalid_option", json!("a"));
        for op in ["subscribe", "cancel"] {
            refused(&format!(r#"{{"op": "{op}", "ref": 1, "id": "{unknown}"}}"#), 404, "unknown_job", json!(1));
            refused(&format!(r#"{{"op": "{op}", "ref": 1}}"#), 400, "malformed", json!(1));
        }
        socket.send(&json!({"op": "ping", "ref": "x".repeat(128)}));
        assert_eq!(socket.message(), json!({"event": "pong", "ref": "x".repeat(128)}));
    }
    host.still_works();
}

#[test]
fn the_same_key_is_the_same_job_here_too() {
    let host = host();
    let mut socket = Socket::open(&host, Over::Http1);
    let submit = json!({"op": "submit", "kind": "good", "delay": "1h", "idempotency_key": "once"});
    socket.send(&submit);
    let first = socket.until(is("state"))[0]["id"].clone();
    socket.send(&submit);
    assert_eq!(socket.until(is("state"))[0]["id"], first);
    let over_http = host.request(reqwest::Method::POST, "/v1/jobs").header("idempotency-key", "once");
    let answer = crate::support::answer::Answer::of(over_http.body(r#"{"kind":"good","delay":"1h"}"#));
    assert_eq!(answer.json()["id"], first);
}

#[test]
fn a_running_job_is_cancelled_over_it_and_jobs_of_a_kind_are_followed() {
    let host = host();
    for over in BOTH {
        let mut socket = Socket::open(&host, over);
        socket.send(&json!({"op": "subscribe", "kind": "good", "ref": 1}));
        assert_eq!(socket.message()["event"], "accepted");
        let others = host.submit("good", Value::Null);
        let told = socket.until(|message| message["job"]["state"] == "succeeded");
        assert!(told.iter().all(|message| message["id"] == others.as_str()), "{told:?}");
        socket.send(&json!({"op": "unsubscribe", "kind": "good"}));
        socket.until(is("accepted"));
        let running = host.submit("endless", Value::Null);
        host.wait_for(&running, "running");
        socket.send(&json!({"op": "cancel", "id": running, "ref": 2}));
        let answer = socket.message();
        assert_eq!((&answer["event"], &answer["job"]["state"]), (&json!("accepted"), &json!("cancelled")));
        host.submit("good", Value::Null);
        assert!(socket.is_silent_for(Duration::from_millis(300)), "nothing is followed any more");
    }
}

#[test]
fn a_message_of_a_mebibyte_is_taken_and_a_larger_one_closes() {
    let host = host();
    for over in BOTH {
        let message = |size: usize| {
            let frame = json!({"op": "submit", "kind": "echo", "ref": 1, "input": ""}).to_string();
            frame.replace(r#""input":"""#, &format!(r#""input":"{}""#, "x".repeat(size - frame.len())))
        };
        let mut socket = Socket::open(&host, over);
        socket.send_frame(Message::text(message(1 << 20)));
        let result = socket.until(is("result")).pop().expect("a result");
        assert_eq!(result["state"], "succeeded");
        assert!(result["size"].as_u64().is_some_and(|size| size > 1_000_000) && result["output"].is_null());
        socket.send_frame(Message::text(message((1 << 20) + 1)));
        assert_eq!(socket.next(), Err(1009));
        let mut socket = Socket::open(&host, over);
        socket.send_frame(Message::binary(b"{}".to_vec()));
        assert_eq!(socket.next(), Err(1003));
    }
    host.still_works();
}

#[test]
fn who_follows_too_much_is_told_so() {
    let host = host();
    let mut socket = Socket::open(&host, Over::Http1);
    for number in 0..1_000 {
        socket.send(&json!({"op": "subscribe", "kind": format!("kind-{number}"), "ref": number}));
        assert_eq!(socket.message()["event"], "accepted", "{number}");
    }
    socket.send(&json!({"op": "subscribe", "kind": "one-more"}));
    assert_eq!(socket.message()["problem"]["code"], "follows_too_much");
    // Accepted all the same, though it cannot be followed.
    socket.send(&json!({"op": "submit", "kind": "good", "ref": 1}));
    assert_eq!(socket.message()["event"], "accepted");
    assert_eq!(socket.message()["problem"]["code"], "follows_too_much");
    socket.send(&json!({"op": "unsubscribe", "kind": "kind-7"}));
    assert_eq!(socket.message()["event"], "accepted");
    socket.send(&json!({"op": "subscribe", "kind": "one-more"}));
    assert_eq!(socket.message()["event"], "accepted");
}

/// A client that does not read is closed, with a code that says why, and costs neither jobs nor other clients anything.
#[test]
fn who_reads_too_slowly_is_closed_and_others_are_not() {
    let host = host();
    for over in BOTH {
        let (mut slow, mut quick) = (Socket::open(&host, over), Socket::open(&host, over));
        slow.send(&json!({"op": "subscribe", "kind": "good"}));
        assert_eq!(slow.message()["event"], "accepted");
        // More than all the buffers between a host and a client take.
        let lines = (json!({"kind": "good", "tags": vec!["x".repeat(64); 16]}).to_string() + "\n").repeat(6_000);
        let accepted = host.post("/v1/jobs/batch", lines);
        assert_eq!(accepted.text().matches("\"status\":202").count(), 6_000);
        quick.send(&json!({"op": "submit", "kind": "echo", "input": 1}));
        assert_eq!(quick.until(is("result")).pop().expect("a result")["output"], 1);
        eventually("all are done", || (host.get("/v1/kinds/good").json()["counts"]["queued"] == 0).then_some(()));
        let mut told = 0;
        let code = loop {
            match slow.next() {
                Ok(_) => told += 1,
                Err(code) => break code,
            }
        };
        assert_eq!(code, 4008, "after {told} messages");
        quick.send(&json!({"op": "ping"}));
        assert_eq!(quick.message()["event"], "pong");
    }
}

#[test]
fn only_pages_of_this_host_may_open_one() {
    let host = host();
    let own = host.process().address().to_owned();
    assert_eq!(Socket::refused_to(&host, &own), None);
    for other in ["http://127.0.0.1:1", "https://evil.example", "null"] {
        assert_eq!(Socket::refused_to(&host, other), Some(403), "{other}");
    }
    host.get("/v1/ws").refused(400, "no_websocket");
    host.post("/v1/ws", "").refused(405, "method_not_allowed");
}

#[test]
fn it_is_closed_when_the_host_stops() {
    for over in BOTH {
        let mut host = host();
        let mut socket = Socket::open(&host, over);
        socket.send(&json!({"op": "ping"}));
        assert_eq!(socket.message()["event"], "pong");
        host.process().signal(rustix::process::Signal::TERM);
        assert_eq!(socket.next(), Err(1001));
        assert!(host.ended().success());
    }
}

/// Fault: the process ends, or cuts the connection, before the close has reached its clients, and they see it break off.
#[test]
fn a_host_that_stops_gives_its_clients_a_moment_to_answer_the_close() {
    let mut host = host();
    let mut socket = Socket::open(&host, Over::Http1);
    socket.send(&json!({"op": "ping"}));
    assert_eq!(socket.message()["event"], "pong");
    let started = Instant::now();
    host.process().signal(rustix::process::Signal::TERM);
    // It does not listen meanwhile, and so does not answer.
    assert!(host.ended().success());
    let took = started.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(socket.next(), Err(1001));
}

#[test]
fn a_client_that_closes_is_answered() {
    let host = host();
    for over in BOTH {
        let mut socket = Socket::open(&host, over);
        socket.send_frame(Message::Close(None));
        assert!(socket.is_closed_in_order(), "{over:?}");
    }
}

/// Fault: every idle client holds a buffer for the largest message it might send one day.
#[test]
fn idle_listeners_are_cheap_and_all_of_them_hear_of_a_job() {
    let exit = Host::prepare().run(&["bench", "--idle", "200", "--json"]);
    assert!(exit.status.success(), "{exit:?}");
    let reports: Value = serde_json::from_str(&exit.stdout.join("\n")).expect("JSON");
    for (report, way) in reports.as_array().expect("a list").iter().zip(["events", "websocket"]) {
        assert_eq!(
            (&report["way"], &report["reached"], &report["told"]),
            (&json!(way), &json!(200), &json!(200)),
            "{report}"
        );
        let last = report["steps"].as_array().and_then(|steps| steps.last()).expect("ten steps");
        assert!(last["bytes_per_connection"].as_u64().is_some_and(|bytes| bytes < 64 << 10), "{last}");
    }
}
