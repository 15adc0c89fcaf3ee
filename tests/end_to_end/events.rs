//! What happens to jobs, as those hear of it who listen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::sse::{Event, Stream};
use crate::support::{Host, PATIENCE, eventually, guest};

/// A plugin that says where it is, logs, and waits a while in between.
fn talker() -> Vec<u8> {
    guest::run(
        r#"(call $progress (f64.const 0.25) (text "begun"))
           (call $log (i32.const 2) (text "one"))
           (call $block (call $subscribe_duration (i64.const 700000000)))
           (call $log (i32.const 3) (text "two"))
           (call $progress (f64.const 0.75) (text "nearly"))
           (return (call $done (text "text/plain") (text "ok")))"#,
    )
}

/// A plugin that logs and reports without end.
fn flood() -> Vec<u8> {
    guest::run(
        r#"(loop $forever
             (call $log (i32.const 2) (text "again and again and again"))
             (call $progress (f64.const 0.5) (text "still"))
             (br $forever))"#,
    )
}

fn states(events: &[Event]) -> Vec<String> {
    let states = events.iter().filter(|event| event.name == "state");
    states.map(|event| event.data["state"].as_str().expect("a state").to_owned()).collect()
}

fn numbers(events: &[Event]) -> Vec<u64> {
    let number = |event: &Event| event.id.rsplit('-').next().and_then(|number| number.parse().ok());
    events.iter().map(|event| number(event).expect("an id with a number")).collect()
}

fn events_path(id: &str) -> String {
    format!("/v1/jobs/{id}/events")
}

#[test]
fn a_jobs_life_is_told_from_its_state_now_to_its_end() {
    let host = Host::prepare().with_guest("talker", talker()).start();
    let id = host.submit_job(json!({"kind": "talker", "delay": "1s", "tags": ["x"]}));
    let events = Stream::open(&host, &events_path(&id), None).rest();
    let first = &events[0];
    assert_eq!((first.name.as_str(), &first.data["state"]), ("state", &json!("scheduled")));
    assert_eq!((&first.data["id"], &first.data["tags"]), (&json!(id), &json!(["x"])));
    let told = states(&events);
    assert_eq!((&*told[0], &*told[told.len() - 2], &*told[told.len() - 1]), ("scheduled", "running", "succeeded"));
    assert!(numbers(&events).is_sorted(), "{events:?}");
    let of = |name: &str| events.iter().filter(|event| event.name == name).map(|event| event.data.clone()).collect();
    let logs: Vec<Value> = of("log");
    let lines: Vec<_> = logs.iter().map(|log| (&log["attempt"], &log["level"], &log["message"])).collect();
    let (one, info, warn) = (json!(1), json!("info"), json!("warn"));
    assert_eq!(lines, [(&one, &info, &json!("one")), (&one, &warn, &json!("two"))]);
    assert!(logs[0]["at"].as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()));
    let progress: Vec<Value> = of("progress");
    assert_eq!(progress[0]["progress"], json!({"fraction": 0.25, "message": "begun"}));
    assert_eq!(progress[1]["progress"], json!({"fraction": 0.75, "message": "nearly"}));
    assert_eq!(events.last().expect("the end").data["progress"]["message"], "nearly");
}

#[test]
fn a_finished_job_has_one_event_and_an_unknown_one_none() {
    let host = Host::start();
    let id = host.submit("good", Value::Null);
    host.wait_for(&id, "succeeded");
    let events = Stream::open(&host, &events_path(&id), None).rest();
    assert_eq!(states(&events), ["succeeded"]);
    host.get(&events_path("0199e0a0-0000-7000-8000-000000000000")).refused(404, "unknown_job");
    host.get("/v1/events?kind=NO").refused(422, "invalid_option");
    host.get("/v1/events?kinds=good").refused(422, "invalid_option");
}

#[test]
fn who_comes_back_hears_what_it_missed_and_nothing_twice() {
    let host = Host::prepare().with_guest("talker", talker()).start();
    let id = host.submit_job(json!({"kind": "talker", "delay": "500ms"}));
    let mut stream = Stream::open(&host, &events_path(&id), None);
    let first = stream.next().expect("an event");
    drop(stream);
    host.wait_for(&id, "succeeded");
    let missed = Stream::open(&host, &events_path(&id), Some(&first.id)).rest();
    assert_eq!(states(&missed), ["running", "succeeded"]);
    assert_eq!(missed.iter().filter(|event| event.name == "log").count(), 2);
    assert!(numbers(&missed)[0] > numbers(&[first])[0]);
    // From the middle on, and from the end on: a browser that gets 204 does not come back.
    let rest = Stream::open(&host, &events_path(&id), Some(&missed[1].id)).rest();
    assert_eq!(numbers(&rest), numbers(&missed[2..]));
    let end = host.request(Method::GET, &events_path(&id)).header("last-event-id", &missed.last().expect("one").id);
    assert_eq!(Answer::of(end).status, 204);
}

