//! `dropforge run`: one job of a plugin file, without a host.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::command::{Said, say_with};
use crate::support::{Host, Setup, guest, program};

/// Types `dropforge run` in the folder above the plugin folder. No host is there that could help.
fn run_reading(setup: &Setup, words: &[&str], input: &[u8]) -> Said {
    let caches = setup.folder().join("caches");
    let variables: [(&str, &Path); 1] = [("XDG_CACHE_HOME", &caches)];
    say_with(&variables, &[&["run"], words].concat(), "http://127.0.0.1:1", input, setup.folder())
}

fn run(setup: &Setup, words: &[&str]) -> Said {
    run_reading(setup, words, b"")
}

#[test]
fn a_job_runs_without_a_host() {
    let setup = Host::prepare().with_guest("echo", guest::echo());
    let said = run(&setup, &["plugins/echo.wasm", "--input", r#"{"a": 1}"#]).ended_with(0);
    assert_eq!(said.text(), r#"{"a": 1}"#, "exactly the result, and nothing else, on standard output");
    for word in ["succeeded", "attempt 1", "8 B in, 8 B out"] {
        assert!(said.errors.contains(word), "{word}: {}", said.errors);
    }
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let said = run_reading(&setup, &["plugins/echo.wasm", "--file", "-"], &bytes).ended_with(0);
    assert!(said.output == bytes, "a pipe carries it both ways");

    let words = ["plugins/echo.wasm", "-f", "plugins/echo.wasm", "--type", "image/x-test", "-o", "out", "--json"];
    let job = run(&setup, &words).ended_with(0).json();
    assert_eq!((&job["kind"], &job["state"], &job["failure"]), (&json!("echo"), &json!("succeeded"), &json!(null)));
    assert_eq!(job["result"]["media_type"], "image/x-test");
    assert_eq!(job["usage"][0]["bytes_in"], job["result"]["size"]);
    assert_eq!(job["usage"][0]["attempt"], 1);
    assert!(std::fs::read(setup.folder().join("out")).expect("it was saved") == guest::echo());
}

#[test]
fn its_files_and_its_log_come_out() {
    let setup = Host::prepare().with_plugin("pdf-to-png").with_plugin("integrate");
    let pdf = format!("{}/assets/demo.pdf", env!("CARGO_MANIFEST_DIR"));
    let words = ["plugins/pdf-to-png.wasm", "-f", &pdf, "-p", "dpi=20", "-p", "last_page=2"];
    let said = run(&setup, &words).ended_with(0);
    assert!(said.errors.contains("2 files were made: page-001.png"), "{}", said.errors);
    let said = run(&setup, &[&words[..], &["--save-artifacts", "pages/of", "--json"]].concat()).ended_with(0);
    assert_eq!(said.json()["artifacts"][1]["name"], "page-002.png");
    let page = std::fs::read(setup.folder().join("pages/of/page-002.png")).expect("it was saved");
    assert_eq!(&page[..4], b"\x89PNG");
    let setup =
        setup.with_guest("log", program::component(r#"(call $write (i32.const 2) (text "a line for the log"))"#));
    let said = run(&setup, &["plugins/log.wasm"]).ended_with(0);
    assert!(said.errors.lines().any(|line| line.trim() == "a line for the log"), "{}", said.errors);
}

#[test]
fn the_exit_code_says_how_the_job_ended() {
    let setup = Host::prepare()
        .with_guest("bad", guest::run("(unreachable)"))
        .with_guest("slow", guest::sleeping(Duration::from_secs(600)))
        .with_guest("echo", guest::echo())
        .with_plugin("integrate")
        .with_file("text.wasm", "no program");
    let said = run(&setup, &["plugins/bad.wasm"]).ended_with(3);
    assert!(said.output.is_empty() && said.errors.contains("trap"), "{said:?}");
    let said = run(&setup, &["plugins/slow.wasm", "--timeout", "50ms", "--json"]).ended_with(3);
    assert_eq!(said.json()["failure"]["code"], "deadline_exceeded");
    run(&setup, &["plugins/absent.wasm"]).ended_with(6);
    run(&setup, &["plugins/echo.wasm", "--file", "absent"]).ended_with(6);
    let said = run(&setup, &["plugins/text.wasm"]).ended_with(1);
    assert!(said.errors.contains("not a WebAssembly file"), "the doctor says why: {}", said.errors);
    // As a host would refuse to take it.
    let said = run(&setup, &["plugins/integrate.wasm", "--input", "{}"]).ended_with(7);
    assert!(said.errors.contains("\"size\" is a required property"), "{}", said.errors);
    let said = run(&setup, &["plugins/integrate.wasm", "--input", "{}", "--json"]).ended_with(7);
    assert!(said.errors.contains("\"code\":\"invalid_input\""), "{}", said.errors);
    run(&setup, &["plugins/echo.wasm", "--timeout", "2h"]).ended_with(7);
    run(&setup, &["plugins/echo.wasm", "--input", "{"]).ended_with(1);
    run(&setup, &[]).ended_with(2);
}

#[test]
fn settings_and_limits_are_those_of_a_host() {
    let arguments = program::component(program::ARGUMENTS);
    let setup = Host::prepare()
        .with_guest("args", &arguments)
        .with_file("args.toml", "args = [\"-a\"]")
        .with_file("other.toml", "job_args = true");
    assert_eq!(run(&setup, &["plugins/args.wasm"]).ended_with(0).text(), "args\0-a\0", "the file beside it counts");
    run(&setup, &["plugins/args.wasm", "--arg", "x"]).ended_with(7);
    let words = ["plugins/args.wasm", "--settings", "plugins/other.toml", "--arg", "-x"];
    assert_eq!(run(&setup, &words).ended_with(0).text(), "args\0-x\0", "unless another is named");
    let setup = setup.with_file("wrong.toml", "job_arks = true");
    let said = run(&setup, &["plugins/args.wasm", "--settings", "plugins/wrong.toml"]).ended_with(1);
    assert!(said.errors.contains("job_arks"), "{}", said.errors);
    // It asks for 4 MiB beyond what it begins with.
    let grow = "(drop (memory.grow (i32.const 64)))";
    for (bytes, code) in [(8 << 20, 0), (4 << 20, 3)] {
        let setup = Host::prepare()
            .with_guest("grow", program::component(grow))
            .with_file("grow.toml", format!("memory_bytes = {bytes}"));
        run(&setup, &["plugins/grow.wasm"]).ended_with(code);
    }
}

#[test]
fn variables_of_the_other_commands_are_no_settings_of_a_host() {
    let setup = Host::prepare().with_guest("good", guest::good());
    let variables = [("DROPFORGE_PATIENCE", Path::new("5s")), ("DROPFORGE_TOKEN", Path::new("x"))];
    say_with(&variables, &["run", "plugins/good.wasm"], "http://127.0.0.1:1", b"", setup.folder()).ended_with(0);
}

#[test]
fn a_name_that_could_be_no_kind_does_not_matter() {
    let setup = Host::prepare().with_guest("Word_Count", program::component(program::ARGUMENTS));
    assert_eq!(run(&setup, &["plugins/Word_Count.wasm"]).ended_with(0).text(), "word-count\0");
}

#[test]
fn compiled_code_is_kept_of_the_last_file_alone() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("echo", guest::echo());
    let kept = || {
        let entries = std::fs::read_dir(setup.folder().join("caches/dropforge/compiled")).expect("a cache");
        entries.map(|entry| entry.expect("an entry").file_name()).collect::<Vec<_>>()
    };
    run(&setup, &["plugins/good.wasm"]).ended_with(0);
    let first = kept();
    run(&setup, &["plugins/good.wasm"]).ended_with(0);
    assert_eq!((first.len(), &first), (1, &kept()));
    run(&setup, &["plugins/echo.wasm"]).ended_with(0);
    assert_eq!(kept().len(), 1);
    assert_ne!(first, kept());
}
