//! Floods of calls: progress, log, input, artifacts, random bytes, child jobs, checkpoints, variables, sockets, fields. A call
//! costs hardly any fuel, however long it takes the host.

use std::time::Duration;

use serde_json::{Value, json};

use super::Attack;
use crate::support::guest::{self, Guest};
use crate::support::{Host, program};

/// An attack that makes these calls over and over, with an allocator that gives the same place again and again, so that
/// nothing else ends it.
///
/// Fault: the clock is looked at after so much fuel, and a host call costs no fuel.
fn flood(calls: &str) -> Attack {
    let run = format!("(drop (memory.grow (i32.const 32))) (loop $forever {calls} (br $forever))");
    Attack::by(Guest { run: &run, realloc: "(return (i32.const 65536))", ..Guest::GOOD }.component()).input(1 << 20)
}

#[test]
fn a_flood_of_progress_is_stopped() {
    flood("(call $progress (f64.const 0) (i32.const 8192) (i32.const 1000000))").stops();
}

#[test]
fn a_flood_of_short_progress_is_stopped() {
    flood("(call $progress (f64.const 0.5) (i32.const 0) (i32.const 0))").stops();
}

#[test]
fn a_flood_of_long_log_lines_is_stopped() {
    flood("(call $log (i32.const 2) (i32.const 8192) (i32.const 1000000))").stops();
}

#[test]
fn a_flood_of_log_lines_is_not_kept() {
    let host = flood("(call $log (i32.const 2) (text \"the same again\"))").stops();
    let id = host.submit_job(json!({"kind": "attack", "timeout": "500ms"}));
    let job = host.wait_for(&id, "failed");
    assert_eq!(job["usage"][0]["log"].as_array().map(Vec::len), Some(50), "{job}");
    let lines = host.get(&format!("/v1/jobs/{id}/logs")).body.len();
    assert!(lines < 300_000, "{lines} bytes of log");
}

#[test]
fn a_program_that_floods_its_log_is_stopped() {
    for text in ["(i32.const 70000) (i32.const 60000)", "(text \"x\n\")"] {
        let body = format!("(loop $forever (call $write (i32.const 2) {text}) (br $forever))");
        Attack::by(program::module(&body)).stops();
    }
}

#[test]
fn a_flood_of_reads_is_stopped() {
    flood("(call $input_bytes (local.get $input) (i32.const 832))").stops();
}

#[test]
fn a_flood_of_streams_opened_and_dropped_is_stopped() {
    let calls = "(call $input_stream (local.get $input) (i32.const 832))
        (call $blocking_read (i32.load (i32.const 840)) (i64.const -1) (i32.const 848))
        (call $drop_input_stream (i32.load (i32.const 840)))";
    flood(calls).stops();
}

#[test]
fn a_flood_of_refused_artifacts_is_stopped() {
    flood(r#"(call $open_artifact (i32.const 8192) (i32.const 1000000) (text "a/b") (i32.const 832))"#).stops();
}

#[test]
fn a_flood_of_random_bytes_is_stopped() {
    flood("(call $random (i64.const 16384) (i32.const 832))").stops();
}

#[test]
fn more_random_bytes_than_one_call_gives_are_a_trap() {
    for count in ["4194305", "-1"] {
        Attack::run(&format!("(call $random (i64.const {count}) (i32.const 832))")).fails("trap", ());
    }
}

#[test]
fn a_flood_of_child_jobs_is_stopped_and_leaves_none() {
    let calls = r#"(call $submit_child (text "good") (text "text/plain") (i32.const 8192) (i32.const 1000000)
        (i32.const 0) (i32.const 0) (i32.const 832))"#;
    let host = flood(calls).stops();
    let children = host.get("/v1/jobs?kind=good&limit=1000").json();
    // What is there is the test's own: good jobs that measure how the host is.
    let own = |job: &Value| job["state"] == "succeeded" && job["usage"][0]["bytes_in"] == 0;
    let children = children["jobs"].as_array().expect("a list");
    assert!(children.iter().all(own), "{children:?}");
}

