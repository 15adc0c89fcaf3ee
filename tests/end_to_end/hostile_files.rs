//! Plugins that attack with what they leave: results, artifacts, and the file in the plugin folder itself.

use serde_json::{Value, json};

use crate::support::guest::Guest;
use crate::support::{Host, guest};

const OUTPUT_BYTES: u32 = 100_000;

fn host_under(attack: impl AsRef<[u8]>) -> Host {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("attack", attack);
    setup.set("output_bytes", OUTPUT_BYTES).set("timeout", "10s").start()
}

/// A body of `run` that writes an artifact and returns a result of these sizes.
fn writing(artifact: u32, result: u32) -> String {
    format!(
        r#"(drop (memory.grow (i32.const 16)))
           (drop (call $artifact (text "a") (i32.const 8192) (i32.const {artifact})))
           (return (call $done (text "text/plain") (i32.const 8192) (i32.const {result})))"#
    )
}

#[track_caller]
fn is_too_large(host: &Host) {
    let id = host.submit("attack", Value::Null);
    let job = host.wait_for(&id, "failed");
    assert_eq!(job["failure"]["code"], "output_too_large", "{job}");
    assert_eq!((&job["usage"][0]["bound"], &job["attempts"]), (&json!("output"), &json!(1)), "{job}");
    assert_eq!(host.artifacts(&id), Vec::<Value>::new());
    leaves_nothing(host);
    host.still_works();
}

