//! How often each may ask, what answers say about that, and that what they say is true.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::ws::{Over, Socket};
use crate::support::{Host, Setup, guest};

fn setup(rate: &str) -> Setup {
    Host::prepare().with_guest("good", guest::good()).set("rate_limit", rate)
}

fn seconds(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("whole seconds")
}

#[test]
fn nobody_is_limited_unless_the_operator_says_so() {
    let host = Host::start();
    for _ in 0..200 {
        let answer = host.get("/v1/kinds");
        assert_eq!((answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")), (200, "", ""));
    }
}

#[test]
fn answers_say_what_is_left_and_a_refusal_when_to_come_back() {
    let host = setup("5/s").start();
    // Being alive and ready can be asked at any rate.
    for _ in 0..20 {
        assert_eq!((host.get("/healthz").status, host.get("/readyz").status), (200, 200));
    }
    let mut refusals = 0;
    for _ in 0..3 {
        // However slow the machine, a burst meets the limit at some time.
        let refused = (0..500).find_map(|_| {
            let answer = host.get("/v1/kinds");
            assert_eq!(answer.header("ratelimit-policy"), "\"default\";q=5;w=1");
            let left =
                answer.header("ratelimit").strip_prefix("\"default\";r=").expect("it says what is left").to_owned();
            let (left, reset) = left.split_once(";t=").expect("and when all of it is back");
            assert!(left.parse::<u32>().is_ok_and(|left| left < 5) && reset == "1", "{left} {reset}");
            (answer.status != 200).then_some(answer)
        });
        let Some(refused) = refused else { continue };
        refusals += 1;
        let problem = refused.refused(429, "too_many_requests");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("5/s")), "{problem}");
        assert_eq!(refused.header("ratelimit"), "\"default\";r=0;t=1");
        let wait = seconds(&refused);
        assert_eq!(wait, 1);
        // This is what the answer asks for, and it has to be enough.
        std::thread::sleep(Duration::from_secs(wait));
        assert_eq!(host.get("/v1/kinds").status, 200, "it said that this would do");
    }
    assert!(refusals > 0, "a burst of 500 meets a limit of 5 a second");
}

#[test]
fn each_token_has_a_rate_of_its_own_and_so_have_those_without() {
    let setup = setup("3/h");
    let [one, two] = [(); 2].map(|()| setup.new_token(&[]));
    let host = setup.start();
    let statuses = |token: &str| (0..4).map(|_| host.get_as(token, "/v1/kinds").status).collect::<Vec<_>>();
    assert_eq!(statuses(&one), [200, 200, 200, 429]);
    assert_eq!(statuses(&two), [200, 200, 200, 429]);
    // Guessing is limited by address, and does not use up what others have.
    assert_eq!(statuses("dfk_guess"), [401, 401, 401, 429]);
    let refused = host.post_as(&one, "/v1/jobs", "{\"kind\":\"good\"}");
    refused.refused(429, "too_many_requests");
    assert!((1..=1200).contains(&seconds(&refused)), "one of three an hour comes back in 20 minutes");
}

#[test]
fn a_rate_that_is_none_is_an_error_that_names_it() {
    for rate in ["60", "0/min", "fast"] {
        let exit = setup(rate).start_in_vain();
        let said = exit.stderr.to_lowercase();
        assert!(!exit.status.success() && said.contains("rate_limit"), "{rate}: {}", exit.stderr);
    }
}

/// Issue: a `Retry-After` that is a constant sends everybody back too early, or far too late.
#[test]
fn a_full_queue_says_when_there_is_room_and_means_it() {
    let setup = Host::prepare().with_plugin("message").set("workers", 1).set("queue_max", 2);
    let host = setup.start();
    let job = json!({"kind": "message", "input": {"message": "hi", "seconds": 1}});
    // One run, so that the host knows how long they take.
    let id = host.submit_job(job.clone());
    host.wait(&id);
    let waiting = Instant::now();
    let refused = loop {
        let answer = host.post_job(&job);
        if answer.status != 202 {
            break answer;
        }
        assert!(waiting.elapsed() < Duration::from_secs(60), "the queue of two is full at some time");
    };
    refused.refused(503, "queue_full");
    let wait = seconds(&refused);
    assert!((1..=3).contains(&wait), "a job takes a second: {wait}");
    std::thread::sleep(Duration::from_secs(wait + 1));
    let answer = Answer::of(host.request(Method::POST, "/v1/jobs").body(job.to_string()));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let jobs: Value = host.get("/v1/jobs").json();
    assert!(jobs["jobs"].as_array().is_some_and(|jobs| jobs.len() >= 4), "{jobs}");
}

/// An estimate from run times would send clients back every second for as long as nobody resumes the kind.
#[test]
fn a_full_queue_of_a_paused_kind_does_not_promise_room_soon() {
    let host = Host::prepare().with_guest("good", guest::good()).set("queue_max", 1).start();
    host.still_works();
    assert_eq!(host.post("/v1/kinds/good/pause", "").status, 200);
    host.submit("good", Value::Null);
    let refused = host.post_job(&json!({"kind": "good"}));
    refused.refused(503, "queue_full");
    assert_eq!(seconds(&refused), 60);
}

/// Fault: who is refused over HTTP goes on over a WebSocket, which is one request however much is done over it.
#[test]
fn each_operation_of_a_websocket_counts_as_a_request() {
    let host = setup("3/h").start();
    let mut socket = Socket::open(&host, Over::Http1);
    for _ in 0..2 {
        socket.send(&json!({"op": "ping"}));
        assert_eq!(socket.message()["event"], "pong");
    }
    socket.send(&json!({"op": "submit", "kind": "good", "ref": 7}));
    let refused = socket.message();
    assert_eq!((&refused["event"], &refused["status"], &refused["ref"]), (&json!("problem"), &json!(429), &json!(7)));
}