#[test]
fn thousands_of_child_jobs_are_refused_one_by_one() {
    let run = r#"(loop $more
          (call $submit_child (text "good") (text "text/plain") (text "") (i32.const 0) (i32.const 0) (i32.const 832))
          (if (i32.ne (i32.load8_u (i32.const 832)) (i32.const 1)) (then (unreachable)))
          (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))
        (return (call $done (text "text/plain") (text "refused")))"#;
    let (host, attack) = Attack::run(run).succeeds("refused");
    let queued = host.get("/v1/jobs?kind=good&state=queued").json();
    assert_eq!(queued["jobs"], json!([]), "{attack}");
}

#[test]
fn a_job_that_waits_for_children_it_does_not_have_fails() {
    Attack::run("(i32.store (i32.const 520) (i32.const 1)) (return (i32.const 512))").fails("plugin_error", ());
}

#[test]
fn a_flood_of_blobs_asked_for_is_stopped() {
    flood("(call $read_blob (i32.const 8192) (i32.const 1000000) (i32.const 832))").stops();
}

#[test]
fn a_flood_of_checkpoints_is_stopped() {
    for size in [60_000, 1_000_000, 2_000_000] {
        flood(&format!("(call $save_checkpoint (i32.const 8192) (i32.const {size}) (i32.const 832))")).stops();
    }
}

#[test]
fn a_flood_of_checkpoints_loaded_is_stopped() {
    let calls = "(if (i32.eqz (local.get $i)) (then
          (call $save_checkpoint (i32.const 8192) (i32.const 1000000) (i32.const 832)) (local.set $i (i32.const 1))))
        (call $load_checkpoint (i32.const 832))";
    flood(calls).stops();
}

/// Runs a job that prepares something and then makes these calls over and over, and expects it to end at its deadline
/// without holding up a neighbour on the same thread.
///
/// Fault: the clock is looked at after so much fuel, and a host call costs no fuel however long it takes.
#[track_caller]
fn stops_in_time(toml: &str, prepare: &str, calls: &str) {
    // An allocator that gives the same place again and again, so that nothing else ends it.
    let run = format!("{prepare} (loop $forever {calls} (br $forever))");
    let attack = Guest { run: &run, realloc: "(return (i32.const 65536))", pages: 64, ..Guest::GOOD }.component();
    let neighbour = guest::sleeping(Duration::from_millis(200));
    let setup =
        Host::prepare().with_guest("good", guest::good()).with_guest("kind", attack).with_file("kind.toml", toml);
    let host = setup.with_guest("neighbour", neighbour).set("workers", 1).start();
    let waiting = host.submit("neighbour", Value::Null);
    host.wait_for(&waiting, "running");
    let id = host.submit_job(json!({"kind": "kind", "timeout": "1s"}));
    let job = host.wait_for(&id, "failed");
    assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
    let wall_ms = job["usage"][0]["wall_ms"].as_u64().expect("a number");
    // 100 ms by the promise; the rest is for a machine that does other things meanwhile.
    assert!(wall_ms < 1_300, "stopped after {wall_ms} ms instead of 1000");
    let neighbour = host.wait_for(&waiting, "succeeded");
    let wall_ms = neighbour["usage"][0]["wall_ms"].as_u64().expect("a number");
    assert!(wall_ms < 500, "a neighbour had to wait {wall_ms} ms for its 200");
    host.still_works();
}

#[test]
fn a_job_that_does_nothing_but_read_its_environment_is_stopped_in_time() {
    let toml = format!("[environment]\nLARGE = \"{}\"", "x".repeat(60_000));
    stops_in_time(&toml, "", "(call $environment (i32.const 832))");
}

#[test]
fn a_job_that_does_nothing_but_make_sockets_is_stopped_in_time() {
    stops_in_time(
        "",
        "",
        "(call $create_socket (i32.const 0) (i32.const 832)) (call $drop_socket (i32.load (i32.const 836)))",
    );
}

#[test]
fn a_job_that_does_nothing_but_copy_fields_is_stopped_in_time() {
    let prepare = r#"(local.set $i (call $new_fields))
        (drop (call $done (text "") (text "")))
        (call $append (local.get $i) (text "name") (i32.const 8192) (i32.const 60000) (i32.const 832))"#;
    stops_in_time(
        "",
        prepare,
        "(call $entries (local.get $i) (i32.const 832)) (call $drop_fields (call $clone_fields (local.get $i)))",
    );
}
