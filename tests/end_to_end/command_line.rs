//! The command line as people and scripts use it: words in, output, exit code.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::command::{Typed, say, say_with};
use crate::support::{Host, guest, program};

fn host() -> Host {
    Host::prepare().with_guest("good", guest::good()).with_guest("echo", guest::echo()).start()
}

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
fn jobs_kinds_and_files_are_listed() {
    let host = Host::prepare().with_guest("good", guest::good()).with_file("bad.wasm", "nothing").start();
    let ids: Vec<String> = (0..3).map(|_| host.submit("good", Value::Null)).collect();
    ids.iter().for_each(|id| drop(host.wait_for(id, "succeeded")));
    let table = host.says(&["list", "--kind", "good", "--state", "succeeded", "--limit", "2"]).ended_with(0).text();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "a heading and two jobs: {table}");
    assert!(lines[0].starts_with("ID") && lines[1].starts_with(&ids[2]) && lines[2].starts_with(&ids[1]), "{table}");
    let jobs = host.says(&["list", "--json"]).ended_with(0).json();
    let listed: Vec<&str> =
        jobs["jobs"].as_array().expect("a list").iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(listed, [&ids[2], &ids[1], &ids[0]]);

    assert!(host.says(&["kinds"]).ended_with(0).text().lines().any(|line| line.starts_with("good")));
    assert_eq!(host.says(&["kinds", "good", "--json"]).ended_with(0).json()["kind"], "good");
    let files = host.says(&["plugins"]).ended_with(0).text();
    let bad = files.lines().find(|line| line.starts_with("bad.wasm")).expect("it is listed");
    assert!(bad.contains("rejected") && bad.contains("not a WebAssembly file"), "{bad}");
    host.says(&["list", "--watch"]).ended_with(1);
}

#[test]
fn a_paused_kind_and_what_it_holds_back_are_explained() {
    let host = host();
    assert!(host.says(&["pause", "good"]).ended_with(0).text().contains("paused"));
    let id = host.says(&["submit", "good"]).ended_with(0).text();
    let said = host.says(&["explain", id.trim_end()]).ended_with(0).text();
    assert!(said.contains("paused") && said.contains("number 1 in"), "{said}");
    host.says(&["resume", "good"]).ended_with(0);
    host.says(&["wait", id.trim_end()]).ended_with(0);
}

#[test]
fn a_log_is_shown_line_by_line_and_cannot_command_the_terminal() {
    let run = r#"(call $log (i32.const 2) (text "first ESC[2J")) (call $log (i32.const 4) (text "second"))
        (return (call $done (text "") (text "")))"#;
    let host = Host::prepare().with_guest("talker", guest::run(&run.replace("ESC", "\u{1b}"))).start();
    let id = host.submit("talker", Value::Null);
    let shown = host.says(&["logs", &id, "--follow"]).ended_with(0).text();
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("INFO") && shown.contains("first \u{fffd}[2J") && shown.contains("second"), "{shown:?}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let lines = host.says(&["logs", &id, "--json"]).ended_with(0).text();
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("NDJSON");
    assert_eq!(first["attempt"], 1);
}

#[test]
fn a_log_that_is_followed_says_why_nothing_comes() {
    let host = host();
    host.says(&["pause", "good"]).ended_with(0);
    let id = host.submit("good", Value::Null);
    let [shown, as_json] =
        [vec![], vec!["--json"]].map(|more| host.types(&[&["logs", &id, "--follow"], &more[..]].concat()));
    shown.says_in_passing("`dropforge resume good`");
    as_json.says_in_passing(r#""note":"not_running""#);
    host.says(&["resume", "good"]).ended_with(0);
    let said = shown.ended().ended_with(0);
    assert!(said.output.is_empty() && said.errors.matches("paused").count() == 1, "once, and beside the log: {said:?}");
    as_json.ended().ended_with(0);
}

#[test]
fn completions_are_made_for_each_shell() {
    let host = host();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(host.says(&["completions", shell]).ended_with(0).text().contains("dropforge"), "{shell}");
    }
}

#[test]
fn every_command_that_ends_can_say_json() {
    let setup = Host::prepare();
    let help = |words: &[&str]| say(&[words, &["--help"]].concat(), "", b"", setup.folder()).ended_with(0).text();
    let names = |help: &str| -> Vec<String> {
        let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).map(str::to_owned).collect()
    };
    let all = names(&help(&[]));
    assert!(all.len() > 20, "{all:?}");
    // A host goes on, the other two are for shells and for people.
    for name in all.iter().filter(|name| !matches!(name.as_str(), "serve" | "completions" | "help")) {
        let about = help(&[name]);
        let below: Vec<String> = names(&about).into_iter().filter(|below| below != "help").collect();
        assert!(about.contains("--json") || !below.is_empty(), "{name}: {about}");
        for below in below {
            assert!(help(&[name, &below]).contains("--json"), "{name} {below}");
        }
    }
    let said = say(&["token", "new", "--kind", "Bad", "--json"], "", b"", setup.folder()).ended_with(2);
    let error: Value = serde_json::from_str(&said.errors).expect("also of a command below another");
    assert!(error["detail"].as_str().is_some_and(|detail| detail.contains("no kind")), "{error}");
}

#[test]
fn data_folders_are_moved_with_json_for_programs() {
    let mut host = host();
    host.still_works();
    assert!(host.terminate().success());
    let words = |words: &[&str]| say(words, "", b"", host.setup().folder()).ended_with(0);
    let said = words(&["export", "data", "all.ndjson", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said.errors).expect("JSON"), json!({"jobs": 1}));
    assert_eq!(words(&["import", "all.ndjson", "new", "--json"]).json()["jobs"], 1);
    let sizes = words(&["compact", "new", "--json"]).json();
    assert!(sizes["bytes_now"].as_u64().expect("a number") > 0, "{sizes}");
}

#[test]
fn colours_are_for_terminals() {
    let host = host();
    let id = host.says(&["submit", "good"]).ended_with(0).text();
    host.says(&["wait", id.trim_end()]).ended_with(0);
    let list = |variables: &[(&str, &Path)]| {
        let said = say_with(variables, &["list"], host.process().address(), b"", host.setup().folder());
        said.ended_with(0).text()
    };
    assert!(!list(&[]).contains('\u{1b}'));
    assert!(list(&[("CLICOLOR_FORCE", Path::new("1"))]).contains("\u{1b}[32msucceeded\u{1b}[0m"));
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
