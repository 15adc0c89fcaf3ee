//! Jobs submitted from the command line: what goes in, the options that can be typed, and what comes back.

use std::process::Stdio;

use serde_json::{Value, json};

use super::host;
use crate::support::command::Typed;
use crate::support::{Host, program};

#[test]
fn a_job_is_submitted_and_its_result_comes_back() {
    let host = host();
    let said = host.says(&["submit", "echo", "--wait", "--input", r#"{"a": 1}"#]).ended_with(0);
    assert_eq!(said.text(), r#"{"a": 1}"#, "exactly the result, and nothing else, on standard output");
    assert!(said.errors.contains("succeeded"), "{}", said.errors);

    let said = host.says(&["submit", "echo", "-i", "-"]).ended_with(2);
    assert!(said.errors.contains("standard input is empty"), "{}", said.errors);
    let id = host.says_reading(&["submit", "echo", "-i", "-"], b"[2]").ended_with(0).text();
    let id = id.trim_end();
    assert!(host.says(&["wait", id]).ended_with(0).text().starts_with("succeeded"));
    assert_eq!(host.says(&["result", id]).ended_with(0).output, b"[2]");
    let job = host.says(&["status", id, "--json"]).ended_with(0).json();
    assert_eq!((&job["id"], &job["state"]), (&json!(id), &json!("succeeded")));
    let shown = host.says(&["status", id]).ended_with(0).text();
    for word in [id, "echo", "succeeded", "attempt 1"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

/// Fault: what is piped into a submit without `-` is silently left out of the job.
#[test]
fn what_is_piped_in_and_not_read_is_told() {
    let host = host();
    let note = "- as the input sends it";
    let said = host.says_reading(&["submit", "echo", "--wait"], b"[2]").ended_with(0);
    assert!(said.output.is_empty() && said.errors.contains(note), "{said:?}");
    let said = host.says_reading(&["submit", "echo", "--json"], b"[2]").ended_with(0);
    let told: Value = serde_json::from_str(said.errors.trim_end()).expect("a note as JSON");
    assert_eq!(told["note"], "input_not_read");
    let said = host.says_reading(&["run", "plugins/echo.wasm"], b"[2]").ended_with(0);
    assert!(said.errors.contains(note), "{}", said.errors);
    // Given an input, or with nothing there, there is nothing to tell; and a pipe that says nothing is not waited for.
    let silent = [
        host.says_reading(&["submit", "echo", "-i", "-"], b"[2]"),
        host.says_reading(&["submit", "echo", "-i", "1"], b"[2]"),
        host.says(&["submit", "echo"]),
        host.types(&["submit", "echo"]).ended(),
        Typed::start(&[], &["submit", "echo"], host.process().address(), Stdio::piped(), host.setup().folder()).ended(),
    ];
    for said in silent {
        let said = said.ended_with(0);
        assert!(!said.errors.contains("standard input"), "{said:?}");
    }
}

#[test]
fn files_of_any_type_go_in_and_come_out_as_they_are() {
    let host = host();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let file = host.setup().folder().join("in.bin");
    std::fs::write(&file, &bytes).expect("the folder can be written");
    let words = ["submit", "echo", "--file", "in.bin", "--type", "image/x-test", "--output", "out.bin", "--json"];
    let job = host.says(&words).ended_with(0).json();
    assert_eq!(job["state"], "succeeded");
    let saved = std::fs::read(host.setup().folder().join("out.bin")).expect("it was saved");
    assert!(saved == bytes, "the result was saved as it is");
    let id = job["id"].as_str().expect("a job has an id");
    assert_eq!(host.result(id).header("content-type"), "image/x-test");
    let piped = host.says_reading(&["submit", "echo", "--file", "-", "--wait"], &bytes).ended_with(0);
    assert!(piped.output == bytes, "a pipe carries it both ways");
}

#[test]
fn artifacts_are_saved_in_a_folder() {
    let host = Host::prepare().with_plugin("pdf-to-png").start();
    let pdf = format!("{}/assets/demo.pdf", env!("CARGO_MANIFEST_DIR"));
    let words =
        ["submit", "pdf-to-png", "-f", &pdf, "-p", "dpi=20", "-p", "last_page=2", "--save-artifacts", "pages/of"];
    let said = host.says(&words).ended_with(0);
    assert!(said.errors.contains("2 files saved in pages/of"), "{}", said.errors);
    let said = host.says(&[&words[..8], &["--wait"]].concat()).ended_with(0);
    assert!(said.errors.contains("made 2 files: `dropforge result "), "that there are more is told: {}", said.errors);
    let page = std::fs::read(host.setup().folder().join("pages/of/page-002.png")).expect("it was saved");
    assert_eq!(&page[..4], b"\x89PNG");
}

#[test]
fn options_of_a_job_can_be_typed() {
    let host = Host::prepare().with_guest("args", program::component(program::ARGUMENTS));
    let host = host.with_file("args.toml", "job_args = true").start();
    let words = [
        "submit",
        "args",
        "--arg",
        "-x",
        "--arg",
        "y z",
        "--priority",
        "9",
        "--max-attempts",
        "1",
        "--tag",
        "a",
        "--tag",
        "b",
        "--timeout",
        "5s",
        "--delay",
        "1ms",
        "--expires-in",
        "1m",
        "--idempotency-key",
        "k",
        "--json",
    ];
    let job = host.says(&words).ended_with(0).json();
    assert_eq!((&job["priority"], &job["max_attempts"], &job["tags"]), (&json!(9), &json!(1), &json!(["a", "b"])));
    let again = host.says(&words).ended_with(0).json();
    assert_eq!(again["id"], job["id"], "the same key is the same job");
    let id = job["id"].as_str().expect("a job has an id");
    host.wait_for(id, "succeeded");
    assert_eq!(host.says(&["result", id]).ended_with(0).text(), "args\0-x\0y z\0");
    let said = host.says(&["submit", "args", "--param", "priority=3"]).ended_with(2);
    assert!(said.errors.contains("--priority"), "{}", said.errors);
}
