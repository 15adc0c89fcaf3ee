//! `plugins/NAME.toml`: what an operator can say about one kind, and how what is said takes hold.

mod grants;
mod mistakes;
mod scheduling;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Host, Setup, eventually, guest};

/// A host with the plugin `good` and a plugin `kind` that has these settings.
fn host(guest: impl AsRef<[u8]>, toml: &str) -> Host {
    setup(guest, toml).start()
}

fn setup(guest: impl AsRef<[u8]>, toml: &str) -> Setup {
    Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest).with_file("kind.toml", toml)
}

fn limits(host: &Host) -> Value {
    host.get("/v1/kinds/kind").json()["limits"].clone()
}

/// Waits until the host has looked at a changed version of `kind`, and answers what it says about it.
fn reason(host: &Host, contains: &str) -> String {
    eventually(&format!("a reason with {contains:?}"), || {
        let file = host.file("kind.wasm");
        file["reason"].as_str().filter(|reason| reason.contains(contains)).map(str::to_owned)
    })
}

#[test]
fn limits_of_a_kind_are_the_operators() {
    let toml = "timeout = \"300ms\"\ntimeout_max = 2000\nmemory_bytes = 1048576\noutput_bytes = 4\nfuel_per_ms = 7\nmax_attempts = 2";
    let host = host(guest::good(), toml);
    let limits = limits(&host);
    for (name, value) in [
        ("timeout_ms", 300),
        ("timeout_ms_max", 2000),
        ("memory_bytes", 1_048_576),
        ("output_bytes", 4),
        ("fuel_per_ms", 7),
        ("max_attempts", 2),
    ] {
        assert_eq!(limits[name], value, "{name} in {limits}");
    }
    assert_eq!(host.job(&host.submit("kind", Value::Null))["max_attempts"], 2);
    assert_eq!(host.post_job(&json!({"kind": "kind", "timeout": "2s"})).status, 202);
    host.post_job(&json!({"kind": "kind", "timeout": 2001})).refused(422, "invalid_option");
}

#[test]
fn a_job_is_held_to_its_kinds_limits_and_others_to_their_own() {
    let grow = |pages: u32| {
        guest::run(&format!(r#"(drop (memory.grow (i32.const {pages}))) (return (call $done (text "") (text "ok")))"#))
    };
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("slow", guest::endless());
    let setup = setup.with_file("slow.toml", "timeout = \"200ms\"");
    // The guest of the tests begins with two pages of 64 KiB.
    let setup = setup.with_guest("inside", grow(2)).with_file("inside.toml", "memory_bytes = 262144");
    let setup = setup.with_guest("outside", grow(3)).with_file("outside.toml", "memory_bytes = 262144");
    let setup = setup.with_guest("two", guest::answering("ok")).with_file("two.toml", "output_bytes = 2");
    let setup = setup.with_guest("three", guest::answering("ok!")).with_file("three.toml", "output_bytes = 2");
    let setup = setup.with_guest("starved", guest::endless()).with_file("starved.toml", "fuel_per_ms = 10");
    let host = setup.start();
    for (kind, code) in [
        ("slow", "deadline_exceeded"),
        ("outside", "memory_exceeded"),
        ("three", "output_too_large"),
        ("starved", "out_of_fuel"),
    ] {
        assert_eq!(host.failure(&host.submit(kind, Value::Null))["code"], code, "{kind}");
    }
    for kind in ["inside", "two"] {
        assert_eq!(host.output(&host.submit(kind, Value::Null)), b"ok", "{kind}");
    }
    host.still_works();
}

#[test]
fn a_file_of_64_kib_is_read_and_a_larger_one_is_refused() {
    let padded = |bytes: usize| "timeout = \"5s\"\n#".to_owned() + &"x".repeat(bytes - 16);
    let host = host(guest::good(), &padded(65_536));
    assert_eq!(limits(&host)["timeout_ms"], 5_000);
    host.drop_file("kind.toml", padded(65_537));
    let reason = reason(&host, "kind.toml");
    assert!(reason.contains("65537") && reason.contains("65536"), "{reason}");
    assert_eq!(limits(&host)["timeout_ms"], 5_000);
}

#[test]
fn changed_settings_take_over_while_running_jobs_keep_the_old_ones() {
    let host = host(guest::sleeping(Duration::from_secs(2)), "timeout = \"30s\"");
    let old = host.submit("kind", Value::Null);
    host.wait_for(&old, "running");
    host.drop_file("kind.toml", "timeout = \"100ms\"");
    eventually("the new settings serve", || (limits(&host)["timeout_ms"] == 100).then_some(()));
    let new = host.submit("kind", Value::Null);
    assert_eq!(host.failure(&new)["code"], "deadline_exceeded");
    assert_eq!(host.output(&old), b"ok");
    std::fs::remove_file(host.setup().plugins().join("kind.toml")).expect("the file is there");
    eventually("the defaults serve", || (limits(&host)["timeout_ms"] == 60_000).then_some(()));
}

/// Promise 5, for settings: a broken file never interrupts, across restarts too.
#[test]
fn broken_settings_leave_the_old_version_serving_after_a_restart() {
    let mut host = host(guest::answering("one"), "timeout = \"7s\"");
    let answer = |host: &Host| host.output(&host.submit("kind", Value::Null));
    host.drop_file("kind.toml", "timeout = \"never\"");
    reason(&host, "never");
    assert_eq!((answer(&host), limits(&host)["timeout_ms"].as_u64()), (b"one".to_vec(), Some(7_000)));
    host.kill_and_restart();
    assert_eq!(host.file("kind.wasm")["state"], "rejected");
    assert_eq!((answer(&host), limits(&host)["timeout_ms"].as_u64()), (b"one".to_vec(), Some(7_000)));
    // A broken program keeps its good settings as well, and never runs with those beside it.
    host.drop_file("kind.toml", "timeout = \"9s\"");
    eventually("the mended settings serve", || (limits(&host)["timeout_ms"] == 9_000).then_some(()));
    host.drop_file("kind.wasm", "nonsense");
    reason(&host, "WebAssembly");
    host.drop_file("kind.toml", "timeout = \"11s\"");
    host.kill_and_restart();
    assert_eq!((answer(&host), limits(&host)["timeout_ms"].as_u64()), (b"one".to_vec(), Some(9_000)));
}

#[test]
fn settings_are_for_the_file_of_the_same_name_only() {
    let setup = setup(guest::good(), "timeout = \"7s\"")
        .with_file("other.toml", "nonsense")
        .with_file("good.toml.bak", "nonsense");
    let host = setup.with_file(".kind.toml", "nonsense").start();
    assert_eq!(limits(&host)["timeout_ms"], 7_000);
    assert_eq!(host.get("/v1/kinds/good").json()["limits"]["timeout_ms"], 60_000);
    let files = host.get("/v1/plugins").json();
    assert_eq!(files["plugins"].as_array().map(Vec::len), Some(2), "{files}");
    host.still_works();
}
