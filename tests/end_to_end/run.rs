//! `dropforge run`: one job of a plugin file, without a host.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::command::{Said, say, say_with};
use crate::support::{Host, Setup, guest, program};

/// Types `dropforge run` in the folder above the plugin folder. No host is there that could help.
fn run_reading(setup: &Setup, words: &[&str], input: &[u8]) -> Said {
    say(&[&["run"], words].concat(), "http://127.0.0.1:1", input, setup.folder())
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
    run(&setup, &["plugins/echo.wasm", "--input", "{"]).ended_with(2);
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

/// Fault: what would allow a denied call is said of a plugin folder, and the file that counts is another.
#[test]
fn a_denial_names_the_file_of_settings_that_counts() {
    let setup = Host::prepare().with_guest("kind", guest::probe()).with_file("other.toml", "");
    let denied = b"http GET http 127.0.0.1:9 /";
    let said = run_reading(&setup, &["plugins/kind.wasm", "-f", "-"], denied).ended_with(0);
    assert!(said.errors.contains("to allow it, add to plugins/kind.toml:"), "{}", said.errors);
    let words = ["plugins/kind.wasm", "-f", "-", "--settings", "./plugins/other.toml"];
    let said = run_reading(&setup, &words, denied).ended_with(0);
    assert!(said.errors.contains("to allow it, add to ./plugins/other.toml:"), "{}", said.errors);
    std::fs::rename(setup.plugins().join("kind.wasm"), setup.folder().join("kind.wasm")).expect("it can be moved");
    let said = run_reading(&setup, &["kind.wasm", "-f", "-"], denied).ended_with(0);
    assert!(said.errors.contains("to allow it, add to kind.toml:"), "{}", said.errors);
}

#[test]
fn a_name_that_could_be_no_kind_does_not_matter() {
    let setup = Host::prepare().with_guest("Word_Count", program::component(program::ARGUMENTS));
    assert_eq!(run(&setup, &["plugins/Word_Count.wasm"]).ended_with(0).text(), "word-count\0");
}

#[test]
fn compiled_code_is_kept_of_the_files_that_were_tried_last() {
    let name = |number: usize| format!("plugins/guest-{number}.wasm");
    let guests = (0..18).fold(Host::prepare(), |setup, number| {
        setup.with_guest(&format!("guest-{number}"), guest::answering(&number.to_string()))
    });
    let kept = || {
        let entries = std::fs::read_dir(guests.folder().join("caches/dropforge/compiled")).expect("a cache");
        entries.map(|entry| entry.expect("an entry").file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    run(&guests, &[&name(0)]).ended_with(0);
    let first = kept();
    run(&guests, &[&name(0)]).ended_with(0);
    assert_eq!((first.len(), &first), (1, &kept()));
    assert!(guests.check("guest-0.wasm", &[]).status.success());
    assert_eq!(first, kept(), "a check takes what a run has compiled");
    assert!(guests.check("guest-1.wasm", &[]).status.success());
    let both = kept();
    run(&guests, &[&name(1)]).ended_with(0);
    assert_eq!((both.len(), &both), (2, &kept()), "and a run what a check has");
    for number in 1..16 {
        run(&guests, &[&name(number)]).ended_with(0);
    }
    let full = kept();
    assert!(full.len() == 16 && full.is_superset(&first), "{full:?}");
    // Used again, so that it is not the oldest any more.
    run(&guests, &[&name(0)]).ended_with(0);
    assert_eq!(kept(), full);
    for number in 16..18 {
        run(&guests, &[&name(number)]).ended_with(0);
    }
    let after = kept();
    assert!(after.len() == 16 && after.is_superset(&first), "{after:?}");
    assert_eq!(after.intersection(&full).count(), 14, "the two that were not used for the longest time are gone");
}

/// Fault: a mistake in the settings was told as one of the plugin, and twice.
#[test]
fn settings_that_are_wrong_are_blamed_themselves_and_once() {
    let setup = Host::prepare()
        .with_guest("good", guest::good())
        .with_file("wrong.toml", "timeout = \"soon\"")
        .with_file("text.wasm", "no program");
    let latin = setup.folder().join("latin.toml");
    std::fs::write(&latin, b"# caf\xe9\n").expect("the folder can be written");
    for (settings, mistake) in [("plugins/wrong.toml", "timeout: found"), ("latin.toml", "not UTF-8")] {
        let said = run(&setup, &["plugins/good.wasm", "--settings", settings]).ended_with(1);
        let told = format!("error: the settings cannot be used: {settings}: ");
        assert!(said.errors.starts_with(&told) && said.errors.contains(mistake), "{}", said.errors);
        assert_eq!((said.errors.lines().count(), said.errors.contains("good.wasm")), (1, false), "{}", said.errors);
        let said = run(&setup, &["plugins/good.wasm", "--settings", settings, "--json"]).ended_with(1);
        assert!(said.errors.contains(mistake) && !said.errors.contains("good.wasm"), "{}", said.errors);
    }
    let said = run(&setup, &["plugins/good.wasm", "--settings", "absent.toml"]).ended_with(6);
    assert!(said.errors.contains("cannot read the settings absent.toml"), "{}", said.errors);
    let setup = setup.with_file("good.toml", "job_arks = true");
    let said = run(&setup, &["plugins/good.wasm"]).ended_with(1);
    assert!(said.errors.contains("settings") && said.errors.matches("job_arks").count() == 1, "{}", said.errors);
    let checked = setup.check("good.wasm", &[]);
    let text = checked.stdout.join("\n");
    assert_eq!((checked.status.code(), text.matches("job_arks").count()), (Some(1), 1), "{text}");
    assert!(text.contains("good.wasm: cannot be used with these settings") && checked.stderr.is_empty(), "{checked:?}");
    let verdict = |file: &str| -> serde_json::Value {
        serde_json::from_str(&setup.check(file, &["--json"]).stdout.join("\n")).expect("JSON")
    };
    assert_eq!(
        (&verdict("good.wasm")["blames"], &verdict("text.wasm")["blames"]),
        (&json!("settings"), &json!("file"))
    );
    let said = run(&setup, &["plugins/text.wasm"]).ended_with(1);
    assert_eq!(said.errors.matches("cannot be used").count(), 1, "{}", said.errors);
}

#[test]
fn times_that_may_not_be_meant_are_asked_about() {
    let setup = Host::prepare()
        .with_guest("good", guest::good())
        .with_file("good.toml", "timeout = 60\nkeep = 168\nretry_pause = 100\nretry_pause_max = \"50ms\"");
    let said = run(&setup, &["plugins/good.wasm"]).ended_with(1);
    assert!(said.errors.contains("retry_pause: found 100 ms"), "what is wrong is no question: {}", said.errors);
    let setup = setup.with_file("good.toml", "timeout = \"60\"\nkeep = 168\nretry_pause = 100\ntimeout_max = \"80ms\"");
    let said = run(&setup, &["plugins/good.wasm"]).ended_with(0);
    for words in ["good.toml: timeout: 60 means 60 milliseconds", "\"60s\" for seconds", "keep: 168 means"] {
        assert!(said.errors.contains(words), "{words}: {}", said.errors);
    }
    assert_eq!(said.errors.matches("is this meant?").count(), 2, "not of 100 ms, nor where a unit is: {}", said.errors);
    let text = setup.check("good.wasm", &[]).stdout.join("\n");
    assert!(text.contains("timeout 60ms (it may ask for up to 80ms)"), "{text}");
    assert_eq!(text.matches("is this meant? good.toml: ").count(), 2, "{text}");
    let verdict: serde_json::Value =
        serde_json::from_str(&setup.check("good.wasm", &["--json"]).stdout.join("\n")).expect("JSON");
    assert_eq!(verdict["limits"]["timeout_ms"], 60);
    assert_eq!(verdict["doubts"].as_array().map(Vec::len), Some(2), "{verdict}");
}

/// Fault: a program that was granted no folder says that there is no such file, and nobody thinks of grants.
#[test]
fn who_fails_without_files_is_told_what_grants_them() {
    let body = r#"(call $write (i32.const 2) (text "no such file")) (call $exit (i32.const 1))"#;
    let open = r#"(drop (call $open (i32.const 3) (text "x") (i32.const 0)))"#;
    let setup = Host::prepare()
        .with_guest("reads", program::module(&format!("{open} {body}")))
        .with_guest("fails", program::module(body));
    let said = run(&setup, &["plugins/reads.wasm"]).ended_with(3);
    assert!(
        said.errors.contains("no folder is granted; [[folders]] or scratch = true in plugins/reads.toml"),
        "{}",
        said.errors
    );
    assert!(said.errors.matches("no such file").count() == 1, "once: {}", said.errors);
    let said = run(&setup, &["plugins/fails.wasm"]).ended_with(3);
    assert!(!said.errors.contains("[[folders]]"), "it cannot read files: {}", said.errors);
    let setup = setup.with_file("reads.toml", "scratch = true");
    let said = run(&setup, &["plugins/reads.wasm"]).ended_with(3);
    assert!(!said.errors.contains("[[folders]]"), "it has some: {}", said.errors);
}