#[test]
fn who_comes_back_too_late_is_told_so_and_gets_the_state() {
    let mut host = Host::prepare().with_guest("good", guest::good()).start();
    let id = host.submit_job(json!({"kind": "good", "delay": "1h"}));
    let first = Stream::open(&host, &events_path(&id), None).next().expect("an event");
    host.kill_and_restart();
    for last in [first.id.as_str(), "nonsense", "0-5"] {
        let mut stream = Stream::open(&host, &events_path(&id), Some(last));
        let (resync, state) = (stream.next().expect("an event"), stream.next().expect("an event"));
        assert_eq!((resync.name.as_str(), &state.data["state"]), ("resync", &json!("scheduled")));
    }
    let resync = Stream::open(&host, "/v1/events", Some(&first.id)).next().expect("an event");
    assert_eq!(resync.name, "resync");
}

#[test]
fn a_kinds_events_are_those_of_its_jobs_alone() {
    let host = Host::prepare().with_guest("a", guest::good()).with_guest("b", guest::good()).start();
    let mut of_a = Stream::open(&host, "/v1/events?kind=a", None);
    let mut of_all = Stream::open(&host, "/v1/events", None);
    let place = of_a.next_or_comment().expect("a place to come back to");
    assert!(!place.id.is_empty() && place.name.is_empty());
    let (b, a) = (host.submit("b", Value::Null), host.submit("a", Value::Null));
    let ended = |id: &str| {
        let id = id.to_owned();
        move |event: &Event| event.data["id"] == id.as_str() && event.data["state"] == "succeeded"
    };
    of_all.find(ended(&b));
    let mut heard = Vec::new();
    while !heard.last().is_some_and(|event| ended(&a)(event)) {
        heard.push(of_a.next().expect("it goes on"));
    }
    assert!(heard.iter().all(|event| event.data["kind"] == "a"), "{heard:?}");
    assert_eq!(states(&heard), ["queued", "running", "succeeded"]);
    // Coming back works here as well.
    let mut again = Stream::open(&host, "/v1/events?kind=a", Some(&place.id));
    assert_eq!(again.next().expect("an event").id, heard[0].id);
}

#[test]
fn every_move_of_a_job_is_told_in_order() {
    let transient = guest::run(
        r#"(if (i32.eq (local.get $attempt) (i32.const 1))
             (then (return (call $fail (i32.const 2) (text "not yet")))))
           (return (call $done (text "text/plain") (text "ok")))"#,
    );
    let host = Host::prepare().with_guest("flaky", transient).with_guest("endless", guest::endless());
    let host = host.set("retry_pause", "100ms").start();
    let mut all = Stream::open(&host, "/v1/events", None);
    let id = host.submit("flaky", Value::Null);
    let mut heard = Vec::new();
    while !heard.last().is_some_and(|event: &Event| event.data["state"] == "succeeded") {
        heard.push(all.next().expect("it goes on"));
    }
    assert_eq!(states(&heard), ["queued", "running", "scheduled", "running", "succeeded"]);
    assert_eq!(heard[2].data["failure"]["code"], "transient");
    assert_eq!(host.job(&id)["state"], "succeeded");

    let endless = host.submit("endless", Value::Null);
    host.wait_for(&endless, "running");
    host.cancel(&endless);
    let answer = host.post(&format!("/v1/jobs/{endless}/retry"), "");
    assert_eq!(answer.status, 202);
    host.wait_for(&endless, "running");
    host.cancel(&endless);
    let mut heard = Vec::new();
    while states(&heard).iter().filter(|state| *state == "cancelled").count() < 2 {
        heard.push(all.next().expect("it goes on"));
    }
    let told = states(&heard);
    assert_eq!(told.iter().filter(|state| *state == "queued").count(), 2, "{told:?}");
    assert_eq!((told[0].as_str(), told[1].as_str(), told[2].as_str()), ("queued", "running", "cancelled"));
}

