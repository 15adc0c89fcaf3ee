//! What people type wrongly, and what they are told.

use serde_json::{Value, json};

use crate::support::command::{Said, say};
use crate::support::{Host, guest, program};

fn host() -> Host {
    Host::prepare().with_plugin("integrate").with_guest("echo", guest::echo()).start()
}

fn named_pipe(host: &Host, name: &str) -> std::path::PathBuf {
    let pipe = host.setup().folder().join(name);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("it is everywhere");
    assert!(made.success());
    pipe
}

#[test]
fn a_time_without_a_unit_is_not_guessed_at() {
    let host = host();
    for words in [
        &["submit", "echo", "--timeout", "5"][..],
        &["submit", "echo", "--delay", "5"],
        &["submit", "echo", "--expires-in", "5"],
        &["wait", "x", "--timeout", "5"],
        &["list", "--patience", "5"],
        &["run", "plugins/echo.wasm", "--timeout", "5"],
    ] {
        let said = host.says(words).ended_with(2);
        assert!(said.errors.contains("5s for seconds"), "{words:?}: {}", said.errors);
    }
    host.says(&["submit", "echo", "--timeout", "5s", "--delay", "1ms", "--expires-in", "1h"]).ended_with(0);
}

#[test]
fn a_dash_is_standard_input_and_a_name_is_a_file() {
    let host = host();
    std::fs::write(host.setup().folder().join("in.json"), "[3]").expect("the folder can be written");
    for words in [
        &["submit", "echo", "-", "--wait"][..],
        &["submit", "echo", "in.json", "--wait"],
        &["run", "plugins/echo.wasm", "-"],
    ] {
        assert_eq!(host.says_reading(words, b"[3]").ended_with(0).text(), "[3]", "{words:?}");
    }
    let said = host.says(&["submit", "echo", "absent.json"]).ended_with(6);
    assert!(said.errors.contains("absent.json"), "{}", said.errors);
    host.says(&["submit", "echo", "-", "--file", "in.json"]).ended_with(2);
    host.says(&["submit", "echo", "--type", "text/plain"]).ended_with(2);
}

#[test]
fn an_input_that_is_missing_is_called_missing() {
    let host = host();
    let said = host.says(&["submit", "integrate"]).ended_with(7);
    assert!(
        said.errors.contains("there is no input") && said.errors.contains("`dropforge kinds integrate`"),
        "{said:?}"
    );
    for said in [host.says(&["submit", "echo", "-i", "-"]), host.says(&["submit", "echo", "-i", ""])] {
        let Said { errors, .. } = said.ended_with(2);
        assert!(errors.contains("there is no input") && !errors.contains("EOF"), "{errors}");
    }
}

#[test]
fn a_plugin_file_that_is_not_there_is_named() {
    let host = host();
    for words in [["check", "nope.wasm"], ["run", "nope.wasm"]] {
        let said = host.says(&words).ended_with(6);
        assert!(said.errors.contains("nope.wasm") && said.errors.contains("plugins/NAME.wasm"), "{}", said.errors);
        assert!(!said.errors.contains("entity"), "{}", said.errors);
    }
    for words in [["check", "plugins"], ["run", "plugins"]] {
        let said = host.says(&words).ended_with(1);
        assert!(said.errors.contains("is a folder"), "{}", said.errors);
    }
}

#[test]
fn an_address_without_a_scheme_is_this_machine_or_an_error() {
    let host = host();
    let address = host.process().address().trim_start_matches("http://");
    let port = address.rsplit(':').next().expect("a port");
    let at = |url: &str| say(&["list"], url, b"", host.setup().folder());
    at(address).ended_with(0);
    at(&format!("localhost:{port}")).ended_with(0);
    for url in ["192.0.2.1:8080", "example.org", "ftp://127.0.0.1", ""] {
        let said = at(url).ended_with(2);
        assert!(said.errors.contains("http://127.0.0.1:8080"), "{url}: {}", said.errors);
    }
    let said = at(&format!("https://{address}")).ended_with(10);
    assert!(
        said.errors.contains("speaks http") && said.errors.contains(&format!("try: --url http://{address}")),
        "{said:?}"
    );
}

