//! How a command ends: its exit code, and what is said where it could not do what was asked, to people and to programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::host;
use crate::support::command::say;
use crate::support::{Host, guest};

#[test]
fn the_exit_code_says_how_it_ended() {
    let host = Host::prepare()
        .with_guest("good", guest::good())
        .with_guest("bad", guest::run("(unreachable)"))
        .with_guest("slow", guest::sleeping(Duration::from_secs(600)))
        .set("queue_max", 2)
        .start();
    let said = host.says(&["submit", "bad", "--wait"]).ended_with(3);
    assert!(said.output.is_empty() && said.errors.contains("trap"), "{said:?}");
    host.says(&["status", "01900000-0000-7000-8000-000000000000"]).ended_with(6);
    let said = host.says(&["submit", "god"]).ended_with(6);
    assert!(said.errors.contains("dropforge kinds"), "it says what to try: {}", said.errors);
    host.says(&["submit", "good", "--priority", "11"]).ended_with(7);
    host.says(&["submit"]).ended_with(2);

    let slow = host.says(&["submit", "slow", "--timeout", "10m"]).ended_with(0).text();
    let slow = slow.trim_end();
    host.says(&["result", slow]).ended_with(5);
    host.says(&["wait", slow, "--timeout", "50ms"]).ended_with(5);
    host.says(&["delete", slow]).ended_with(7);
    host.says(&["submit", "slow", "--timeout", "10m"]).ended_with(0);
    let said = host.says(&["submit", "slow"]).ended_with(9);
    assert!(said.errors.contains("try:"), "{}", said.errors);
    host.says(&["cancel", slow]).ended_with(0);
    host.says(&["wait", slow]).ended_with(4);
    host.says(&["result", slow]).ended_with(4);
    host.says(&["retry", slow]).ended_with(0);
    host.says(&["cancel", slow]).ended_with(0);
    host.says(&["delete", slow]).ended_with(0);
    host.says(&["status", slow]).ended_with(6);

    let nobody = say(&["list"], "http://127.0.0.1:1", b"", host.setup().folder()).ended_with(10);
    assert!(nobody.errors.contains("dropforge serve"), "it says what to try: {}", nobody.errors);
    let said = say(&["list"], "example.org:8080", b"", host.setup().folder()).ended_with(2);
    assert!(said.errors.contains("http:// or https://"), "{}", said.errors);
}

#[test]
fn a_wrong_address_is_told_with_the_flag_or_variable_that_gave_it() {
    let setup = Host::prepare();
    let said = say(&["list"], "nonsense", b"", setup.folder()).ended_with(2);
    assert!(said.errors.contains("DROPFORGE_URL: \"nonsense\" is no address"), "{}", said.errors);
    let said = say(&["list", "--url", ""], "http://127.0.0.1:1", b"", setup.folder()).ended_with(2);
    assert!(said.errors.contains("--url: \"\" is no address of a host: it is empty"), "{}", said.errors);
    let said = say(&["list", "--url", "ftp://a", "--json"], "nonsense", b"", setup.folder()).ended_with(2);
    let error: Value = serde_json::from_str(&said.errors).expect("JSON");
    assert!(error["detail"].as_str().is_some_and(|detail| detail.starts_with("--url: ")), "{error}");
    assert!(error["try"].as_str().is_some_and(|advice| advice.contains("http://127.0.0.1:8080")), "{error}");
}

/// Fault: a cancel that came too late says "succeeded", as though that was its doing.
#[test]
fn a_cancel_of_a_job_that_has_ended_says_so() {
    let host = Host::prepare()
        .with_guest("good", guest::good())
        .with_guest("bad", guest::run("(unreachable)"))
        .with_guest("slow", guest::sleeping(Duration::from_secs(600)))
        .start();
    let [good, bad] = ["good", "bad"].map(|kind| host.submit(kind, Value::Null));
    host.wait_for(&good, "succeeded");
    host.wait_for(&bad, "failed");
    let slow = host.submit("slow", Value::Null);
    let said = host.says(&["cancel", &good, &bad, &slow]).ended_with(0).text();
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(lines[0].starts_with("had ended already: succeeded after "), "{said}");
    assert!(lines[1].starts_with("had ended already: failed after ") && said.contains("\n  trap: "), "{said}");
    assert!(!lines[2].contains("had ended"), "{said}");
    host.wait_for(&slow, "cancelled");
}

#[test]
fn errors_are_json_for_those_who_asked_for_json() {
    let host = host();
    let said = host.says(&["submit", "nope", "--json"]).ended_with(6);
    let problem: Value = serde_json::from_str(&said.errors).expect("one document on standard error");
    assert_eq!((&problem["code"], &problem["status"]), (&json!("unknown_kind"), &json!(404)));
    let said = say(&["kinds", "--json"], "http://127.0.0.1:1", b"", host.setup().folder()).ended_with(10);
    let problem: Value = serde_json::from_str(&said.errors).expect("one document on standard error");
    assert_eq!(problem["code"], "unreachable");
}

#[test]
fn errors_say_what_to_try() {
    let host = Host::prepare()
        .with_guest("bad", guest::run("(unreachable)"))
        .with_guest("slow", guest::sleeping(Duration::from_secs(600)))
        .start();
    let bad = host.submit("bad", Value::Null);
    host.wait_for(&bad, "failed");
    let slow = host.submit("slow", Value::Null);
    host.cancel(&slow);
    let busy = host.submit("slow", Value::Null);
    for (words, hint) in [
        (["submit", "god"], "`dropforge kinds`"),
        (["status", "01900000-0000-7000-8000-000000000000"], "`dropforge list`"),
        (["result", &bad], &format!("`dropforge status {bad}`")),
        (["result", &slow], &format!("`dropforge retry {slow}`")),
        (["delete", &busy], &format!("`dropforge status {busy}`")),
    ] {
        let said = host.says(&words);
        let tries = said.errors.lines().find(|line| line.trim_start().starts_with("try:"));
        assert!(said.code > 2 && tries.is_some_and(|line| line.contains(hint)), "{words:?}: {said:?}");
    }
}
