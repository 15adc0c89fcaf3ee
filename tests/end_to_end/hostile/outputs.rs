//! Floods of output: results and artifacts that are too large, or too many.

use serde_json::{Value, json};

use super::Attack;
use crate::support::guest::Guest;
use crate::support::{Host, guest};

const OUTPUT_BYTES: u32 = 100_000;

fn attack(guest: impl AsRef<[u8]>) -> Attack {
    Attack::by(guest).with("output_bytes", OUTPUT_BYTES)
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
fn is_too_large(attack: Attack) {
    let (host, job) = attack.fails("output_too_large", "output");
    assert_eq!(host.artifacts(job["id"].as_str().expect("an id")), Vec::<Value>::new());
    leaves_nothing(&host);
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
        let host = attack(guest::run(&writing(artifact, result))).host();
        let id = host.submit("attack", Value::Null);
        assert_eq!(host.output(&id).len(), result as usize);
        assert_eq!(host.artifacts(&id)[0]["size"], artifact);
    }
    for (artifact, result) in [(0, OUTPUT_BYTES + 1), (OUTPUT_BYTES + 1, 0), (1, OUTPUT_BYTES), (70_000, 30_001)] {
        is_too_large(attack(guest::run(&writing(artifact, result))));
    }
}

#[test]
fn a_flood_of_one_artifact_is_too_large() {
    is_too_large(attack(guest::run(
        r#"(call $open_artifact (text "flood") (text "text/plain") (i32.const 832))
           (loop $more (call $write (i32.load (i32.const 836)) (i32.const 0) (i32.const 4096) (i32.const 848)) (br $more))"#,
    )));
}

/// Fault: zeros cost the guest nothing, and the host a disk.
#[test]
fn a_flood_of_zeros_is_too_large() {
    is_too_large(attack(guest::run(
        r#"(call $open_artifact (text "flood") (text "text/plain") (i32.const 832))
           (loop $more (call $write_zeroes (i32.load (i32.const 836)) (i64.const 4096) (i32.const 848)) (br $more))"#,
    )));
}

#[test]
fn zeros_without_number_in_one_call_are_stopped() {
    for count in ["1048577", "1000000000000", "-1"] {
        attack(guest::run(&format!(
            r#"(call $open_artifact (text "flood") (text "text/plain") (i32.const 832))
               (call $write_zeroes (i32.load (i32.const 836)) (i64.const {count}) (i32.const 848))"#,
        )))
        .fails("trap", ());
    }
}

/// Fault: what the host copies from stream to stream passes by the guest, and by its limits.
#[test]
fn an_input_that_is_copied_without_end_is_too_large() {
    is_too_large(attack(guest::run(
        r#"(call $open_artifact (text "flood") (text "text/plain") (i32.const 832))
           (loop $more
             (call $input_stream (local.get $input) (i32.const 864))
             (call $blocking_splice (i32.load (i32.const 836)) (i32.load (i32.const 872)) (i64.const -1) (i32.const 848))
             (call $drop_input_stream (i32.load (i32.const 872)))
             (br $more))"#,
    ))
    .input(10_000));
}

/// Four letters from a to p at 900, one for each hexadecimal digit of a number.
const SPELL: &str = "(func $spell (param $i i32)
        (i32.store (i32.const 900) (i32.add (i32.const 0x61616161) (i32.or
          (i32.or (i32.and (local.get $i) (i32.const 0xf))
                  (i32.and (i32.shl (local.get $i) (i32.const 4)) (i32.const 0xf00)))
          (i32.or (i32.and (i32.shl (local.get $i) (i32.const 8)) (i32.const 0xf0000))
                  (i32.and (i32.shl (local.get $i) (i32.const 12)) (i32.const 0xf000000)))))))";

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
    Guest { items: SPELL, run: &run, ..Guest::GOOD }.component()
}

#[test]
fn a_flood_of_many_artifacts_is_too_large() {
    is_too_large(attack(writing_many(5_000, 1_000)));
}

/// Files that an attempt has written to while it runs.
fn files(host: &Host) -> usize {
    std::fs::read_dir(host.setup().data().join("tmp")).expect("readable").count()
}

