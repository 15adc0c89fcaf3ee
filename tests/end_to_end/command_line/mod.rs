//! The command line as people and scripts use it: what is shown, to terminals and to programs. How jobs are submitted stands in
//! `submit`, how it ends and what it says of that in `errors`.

mod errors;
mod submit;

use std::path::Path;

use serde_json::{Value, json};

use crate::support::command::{say, say_with};
use crate::support::{Host, guest};

fn host() -> Host {
    Host::prepare().with_guest("good", guest::good()).with_guest("echo", guest::echo()).start()
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