#[test]
fn a_flood_of_lines_and_progress_becomes_a_trickle() {
    let host = Host::prepare().with_guest("flood", flood()).with_guest("good", guest::good()).start();
    let flood = host.submit("flood", Value::Null);
    let mut stream = Stream::open(&host, &events_path(&flood), None);
    stream.find(|event| {
        event.name == "log" && event.data["message"].as_str().is_some_and(|text| text.contains("left out"))
    });
    let begin = std::time::Instant::now();
    let heard: Vec<Event> = (0..200).map(|_| stream.next().expect("it goes on")).collect();
    let numbers = numbers(&heard);
    // 52 events at a time, ten times a second: whatever the guest does, 200 of them take a while.
    assert!(begin.elapsed() > Duration::from_millis(200), "{:?}", begin.elapsed());
    assert_eq!(numbers.len(), 200);
    host.still_works();
    host.cancel(&flood);
    assert_eq!(states(&stream.rest()), ["cancelled"]);
}

#[test]
fn a_listener_that_does_not_read_is_let_go_and_others_hear_everything() {
    let host = Host::prepare().with_guest("good", guest::good()).set("workers", 1).start();
    let address = host.process().address().trim_start_matches("http://").to_owned();
    let mut lazy = TcpStream::connect(address).expect("the host listens");
    write!(lazy, "GET /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("writable");
    let mut head = [0; 12];
    lazy.read_exact(&mut head).expect("an answer begins");
    assert_eq!(&head, b"HTTP/1.1 200");
    let mut keen = Stream::open(&host, "/v1/events", None);
    // More than sockets hold between them, so that the host has to decide: a job's tags make its events large.
    let tags: Vec<String> = (0..16).map(|n| format!("{n:064}")).collect();
    let mut last = String::new();
    for _ in 0..24 {
        for _ in 0..100 {
            last = host.submit_job(json!({"kind": "good", "tags": tags}));
        }
        keen.find(|event| event.data["id"] == last.as_str() && event.data["state"] == "succeeded");
    }
    // The lazy one is let go: what it has not read is all it gets, and then the stream ends.
    lazy.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut rest = Vec::new();
    lazy.read_to_end(&mut rest).expect("the stream ends");
    assert!(!String::from_utf8_lossy(&rest).contains(&last), "it got everything, so it was never slow");
    host.still_works();
}

#[test]
fn a_silent_stream_shows_that_it_is_alive_and_ends_with_the_host() {
    let mut host = Host::prepare().with_guest("good", guest::good()).set("keep_alive", "100ms").start();
    let mut stream = Stream::open(&host, "/v1/events", None);
    let comments = (0..4).filter(|_| stream.next_or_comment().is_some_and(|event| event.comment)).count();
    assert_eq!(comments, 4);
    assert!(host.terminate().success());
    eventually("the stream ends", || stream.next_or_comment().is_none().then_some(()));
}

#[test]
fn no_more_listen_than_may() {
    let host = Host::prepare().with_guest("good", guest::good()).set("listeners_max", 2).start();
    let one = Stream::open(&host, "/v1/events", None);
    let _two = Stream::open(&host, "/v1/events?kind=good", None);
    let refusal = host.get("/v1/events");
    refusal.refused(503, "too_many_listeners");
    assert!(refusal.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    drop(one);
    eventually("the place is free again", || (head_status(&host, "/v1/events") == 200).then_some(()));
}

fn head_status(host: &Host, path: &str) -> u16 {
    Answer::of(host.request(Method::HEAD, path)).status
}

/// Fault: a job that starts while its submit is still being written down is heard of before there is such a job.
#[test]
fn of_a_quick_job_its_submit_is_told_first_and_its_end_last() {
    const JOBS: usize = 60;
    let says = guest::run(
        r#"(call $progress (f64.const 0.5) (text "begun"))
           (call $log (i32.const 2) (text "one"))
           (return (call $done (text "text/plain") (text "ok")))"#,
    );
    let host = Host::prepare().with_guest("says", says).with_guest("good", guest::good()).start();
    let mut all = Stream::open(&host, "/v1/events", None);
    for number in 0..JOBS {
        let kind = if number % 2 == 0 { "says" } else { "good" };
        let id = host.submit_job(json!({"kind": kind}));
        let mut told = Vec::new();
        while told.last().is_none_or(|last| last != "succeeded") {
            let event = all.find(|event| event.data["id"] == json!(id));
            told.push(event.data["state"].as_str().unwrap_or(&event.name).to_owned());
        }
        // What it says on the way comes in one piece or two.
        let on_the_way = told.len() - 3;
        assert!(told.starts_with(&["queued".to_owned(), "running".to_owned()]), "of job {number}: {told:?}");
        assert_eq!(on_the_way, if kind == "says" { 2 } else { 0 }, "of job {number}: {told:?}");
    }
}