/// Fault: artifacts that are small enough to be held in memory are held there in any number, up to the limit of the output.
#[test]
fn small_artifacts_together_take_little_memory() {
    // 1 MiB, and one byte more; and as much as jobs may leave behind.
    for (count, bytes_each, written) in [(16, 65_536, 0), (17, 61_681, 1), (2_000, 60_000, 1_983)] {
        let write = "(if (call $artifact (i32.const 900) (i32.const 4) (i32.const 8192) (i32.const BYTES)) (then (unreachable)))"
            .replace("BYTES", &bytes_each.to_string());
        let run = format!(
            r#"(drop (memory.grow (i32.const 16)))
               (loop $more
                 (call $spell (local.get $i)) {write}
                 (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
               (call $progress (f64.const 1) (text "written"))
               (call $block (call $subscribe_duration (i64.const 1500000000)))
               (return (call $done (text "text/plain") (text "all")))"#
        );
        let attack = Attack::by(Guest { items: SPELL, run: &run, ..Guest::GOOD }.component());
        let host = attack.with("output_bytes", 256 << 20).host();
        let before = host.process().memory_bytes();
        let id = host.submit("attack", Value::Null);
        host.wait_until(&id, "has written", |job| job["progress"]["message"] == "written");
        let more = host.process().memory_bytes().saturating_sub(before);
        assert_eq!(files(&host), written, "of {count} of {bytes_each} bytes");
        assert!(more < 24 << 20, "{more} bytes of memory for {count} of {bytes_each} bytes");
        assert_eq!(host.output(&id), b"all");
        let artifacts = host.artifacts(&id);
        assert_eq!(artifacts.len(), count);
        assert!(artifacts.iter().all(|artifact| artifact["size"] == bytes_each), "{artifacts:?}");
        let last = artifacts[count - 1]["name"].as_str().expect("a name").to_owned();
        assert_eq!(host.get(&format!("/v1/jobs/{id}/artifacts/{last}")).body.len(), bytes_each);
        host.still_works();
    }
}

#[test]
fn artifacts_have_a_largest_number() {
    let (host, job) = attack(writing_many(2_000, 0)).succeeds("all");
    assert_eq!(host.artifacts(job["id"].as_str().expect("an id")).len(), 2_000);
    let (host, job) = attack(writing_many(20_000, 0)).succeeds("refused");
    assert_eq!(host.artifacts(job["id"].as_str().expect("an id")).len(), 10_000);
}

#[test]
fn one_huge_result_is_too_large() {
    // 70 MiB in one call, more than the host takes whatever the output limit is.
    let run = r#"(drop (memory.grow (i32.const 1200)))
        (return (call $done (text "text/plain") (i32.const 0) (i32.const 73400320)))"#;
    is_too_large(Attack::run(run).with("memory_bytes", 256 << 20).with("output_bytes", 1 << 30));
}

/// Fault: every large artifact keeps a file open until the job ends, so a long document cannot be drawn.
#[test]
fn a_job_may_write_more_large_artifacts_than_the_host_may_open_files() {
    let many = Guest {
        items: "(func $spell (param $i i32)
            (i32.store (i32.const 900) (i32.add (i32.const 0x61616161) (i32.or
              (i32.or (i32.and (local.get $i) (i32.const 0xf))
                      (i32.and (i32.shl (local.get $i) (i32.const 4)) (i32.const 0xf00)))
              (i32.and (i32.shl (local.get $i) (i32.const 8)) (i32.const 0xf0000))))))",
        run: r#"(drop (memory.grow (i32.const 2)))
            (loop $more (call $spell (local.get $i))
              (i32.store (i32.const 65536) (local.get $i))
              (if (call $artifact (i32.const 900) (i32.const 4) (i32.const 65536) (i32.const 70000)) (then (unreachable)))
              (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1500))))
            (return (call $done (text "text/plain") (text "ok")))"#,
        ..Guest::GOOD
    };
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("many", many.component());
    let host = host.with_open_files_max(1024).start();
    host.measure_usual_time();
    let id = host.submit("many", Value::Null);
    assert_eq!(host.output(&id), b"ok");
    assert_eq!(host.artifacts(&id).len(), 1500);
    host.still_works();
}

#[test]
fn an_attempt_that_fails_leaves_no_artifacts() {
    for (end, code, bound) in [
        (r#"(return (call $fail (i32.const 1) (text "no")))"#, "plugin_error", Value::Null),
        ("(unreachable)", "trap", Value::Null),
        ("(loop $forever (br $forever))", "deadline_exceeded", json!("deadline")),
    ] {
        let write = r#"(drop (memory.grow (i32.const 16)))
            (drop (call $artifact (text "large") (i32.const 8192) (i32.const 90000)))
            (drop (call $artifact (text "small") (text "x")))"#;
        let (host, job) = attack(guest::run(&format!("{write} {end}"))).with("timeout", "500ms").fails(code, bound);
        let id = job["id"].as_str().expect("an id");
        assert_eq!(host.artifacts(id), Vec::<Value>::new());
        host.get(&format!("/v1/jobs/{id}/artifacts/small")).refused(404, "unknown_artifact");
        leaves_nothing(&host);
    }
}

/// Fault: a stream that is still open when the job ends is half a file in the list, or none.
#[test]
fn artifacts_that_are_left_open_are_complete() {
    let run = r#"(call $open_artifact (text "open") (text "text/plain") (i32.const 832))
        (call $write (i32.load (i32.const 836)) (text "all of it") (i32.const 848))
        (return (call $done (text "text/plain") (text "ok")))"#;
    let (host, job) = attack(guest::run(run)).succeeds("ok");
    let id = job["id"].as_str().expect("an id");
    assert_eq!(host.get(&format!("/v1/jobs/{id}/artifacts/open")).text(), "all of it");
}
