//! Attacks by the file itself: what it does while it is loaded, and files that are something else.

use serde_json::json;

use crate::support::guest::Guest;
use crate::support::{Host, guest};

/// Drops a file beside a good one and expects it to be rejected with a reason that has all of these words; where a
/// hint has a `|`, one of its sides.
#[track_caller]
pub(super) fn rejected(bytes: impl AsRef<[u8]>, hints: &[&str]) {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    host.measure_usual_time();
    host.drop_file("attack.wasm", bytes);
    let file = host.file("attack.wasm");
    assert_eq!(file["state"], "rejected", "{file}");
    let reason = file["reason"].as_str().expect("a rejected file has a reason");
    for hint in hints {
        assert!(hint.split('|').any(|one| reason.contains(one)), "no {hint:?} in: {reason}");
    }
    assert!(!reason.contains(|c: char| c.is_control() && c != '\n') && reason.len() < 10_000, "{reason:?}");
    host.post_job(&json!({"kind": "attack"})).refused(404, "unknown_kind");
    host.still_works();
}

/// Fault: a start function runs before any `run` or `describe`, and so before limits that are set for those.
#[test]
fn an_endless_start_function_is_stopped() {
    rejected(guest::with_start("(loop $forever (br $forever))"), &["fuel|1000 ms"]);
}

#[test]
fn a_start_function_that_traps_or_eats_memory_is_rejected() {
    rejected(guest::with_start("(unreachable)"), &["trapped"]);
    rejected(guest::with_start("(loop $more (drop (memory.grow (i32.const 16))) (br $more))"), &["memory", "50331648"]);
}

#[test]
fn an_endless_describe_is_stopped() {
    rejected(guest::with_describe("(loop $forever (br $forever))"), &["describe", "fuel|1000 ms"]);
    let sleep = "(call $block (call $subscribe_duration (i64.const 3600000000000)))";
    rejected(guest::with_describe(sleep), &["describe", "1000 ms"]);
}

#[test]
fn a_start_function_that_overflows_its_stack_is_rejected() {
    let items = "(func $deeper (call $deeper) (call $deeper)) (start $deeper)";
    rejected(Guest { items, ..Guest::GOOD }.component(), &["stack"]);
}

#[test]
fn a_describe_that_floods_is_stopped() {
    rejected(
        guest::with_describe("(loop $more (call $log (i32.const 2) (text \"flood\")) (br $more))"),
        &["describe", "1000 ms|fuel"],
    );
    let write = r#"(drop (call $artifact (text "a") (i32.const 0) (i32.const 1)))"#;
    rejected(guest::with_describe(write), &["describe", "output"]);
}

/// Fault: a list of a few bytes each, all of which name the same large text, is copied until memory is full.
#[test]
fn a_describe_that_is_small_and_endless_is_rejected() {
    let attack = "(loop $more
          (i32.store offset=65536 (local.get $i) (i32.const 0))
          (i32.store offset=65540 (local.get $i) (i32.const 60000))
          (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 64000))))
        (i32.store (i32.const 32) (i32.const 65536)) (i32.store (i32.const 36) (i32.const 8000))
        (return (i32.const 16))";
    rejected(guest::with_describe(&format!("(local $i i32) {attack}")), &["describe", "2097152"]);
}

#[test]
fn a_describe_that_lies_is_rejected() {
    rejected(guest::with_describe("(unreachable)"), &["describe", "trapped"]);
    rejected(guest::with_describe("(return (i32.const -8))"), &["describe"]);
    rejected(guest::with_describe("(i32.store (i32.const 20) (i32.const -1)) (return (i32.const 16))"), &["describe"]);
    let schema = Guest { parameters: Some("{not json"), ..Guest::GOOD };
    rejected(schema.component(), &["parameter schema", "JSON"]);
    let schema = Guest { parameters: Some(r#"{"type": "objekt"}"#), ..Guest::GOOD };
    rejected(schema.component(), &["parameter schema", "objekt"]);
    // More than 256 KiB of summary.
    let long = "(drop (memory.grow (i32.const 16))) (i32.store (i32.const 16) (i32.const 131072))
                (memory.fill (i32.const 131072) (i32.const 120) (i32.const 300000))
                (i32.store (i32.const 20) (i32.const 300000)) (return (i32.const 16))";
    rejected(guest::with_describe(long), &["describe", "262144"]);
}

#[test]
fn files_that_are_no_components_are_rejected_with_advice() {
    rejected(b"", &["empty"]);
    rejected(b"#!/bin/sh\necho hello\n", &["not a WebAssembly file"]);
    rejected(wat::parse_str("(module)").expect("valid"), &["core WebAssembly module", "wasm32-wasip2"]);
    let whole = guest::good();
    rejected(&whole[..whole.len() / 2], &["not valid"]);
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 0x55;
    // Wherever the flipped byte lands, the file may not be served as something else.
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("flipped", flipped).start();
    host.measure_usual_time();
    assert!(["rejected", "serving"].iter().any(|state| host.file("flipped.wasm")["state"] == *state));
    host.still_works();
}

#[test]
fn a_component_that_needs_what_is_not_there_is_rejected_by_name() {
    rejected(guest::run("(call $treasure)"), &["imports", "nowhere:to-be/found@1.2.3"]);
}

/// Fault: the names in a file are printed to an operator's terminal.
#[test]
fn control_characters_are_taken_out_of_what_is_said_about_a_file() {
    let module = |import: &str| {
        let import = format!(r#"(import "wasi_snapshot_preview1" "{import}" (func))"#);
        wat::parse_str(format!(r#"(module {import} (memory (export "memory") 1) (func (export "_start")))"#))
            .expect("valid")
    };
    rejected(module("\\1b[2J\\0d\\0aall is well"), &["all is well"]);
    rejected(module(&"x".repeat(90_000)), &["xxx"]);
}

#[test]
fn a_component_without_the_exports_is_rejected_by_name() {
    rejected(wat::parse_str("(component)").expect("valid"), &["describe", "run", "wit/0.1.0"]);
}

#[test]
fn a_file_above_the_size_limit_is_rejected() {
    // The good one is just inside.
    let size = guest::good().len();
    assert!(guest::echo().len() > size);
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("large", guest::echo());
    let host = setup.set("plugin_file_bytes_max", size).start();
    host.measure_usual_time();
    let file = host.file("large.wasm");
    assert_eq!(file["state"], "rejected");
    assert!(file["reason"].as_str().is_some_and(|reason| reason.contains(&size.to_string())), "{file}");
    host.still_works();
}