#[test]
fn states_and_kinds_that_are_misspelt_are_guessed() {
    let host = host();
    let said = host.says(&["list", "--state", "runing"]).ended_with(2);
    assert!(said.errors.contains("'running'"), "{}", said.errors);
    let said = host.says(&["list", "--kind", "ecko"]).ended_with(0);
    assert!(said.errors.contains("no kind ecko") && said.errors.contains("did you mean echo?"), "{said:?}");
    let said = host.says(&["list", "--kind", "ecko", "--json"]).ended_with(0);
    let note: Value = serde_json::from_str(&said.errors).expect("JSON");
    assert_eq!((&note["note"], &said.json()["jobs"]), (&json!("unknown_kind"), &json!([])));
    let said = host.says(&["list", "--kind", "echo"]).ended_with(0);
    assert!(said.output.is_empty() && !said.errors.contains("no kind"), "a kind without jobs: {said:?}");
}

#[test]
fn a_mistake_is_told_once_and_in_lines() {
    let host = host();
    let input = r#"{"f": "x", "a": 0, "b": 2, "c": 0, "d": 2, "size": "many"}"#;
    let said = host.says(&["submit", "integrate", "-i", input]).ended_with(7);
    assert_eq!(said.errors.matches("is not of type").count(), 1, "{}", said.errors);
    let folder = host.setup().folder();
    std::fs::write(folder.join("host.toml"), "workers = = 2").expect("the folder can be written");
    let said = host.says(&["check", "plugins/echo.wasm", "--config", "host.toml"]).ended_with(1);
    assert!(said.errors.contains("host.toml: line 1 is not TOML: "), "{}", said.errors);
    assert!(!said.errors.contains("\\n"), "{}", said.errors);
}

#[test]
fn the_settings_file_that_was_named_is_the_one_that_is_blamed() {
    let setup =
        Host::prepare().with_guest("args", program::component(program::ARGUMENTS)).with_file("s2.toml", "tiemout = 1");
    let words = ["run", "plugins/args.wasm", "--settings", "plugins/s2.toml"];
    let said = say(&words, "", b"", setup.folder()).ended_with(1);
    assert!(said.errors.contains("plugins/s2.toml: ") && !said.errors.contains("args.toml"), "{}", said.errors);
}

#[test]
fn status_and_explain_count_attempts_alike() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(std::time::Duration::from_secs(600))).start();
    let id = host.submit("slow", Value::Null);
    host.wait_for(&id, "running");
    let status = host.says(&["status", &id]).ended_with(0).text();
    let explained = host.says(&["explain", &id]).ended_with(0).text();
    assert!(status.contains("1 of 3") && explained.contains("1 of 3"), "{status}{explained}");
    host.cancel(&id);
    host.wait_for(&id, "cancelled");
    assert_eq!(host.says(&["delete", &id, "--json"]).ended_with(0).json(), json!({"id": id, "deleted": true}));
}

#[test]
fn a_device_is_written_to_and_not_replaced() {
    let host = host();
    let pipe = named_pipe(&host, "pipe");
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe)
    });
    host.says(&["submit", "echo", "-i", "[4]", "--output", "pipe"]).ended_with(0);
    assert_eq!(reader.join().expect("it does not panic").expect("it can be read"), b"[4]");
    assert!(!std::fs::metadata(&pipe).expect("it is there").is_file());
}

/// Fault: a pipe is read once to see whether it is JSON, and sent empty.
#[test]
fn what_comes_through_a_pipe_is_sent_whole_and_not_looked_for_again() {
    let host = host();
    let pipe = named_pipe(&host, "input");
    for (kind, input, code) in [("echo", "[4]", 0), ("integrate", "[4", 7)] {
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, input)
        });
        let words = ["submit", kind, "--file", "input", "--type", "application/json", "--wait"];
        let said = host.says(&words).ended_with(code);
        assert_eq!(said.output, if code == 0 { b"[4]".as_slice() } else { b"" });
        writer.join().expect("it does not panic").expect("it was read");
    }
}

/// Fault: whoever reads what was done goes away, and some of the work is left, without a word.
#[test]
fn work_goes_on_when_nobody_hears_of_it_any_more() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(std::time::Duration::from_secs(600))).start();
    let ids = [(); 3].map(|()| host.submit("slow", Value::Null));
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dropforge"));
    command.arg("cancel").args(&ids).env("DROPFORGE_URL", host.process().address()).stdout(writer);
    assert_eq!(command.status().expect("it starts").code(), Some(0));
    ids.iter().for_each(|id| drop(host.wait_for(id, "cancelled")));
}