/// Nothing of an attempt that failed stays on the disk.
fn leaves_nothing(host: &Host) {
    for folder in ["tmp", "blobs"] {
        let left: Vec<_> = std::fs::read_dir(host.setup().data().join(folder)).expect("readable").collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}

#[test]
fn result_and_artifacts_together_have_one_limit() {
    for (artifact, result) in [(0, OUTPUT_BYTES), (OUTPUT_BYTES, 0), (1, OUTPUT_BYTES - 1), (70_000, 30_000)] {
        let host = host_under(guest::run(&writing(artifact, result)));
        let id = host.submit("attack", Value::Null);
        assert_eq!(host.output(&id).len(), result as usize);
        assert_eq!(host.artifacts(&id)[0]["size"], artifact);
    }
    for (artifact, result) in [(0, OUTPUT_BYTES + 1), (OUTPUT_BYTES + 1, 0), (1, OUTPUT_BYTES), (70_000, 30_001)] {
        is_too_large(&host_under(guest::run(&writing(artifact, result))));
    }
}

#[test]
fn a_flood_of_one_artifact_is_too_large() {
    is_too_large(&host_under(guest::run(
        r#"(call $open_artifact (text "flood") (text "text/plain") (i32.const 832))
           (loop $more (call $write (i32.load (i32.const 836)) (i32.const 0) (i32.const 4096) (i32.const 848)) (br $more))"#,
    )));
}

/// A plugin that writes artifacts of its own names until it is refused or has this many.
fn writing_many(count: u32, bytes_each: u32) -> Vec<u8> {
    let run = format!(
        r#"(loop $more
             (call $spell (local.get $i))
             (if (call $artifact (i32.const 900) (i32.const 4) (i32.const 8192) (i32.const {bytes_each}))
               (then (return (call $done (text "text/plain") (text "refused")))))
             (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
           (return (call $done (text "text/plain") (text "all")))"#
    );
    // Four letters from a to p, one for each hexadecimal digit.
    let spell = "(func $spell (param $i i32)
        (i32.store (i32.const 900) (i32.add (i32.const 0x61616161) (i32.or
          (i32.or (i32.and (local.get $i) (i32.const 0xf))
                  (i32.and (i32.shl (local.get $i) (i32.const 4)) (i32.const 0xf00)))
          (i32.or (i32.and (i32.shl (local.get $i) (i32.const 8)) (i32.const 0xf0000))
                  (i32.and (i32.shl (local.get $i) (i32.const 12)) (i32.const 0xf000000)))))))";
    Guest { items: spell, run: &run, ..Guest::GOOD }.component()
}

#[test]
fn a_flood_of_many_artifacts_is_too_large() {
    is_too_large(&host_under(writing_many(5_000, 1_000)));
}

#[test]
fn artifacts_have_a_largest_number() {
    let host = host_under(writing_many(2_000, 0));
    let id = host.submit("attack", Value::Null);
    assert_eq!(host.output(&id), b"all");
    assert_eq!(host.artifacts(&id).len(), 2_000);

    let host = host_under(writing_many(20_000, 0));
    let id = host.submit("attack", Value::Null);
    assert_eq!(host.output(&id), b"refused");
    assert_eq!(host.artifacts(&id).len(), 10_000);
    host.still_works();
}

#[test]
fn one_huge_result_is_too_large() {
    // 70 MiB in one call, more than the host takes whatever the output limit is.
    let attack = guest::run(
        r#"(drop (memory.grow (i32.const 1200)))
           (return (call $done (text "text/plain") (i32.const 0) (i32.const 73400320)))"#,
    );
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("attack", attack);
    is_too_large(&setup.set("output_bytes", 1 << 30).start());
}

#[test]
fn artifact_names_cannot_leave_their_folder() {
    let refused = ["../x", "..", ".hidden", "a/b", "/etc/passwd", "a\\b", "a\nb", ""];
    let attempts: String = refused
        .iter()
        .map(|name| format!(r#"(local.set $i (i32.add (local.get $i) (call $artifact (text "{name}") (text "x"))))"#))
        .collect();
    // Digits up to nine suffice to count them.
    let attack = guest::run(&format!(
        r#"{attempts} (drop (call $artifact (text "fine") (text "x"))) (i32.store8 (i32.const 900) (i32.add (local.get $i) (i32.const 48)))
           (return (call $done (text "text/plain") (i32.const 900) (i32.const 1)))"#
    ));
    let host = host_under(attack);
    let id = host.submit("attack", Value::Null);
    assert_eq!(host.output(&id), refused.len().to_string().as_bytes());
    let names: Vec<Value> = host.artifacts(&id).iter().map(|artifact| artifact["name"].clone()).collect();
    assert_eq!(names, ["fine"]);
    assert!(!host.setup().data().join("x").exists() && !host.setup().data().join("tmp/x").exists());
    host.still_works();
}

#[test]
fn an_artifact_name_is_taken_once() {
    let attack = guest::run(
        r#"(drop (call $artifact (text "a") (text "first")))
           (if (i32.eqz (call $artifact (text "a") (text "second"))) (then (unreachable)))
           (return (call $done (text "text/plain") (text "ok")))"#,
    );
    let host = host_under(attack);
    let id = host.submit("attack", Value::Null);
    assert_eq!(host.output(&id), b"ok");
    assert_eq!(host.get(&format!("/v1/jobs/{id}/artifacts/a")).text(), "first");
}

#[test]
fn an_attempt_that_fails_leaves_no_artifacts() {
    for end in [r#"(return (call $fail (i32.const 1) (text "no")))"#, "(unreachable)", "(loop $forever (br $forever))"]
    {
        let write = r#"(drop (memory.grow (i32.const 16)))
            (drop (call $artifact (text "large") (i32.const 8192) (i32.const 90000)))
            (drop (call $artifact (text "small") (text "x")))"#;
        let host = host_under(guest::run(&format!("{write} {end}")));
        let id = host.submit_job(json!({"kind": "attack", "timeout": "500ms"}));
        host.wait_for(&id, "failed");
        assert_eq!(host.artifacts(&id), Vec::<Value>::new());
        host.get(&format!("/v1/jobs/{id}/artifacts/small")).refused(404, "unknown_artifact");
        leaves_nothing(&host);
        host.still_works();
    }
}

/// Drops a file beside a good one and expects it to be rejected with a reason that has all of these words; where a
/// hint has a `|`, one of its sides.
#[track_caller]
fn rejected(bytes: impl AsRef<[u8]>, hints: &[&str]) {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("attack", bytes).start();
    let file = host.file("attack.wasm");
    assert_eq!(file["state"], "rejected", "{file}");
    let reason = file["reason"].as_str().expect("a rejected file has a reason");
    for hint in hints {
        assert!(hint.split('|').any(|one| reason.contains(one)), "no {hint:?} in: {reason}");
    }
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
    rejected(guest::with_start("(loop $more (drop (memory.grow (i32.const 16))) (br $more))"), &["memory", "67108864"]);
    // 64 MiB of 64 KiB pages are the most, of which it begins with some.
    let grow =
        |pages: u32| guest::with_start(&format!("(drop (memory.grow (i32.sub (i32.const {pages}) (memory.size))))"));
    Host::prepare().with_guest("good", grow(1024)).start().file("good.wasm");
    rejected(grow(1025), &["memory", "67108864"]);
}

#[test]
fn an_endless_describe_is_stopped() {
    rejected(guest::with_describe("(loop $forever (br $forever))"), &["describe", "fuel|1000 ms"]);
    let sleep = "(call $block (call $subscribe_duration (i64.const 3600000000000)))";
    rejected(guest::with_describe(sleep), &["describe", "1000 ms"]);
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
    // Just within 256 KiB in all, and more than that.
    let long = |bytes: u32| {
        format!(
            "(drop (memory.grow (i32.const 16))) (i32.store (i32.const 16) (i32.const 131072))
                (memory.fill (i32.const 131072) (i32.const 120) (i32.const {bytes}))
                (i32.store (i32.const 20) (i32.const {bytes})) (return (i32.const 16))"
        )
    };
    let host = Host::prepare().with_guest("good", guest::with_describe(&long(261_000))).start();
    host.still_works();
    rejected(guest::with_describe(&long(263_000)), &["describe", "262144"]);
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
    assert!(["rejected", "serving"].iter().any(|state| host.file("flipped.wasm")["state"] == *state));
    host.still_works();
}

#[test]
fn a_component_that_needs_what_is_not_there_is_rejected_by_name() {
    rejected(guest::run("(call $treasure)"), &["imports", "nowhere:to-be/found@1.2.3"]);
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
    let file = host.file("large.wasm");
    assert_eq!(file["state"], "rejected");
    assert!(file["reason"].as_str().is_some_and(|reason| reason.contains(&size.to_string())), "{file}");
    host.still_works();
}
