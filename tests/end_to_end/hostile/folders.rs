//! Attacks on the folders that programs may be given: links that lead out, a disk that fills up, files without end or number.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Attack, PROMISE, in_time, wall_time};
use crate::support::{Host, eventually, program};

/// The first folder a program has, and the second.
const IN: &str = "(i32.const 3)";
const OUT: &str = "(i32.const 4)";
/// The name of a file, at 61000, that becomes another one by `NEXT`.
const NAME: &str = "(i32.const 61000) (i32.const 4)";
const NEXT: &str = "(local.set $i (i32.add (local.get $i) (i32.const 1)))
    (i32.store (i32.const 61000) (i32.add (i32.const 0x61616161) (i32.or
      (i32.or (i32.and (local.get $i) (i32.const 0xf))
              (i32.and (i32.shl (local.get $i) (i32.const 4)) (i32.const 0xf00)))
      (i32.or (i32.and (i32.shl (local.get $i) (i32.const 8)) (i32.const 0xf0000))
              (i32.and (i32.shl (local.get $i) (i32.const 12)) (i32.const 0xf000000))))))";

fn attack(body: &str) -> Attack {
    Attack::by(program::module(body)).granted("scratch = true\nscratch_bytes = 1000000")
}

fn forever(what: &str) -> String {
    format!("(loop $more {what} (br $more))")
}

fn nothing_is_left(host: &Host) {
    eventually("the temporary folder is empty", || {
        std::fs::read_dir(host.setup().data().join("tmp")).ok()?.next().is_none().then_some(())
    });
}

#[test]
fn links_in_out_lead_nowhere() {
    let refused = |call: &str| format!("(if (i32.eqz {call}) (then (unreachable)))");
    let unseen = |path: &str| {
        format!("(if (i32.ge_s (call $look {OUT} (text \"{path}\") (i32.const 0)) (i32.const 0)) (then (unreachable)))")
    };
    let body = [
        refused(&format!("(call $symlink (text \"/etc/passwd\") {OUT} (text \"passwd\"))")),
        refused(&format!("(call $symlink (text \"../../db\") {OUT} (text \"db\"))")),
        refused(&format!("(call $symlink (text \".\") {OUT} (text \"loop\"))")),
        refused(&format!("(call $hard_link {IN} (i32.const 0) (text \"input\") {OUT} (text \"input\"))")),
        refused(&format!("(call $rename {OUT} (text \"x\") {IN} (text \"x\"))")),
        unseen("passwd"),
        unseen("../in/input"),
        unseen("../../../lock"),
        unseen("/etc/passwd"),
    ];
    let (host, job) = attack(&body.concat()).succeeds("");
    assert_eq!(host.artifacts(job["id"].as_str().expect("an id")).len(), 0);
    nothing_is_left(&host);
}

#[test]
fn filling_out_with_one_file_is_too_large() {
    let body = format!("(local.set $fd (call $open {OUT} (text \"x\") (i32.const 1)))")
        + &forever("(call $write (local.get $fd) (i32.const 65536) (i32.const 60000))");
    let (host, _) = attack(&body).fails("output_too_large", "output");
    nothing_is_left(&host);
}

#[test]
fn filling_out_with_many_files_is_too_large() {
    for bytes in [0, 1_000] {
        let body = forever(&format!(
            "{NEXT} (local.set $fd (call $open {OUT} {NAME} (i32.const 1)))
             (call $write (local.get $fd) (i32.const 65536) (i32.const {bytes})) (drop (call $fd_close (local.get $fd)))"
        ));
        // A write of nothing is none.
        let body = body.replace("(call $write (local.get $fd) (i32.const 65536) (i32.const 0))", "");
        let (host, _) = attack(&body).fails("output_too_large", "output");
        nothing_is_left(&host);
    }
}

#[test]
fn filling_out_with_folders_is_too_large() {
    let body = forever(&format!("{NEXT} (drop (call $create_folder {OUT} {NAME}))"));
    let (host, _) = attack(&body).fails("output_too_large", "output");
    nothing_is_left(&host);
}

#[test]
fn making_and_removing_files_for_ever_is_stopped() {
    let close = "(drop (call $fd_close (local.get $fd)))";
    let open = format!("(local.set $fd (call $open {OUT} (text \"x\") (i32.const 1)))");
    let write = "(call $write (local.get $fd) (i32.const 65536) (i32.const 60000))";
    let remove = format!("(drop (call $unlink {OUT} (text \"x\")))");
    nothing_is_left(&attack(&forever(&format!("{open} {write} {close} {remove}"))).stops());
}

/// Fault: the host reads a folder whole for each look at its beginning.
#[test]
fn listing_a_large_folder_for_ever_is_stopped() {
    let make = format!(
        "(loop $make {NEXT} (drop (call $fd_close (call $open {OUT} {NAME} (i32.const 1))))
           (br_if $make (i32.lt_u (local.get $i) (i32.const 5000))))"
    );
    let list =
        format!("(drop (call $read_folder {OUT} (i32.const 65536) (i32.const 4096) (i64.const 0) (i32.const 16)))");
    nothing_is_left(&attack(&(make + &forever(&list))).granted("scratch = true").stops());
}

/// Fault: what a program has left is kept file by file, each with a flush of its own, while nobody looks at the clock.
#[test]
fn keeping_thousands_of_files_is_stopped() {
    let make = format!(
        "(loop $make {NEXT} (local.set $fd (call $open {OUT} {NAME} (i32.const 1)))
           (call $write (local.get $fd) (i32.const 65536) (i32.const 2000)) (drop (call $fd_close (local.get $fd)))
           (br_if $make (i32.lt_u (local.get $i) (i32.const 9000))))
         (call $write (i32.const 2) (text \"all made\\n\"))"
    );
    let settings = "scratch = true\nscratch_bytes = 100000000\noutput_bytes = 100000000";
    let host = Attack::by(program::module(&make)).granted(settings).host();
    let made = |id: &str| host.get(&format!("/v1/jobs/{id}/logs")).text().contains("all made");
    in_time("its cancellation", || {
        let id = host.submit_raw("attack", "");
        eventually("its files are made", || made(&id).then_some(()));
        let cancelled = Instant::now();
        host.cancel(&id);
        let job = host.wait_until(&id, "has ended", |job| job["usage"] != json!([]));
        assert_eq!((&job["state"], &job["usage"][0]["bound"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
        cancelled.elapsed()
    });
    host.still_works();
    nothing_is_left(&host);
}

/// Fault: a large input is read from beginning to end before the attempt's clock is looked at.
#[test]
fn filling_in_with_a_large_input_is_stopped() {
    let host = Attack::by(program::module("")).granted("scratch = true").with("body_bytes_max", 1 << 30).host();
    let wall_ms = |job: &Value| wall_time(job).as_millis();
    // Large enough to take a while on this machine.
    let (input, usual) = [256, 512, 1_000]
        .into_iter()
        .map(|mebibytes| {
            let input = vec![b'x'; mebibytes << 20];
            let usual = wall_ms(&host.wait_for(&host.submit_raw("attack", input.clone()), "succeeded"));
            (input, usual)
        })
        .find(|(_, usual)| *usual > 400)
        .expect("a GiB is not read in so short a time");
    in_time("its deadline", || {
        let job = host.wait_for(&host.submit_raw("attack?timeout=50ms", input.clone()), "failed");
        assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
        wall_time(&job).saturating_sub(Duration::from_millis(50))
    });
    assert!(usual > 50 + PROMISE.as_millis());
    host.still_works();
    nothing_is_left(&host);
}
