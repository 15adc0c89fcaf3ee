//! Names and words that are meant for somebody else: paths in artifact names, control characters, broken header fields.

use serde_json::{Value, json};

use super::Attack;
use crate::support::guest;
use crate::support::guest::Guest;

/// Tries these artifact names, each of which has to be refused.
#[track_caller]
fn refused(names: &[&str]) {
    let attempts: String = names
        .iter()
        .map(|name| format!(r#"(local.set $i (i32.add (local.get $i) (call $artifact (text "{name}") (text "x"))))"#))
        .collect();
    let attack = guest::run(&format!(
        r#"{attempts} (drop (call $artifact (text "fine") (text "x")))
           (i32.store8 (i32.const 900) (i32.add (local.get $i) (i32.const 48)))
           (return (call $done (text "text/plain") (i32.const 900) (i32.const 1)))"#
    ));
    // Digits up to nine suffice to count them.
    let (host, job) = Attack::by(attack).succeeds(&names.len().to_string());
    let artifacts = host.artifacts(job["id"].as_str().expect("an id"));
    let names: Vec<&Value> = artifacts.iter().map(|artifact| &artifact["name"]).collect();
    assert_eq!(names, ["fine"]);
    let folder = host.setup().folder();
    for path in ["x", "data/x", "data/tmp/x", "data/blobs/x", "plugins/x.wasm"] {
        assert!(!folder.join(path).exists(), "{path}");
    }
}

#[test]
fn artifact_names_cannot_leave_their_folder() {
    refused(&["../x", "..", ".", "../../plugins/x.wasm", "a/b", "a/../../x", "/etc/passwd", "a\\b", "..\\x"]);
}

#[test]
fn artifact_names_cannot_hide() {
    refused(&["", ".hidden", "...", ".fine"]);
}

#[test]
fn artifact_names_have_no_control_characters() {
    refused(&["a\nb", "a\rb", "a\0b", "\u{1b}[2Ja", "a\u{7f}", "a\u{85}b", "a\tb"]);
}

#[test]
fn artifact_names_have_a_longest_length() {
    let (host, job) = Attack::run(&format!(
        r#"(if (call $artifact (text "{}") (text "x")) (then (unreachable)))
           (if (i32.eqz (call $artifact (text "{}") (text "x"))) (then (unreachable)))
           (return (call $done (text "text/plain") (text "ok")))"#,
        "n".repeat(255),
        "n".repeat(256)
    ))
    .succeeds("ok");
    assert_eq!(host.artifacts(job["id"].as_str().expect("an id")).len(), 1);
}

#[test]
fn an_artifact_name_is_taken_once() {
    let run = r#"(drop (call $artifact (text "a") (text "first")))
        (if (i32.eqz (call $artifact (text "a") (text "second"))) (then (unreachable)))
        (return (call $done (text "text/plain") (text "ok")))"#;
    let (host, job) = Attack::run(run).succeeds("ok");
    let id = job["id"].as_str().expect("an id");
    assert_eq!(host.get(&format!("/v1/jobs/{id}/artifacts/a")).text(), "first");
}

/// Fault: a plugin answers clients with header fields of its own.
#[test]
fn media_types_cannot_add_header_fields() {
    let hostile = "text/html\r\nSet-Cookie: session=stolen";
    let run = format!(
        r#"(call $open_artifact (text "a") (text "{hostile}") (i32.const 832))
           (return (call $done (text "{hostile}") (text "ok")))"#
    );
    let (host, job) = Attack::run(&run).succeeds("ok");
    let id = job["id"].as_str().expect("an id");
    for answer in [host.result(id), host.get(&format!("/v1/jobs/{id}/artifacts/a"))] {
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert!(!answer.headers.contains_key("set-cookie"), "{:?}", answer.headers);
    }
}

#[test]
fn nonsense_in_calls_is_bent_into_shape() {
    let run = r#"(call $progress (f64.const nan) (text "")) (call $progress (f64.const -inf) (text ""))
        (call $progress (f64.const 1e300) (text "done"))
        (call $log (i32.const 4) (text "two
lines"))
        (return (call $done (text "no media type") (text "ok")))"#;
    let (host, job) = Attack::run(run).succeeds("ok");
    assert_eq!(job["progress"], json!({"fraction": 1.0, "message": "done"}));
    assert_eq!(job["usage"][0]["log"], json!(["ERROR two\u{fffd}lines"]));
    assert_eq!(host.result(job["id"].as_str().expect("an id")).header("content-type"), "application/octet-stream");
}

/// Fault: what a plugin says is printed to an operator's terminal, or into the host's own log.
#[test]
fn control_characters_are_taken_out_of_all_that_people_read() {
    let hostile = "\u{1b}[2J\r\nlevel=error all is lost\u{9b}31m\u{0}";
    let run = format!(
        r#"(call $progress (f64.const 0.5) (text "{hostile}")) (call $log (i32.const 2) (text "{hostile}"))
           (return (call $fail (i32.const 1) (text "{hostile}")))"#
    );
    let (host, job) = Attack::run(&run).fails("plugin_error", ());
    // A failure may take several lines to explain; nothing else may.
    for (said, allowed) in
        [(&job["failure"]["message"], "\n"), (&job["usage"][0]["log"][0], ""), (&job["progress"]["message"], "")]
    {
        let said = said.as_str().expect("it was said");
        let is_hostile = |c: char| c.is_control() && !allowed.contains(c);
        assert!(said.contains("all is lost") && !said.contains(is_hostile), "{said:?}");
    }
    assert!(!host.process().stderr().contains(['\u{1b}', '\u{9b}', '\r', '\0']));
}

/// Fault: as above, for the names of functions, which a plugin's file brings along.
#[test]
fn control_characters_are_taken_out_of_backtraces() {
    let items = r#"(func $"\1b[2Jevil\0a" (unreachable))"#;
    let run = r#"(call $"\1b[2Jevil\0a")"#;
    let (_, job) = Attack::by(Guest { items, run, ..Guest::GOOD }.component()).fails("trap", ());
    let innermost = job["usage"][0]["backtrace"][0].as_str().expect("a function");
    assert!(innermost.contains("evil") && !innermost.contains(char::is_control), "{innermost:?}");
}

/// Fault: as above, for what a plugin says of itself and is listed with.
#[test]
fn control_characters_are_taken_out_of_descriptions() {
    // The summary begins at 4096.
    let describe = "(i32.store8 (i32.const 4098) (i32.const 27)) (i32.store8 (i32.const 4099) (i32.const 0)) (return (i32.const 16))";
    let host = Attack::by(guest::with_describe(describe)).host();
    assert_eq!(host.get("/v1/kinds/attack").json()["summary"], "A \u{fffd}\u{fffd}est of the tests.");
    host.still_works();
}

#[test]
fn messages_without_end_are_cut() {
    for (case, code) in [(0, "invalid_input"), (1, "plugin_error")] {
        let run = format!(
            r#"(drop (memory.grow (i32.const 100))) (memory.fill (i32.const 131072) (i32.const 120) (i32.const 6000000))
               (call $progress (f64.const 0.5) (i32.const 131072) (i32.const 6000000))
               (return (call $fail (i32.const {case}) (i32.const 131072) (i32.const 6000000)))"#
        );
        let host = Attack::run(&run).host();
        let job = host.wait_for(&host.submit("attack", Value::Null), "failed");
        assert_eq!(job["failure"]["code"], code, "{job}");
        assert!(job["failure"]["message"].as_str().is_some_and(|message| message.len() <= 1024), "{job}");
        assert!(job["progress"]["message"].as_str().is_some_and(|message| message.len() <= 256), "{job}");
        host.still_works();
    }
}

/// Fault: the plugin's advice when to try again is added to a clock, and the sum is no time.
#[test]
fn advice_to_try_again_at_the_end_of_time_is_cut() {
    let run = r#"(drop (call $fail (i32.const 2) (text "later"))) (i32.store (i32.const 536) (i32.const 1))
        (i64.store (i32.const 544) (i64.const -1)) (return (i32.const 512))"#;
    let host = Attack::run(run).host();
    let id = host.submit("attack", Value::Null);
    let job = host.wait_for(&id, "scheduled");
    assert!(job["run_at"].as_str().is_some_and(|at| at.starts_with("20")), "{job}");
    assert_eq!(host.cancel(&id)["state"], "cancelled");
    host.still_works();
}

/// A file can be named like anything; a kind cannot.
#[test]
fn plugin_files_with_hostile_names_are_rejected() {
    let names = ["\u{1b}[2J.wasm", "a\nb.wasm", "-rf.wasm", "UPPER.wasm", "a b.wasm", "ä.wasm"];
    let host = Attack::by(Guest::GOOD.component()).host();
    for name in names {
        host.drop_file(name, guest::good());
        let file = host.file(name);
        assert_eq!(file["state"], "rejected", "{file}");
    }
    assert_eq!(host.get("/v1/kinds").json()["kinds"].as_array().map(Vec::len), Some(2));
    assert!(!host.process().stderr().contains('\u{1b}'));
    host.still_works();
}
