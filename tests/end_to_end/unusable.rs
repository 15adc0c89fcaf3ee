//! What is said of a kind that has a file and cannot be used: the file is on its way, or was rejected.

use std::fs::OpenOptions;
use std::io::Write;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::{Host, eventually, guest};

fn submit(host: &Host, kind: &str) -> Answer {
    host.post(&format!("/v1/kinds/{kind}/jobs"), "x")
}

/// What the answer says, and after how many seconds it is worth asking again.
fn not_ready(answer: &Answer) -> (String, u64) {
    let problem = answer.refused(503, "not_ready");
    let detail = problem["detail"].as_str().expect("a detail").to_owned();
    let again = answer.header("retry-after").parse().expect("a number of seconds");
    assert!(detail.ends_with(&format!("try again in {again} s")) && (1..=60).contains(&again), "{again}: {detail}");
    (detail, again)
}

/// Waits until this is said of a kind.
fn until_told(host: &Host, kind: &str, words: &str) -> (String, u64) {
    eventually(&format!("{kind}: {words}"), || {
        let answer = submit(host, kind);
        (answer.status == 503).then(|| not_ready(&answer)).filter(|(detail, _)| detail.contains(words))
    })
}

fn listed(host: &Host, file: &str) -> Value {
    let files = host.get("/v1/plugins").json();
    let mut files = files["plugins"].as_array().expect("a list").iter();
    files.find(|one| one["file"] == file).unwrap_or_else(|| panic!("{file} is not listed")).clone()
}

/// Fault: whoever drops a file and submits at once is told that there is no such kind.
#[test]
fn a_file_that_was_dropped_this_instant_is_no_unknown_kind() {
    let host = Host::start();
    for number in 0..20 {
        let kind = format!("just{number}");
        std::fs::write(host.setup().plugins().join(format!("{kind}.wasm")), guest::good()).expect("it can be written");
        let answer = submit(&host, &kind);
        if answer.status != 202 {
            not_ready(&answer);
        }
    }
    assert_eq!(submit(&host, "just20").status, 404, "there is no such file");
}

/// Fault: while a file is still being written there is no such kind.
#[test]
fn a_file_that_is_still_being_written_is_no_unknown_kind() {
    let host = Host::start();
    let path = host.setup().plugins().join("slow.wasm");
    let write = |bytes: &[u8]| {
        let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("it can be opened");
        file.write_all(bytes).expect("it can be written");
    };
    let bytes = guest::good();
    let (first, rest) = bytes.split_at(8);
    write(first);
    eventually("it was found, and is not taken for complete", || {
        // Each time one byte of an empty custom section's name, so that it changes for as long as this looks.
        write(&[0, 2, 1, b'x']);
        let answer = submit(&host, "slow");
        // Before the watcher has seen it, it is told to have just been dropped.
        let (detail, _) = not_ready(&answer);
        detail.contains("counts as complete once").then_some(())
    });
    let file = listed(&host, "slow.wasm");
    assert_eq!(
        (&file["state"], &file["step"], &file["kind"]),
        (&json!("compiling"), &json!("settling"), &json!("slow"))
    );
    assert!(file["size"].as_u64().is_some_and(|size| size >= 12) && file["since"].is_string(), "{file}");
    write(rest);
    eventually("it serves, and is never unknown on the way", || {
        let answer = submit(&host, "slow");
        assert!(matches!(answer.status, 202 | 503), "{}", answer.text());
        (answer.status == 202).then_some(())
    });
    let file = listed(&host, "slow.wasm");
    assert_eq!((&file["state"], &file["step"]), (&json!("serving"), &Value::Null));
}

/// Fault: "try again in 1 s" for minutes.
#[test]
fn a_kind_that_is_being_compiled_says_since_when_and_when_to_ask_again() {
    let mut host = Host::prepare().with_guest("good", guest::good()).start();
    let large = guest::large(20_000);
    host.drop_file("large.wasm", &large);
    let (detail, again) = until_told(&host, "large", "large.wasm has been compiling for");
    assert!(detail.contains(&format!("{} bytes are expected to take", large.len())), "{detail}");
    assert!(again > 1, "{detail}");
    let file = listed(&host, "large.wasm");
    assert_eq!((&file["state"], &file["step"]), (&json!("compiling"), &json!("compiling")), "{file}");
    assert_eq!(file["size"], large.len());
    // Large files never take all places, so another one waits.
    host.drop_file("next.wasm", &large);
    let (detail, later) = until_told(&host, "next", "to be compiled, with 1 file before it");
    assert!(later > again || later == 60, "{later} after {again}: {detail}");
    assert_eq!(listed(&host, "next.wasm")["step"], "waiting");
    host.still_works();
    assert!(host.terminate().success());
}

/// Fault: whoever may only submit learns where the host keeps its secrets.
#[test]
fn why_a_file_was_rejected_is_for_those_who_may_see_the_list_of_files() {
    let setup = Host::prepare().with_guest("kind", guest::probe()).with_guest("good", guest::good());
    let setup = setup.with_file("kind.toml", "[secrets]\nTOKEN = { file = \"../hidden-place/token\" }");
    let [reads, submits] = ["submit,read", "submit"].map(|scope| setup.new_token(&["--scope", scope]));
    let host = setup.start();
    eventually("the file is rejected", || {
        let files = host.get_as(&reads, "/v1/plugins").json();
        files["plugins"]
            .as_array()?
            .iter()
            .find(|file| file["file"] == "kind.wasm" && file["state"] == "rejected")
            .map(drop)
    });
    let refusals = |token: &str| {
        let as_body = host.request_as(token, Method::POST, "/v1/kinds/kind/jobs").body("x");
        let as_json = host.request_as(token, Method::POST, "/v1/jobs").body(r#"{"kind": "kind"}"#);
        let batch = host.request_as(token, Method::POST, "/v1/jobs/batch").body("{\"kind\": \"kind\"}\n");
        let [as_body, as_json] = [as_body, as_json].map(|request| Answer::of(request).refused(404, "unknown_kind"));
        [as_body.to_string(), as_json.to_string(), Answer::of(batch).text()]
    };
    for said in refusals(&reads) {
        assert!(said.contains("kind.wasm was rejected") && said.contains("hidden-place"), "{said}");
    }
    for said in refusals(&submits) {
        assert!(
            said.contains("ask the operator (GET /v1/plugins says why)") && !said.contains("hidden-place"),
            "{said}"
        );
    }
    assert_eq!(host.get_as(&submits, "/v1/plugins").status, 403);
}
