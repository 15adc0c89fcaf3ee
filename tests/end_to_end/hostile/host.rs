//! Plugins that attack the host itself: its time between two looks at the clock, its files, its pool of instances, the
//! threads that answer requests.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::guest::Guest;
use crate::support::{Host, eventually, guest};

/// Runs a job that makes these calls over and over, and expects it to end at its deadline.
///
/// Fault: the clock is looked at after so much fuel, and a host call costs no fuel however long it takes.
#[track_caller]
fn stops_in_time(calls: &str) {
    // An allocator that gives the same place again and again, so that nothing else ends it.
    let run = format!("(drop (memory.grow (i32.const 32))) (loop $forever {calls} (br $forever))");
    let attack = Guest { run: &run, realloc: "(return (i32.const 65536))", ..Guest::GOOD }.component();
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("attack", attack);
    let host = setup.set("workers", 1).start();
    let id = host.submit_raw("attack?timeout=500ms", vec![b'x'; 1 << 20]);
    let job = host.wait_for(&id, "failed");
    assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
    let wall_ms = job["usage"][0]["wall_ms"].as_u64().expect("a number");
    // 100 ms by the promise; the rest is for a machine that does other things meanwhile.
    assert!(wall_ms < 1_000, "stopped after {wall_ms} ms instead of 500");
    host.still_works();
}

#[test]
fn a_job_that_does_nothing_but_tell_progress_is_stopped_in_time() {
    stops_in_time("(call $progress (f64.const 0) (i32.const 8192) (i32.const 1000000))");
}

#[test]
fn a_job_that_does_nothing_but_log_is_stopped_in_time() {
    stops_in_time("(call $log (i32.const 2) (i32.const 8192) (i32.const 1000000))");
}

#[test]
fn a_job_that_does_nothing_but_read_its_input_is_stopped_in_time() {
    stops_in_time("(call $input_bytes (local.get $input) (i32.const 832))");
}

#[test]
fn a_job_that_does_nothing_but_open_artifacts_is_stopped_in_time() {
    stops_in_time(r#"(call $open_artifact (i32.const 8192) (i32.const 1000000) (text "a/b") (i32.const 832))"#);
}

#[test]
fn a_job_that_does_nothing_but_draw_random_numbers_is_stopped_in_time() {
    // More in one call is a trap.
    stops_in_time("(call $random (i64.const 16384) (i32.const 832))");
}

/// A guest that takes something over and over until it is refused, and holds it while it sleeps.
fn hoarding(take: &str) -> Vec<u8> {
    guest::run(&format!(
        r#"(loop $more {take}
             (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9000))))
           (call $progress (f64.const 1) (text "sleeping"))
           (call $block (call $subscribe_duration (i64.const 3600000000000)))"#
    ))
}

/// Fault: with the usual limit of 1,024 open files, one job that opens its input as a stream many times leaves the
/// host none for clients and other jobs.
#[test]
fn a_hoarder_of_streams_leaves_the_host_its_files() {
    let hoarder = hoarding("(call $input_stream (local.get $input) (i32.const 832))");
    let host = Host::prepare()
        .with_guest("good", guest::good())
        .with_guest("echo", guest::echo())
        .with_guest("hoarder", hoarder);
    let host = host.with_open_files_max(1024).start();
    let large = vec![b'x'; 100_000];
    let id = host.submit_raw("hoarder", large.clone());
    host.wait_until(&id, "has taken what it gets, or has failed", |job| {
        job["progress"]["fraction"] == 1.0 || job["state"] == "failed" || job["attempts"] != 0
    });
    host.still_works();
    assert!(host.output(&host.submit_raw("echo", large.clone())) == large);
    host.cancel(&id);
    host.still_works();
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
    let id = host.submit("many", Value::Null);
    assert_eq!(host.output(&id), b"ok");
    assert_eq!(host.artifacts(&id).len(), 1500);
    host.still_works();
}

/// Fault: the pool has room for so many memories, and nothing says how many of them one component may take.
#[test]
fn a_component_of_many_memories_leaves_room_for_others() {
    let crowd = guest::crowded(guest::sleeping(Duration::from_secs(3600)), 11);
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("crowd", crowd);
    // Room for twelve guests, of which two take twelve memories each.
    let host = setup.set("workers", 1).set("parked_jobs_max", 10).start();
    // Either it is not accepted at all, or its jobs fit in beside the others.
    if host.file("crowd.wasm")["state"] == "serving" {
        let ids: Vec<String> = (0..2).map(|_| host.submit("crowd", Value::Null)).collect();
        eventually("they all run or have failed", || {
            ids.iter().all(|id| host.job(id)["state"] != "queued").then_some(())
        });
        host.still_works();
    }
}

/// Fault: schemas are checked by the threads that answer requests, and some take for ever, or all of the stack.
#[test]
fn a_schema_cannot_stop_the_host() {
    let twice = |level: usize| {
        format!(r##""a{level}": {{"allOf": [{{"$ref": "#/$defs/a{0}"}}, {{"$ref": "#/$defs/a{0}"}}]}}"##, level + 1)
    };
    let levels: Vec<String> = (0..40).map(twice).collect();
    let doubling =
        format!(r##"{{"$defs": {{{}, "a40": {{"type": "object"}}}}, "$ref": "#/$defs/a0"}}"##, levels.join(", "));
    for schema in [
        r##"{"$ref": "#"}"##,
        r##"{"allOf": [{"$ref": "#"}]}"##,
        r##"{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}"##,
        r##"{"$dynamicAnchor": "a", "anyOf": [{"$dynamicRef": "#a"}]}"##,
        &doubling,
    ] {
        let attack = Guest { parameters: Some(schema), ..Guest::GOOD };
        let host = Host::prepare().with_guest("good", guest::good()).with_guest("attack", attack.component()).start();
        // Accepted, refused or rejected: all of it is right, as long as it does not take long.
        let started = Instant::now();
        for _ in 0..3 {
            let request = host.request(reqwest::Method::POST, "/v1/kinds/attack/jobs?a=b").body("x");
            let answer = crate::support::answer::Answer::try_of(request.timeout(Duration::from_secs(5)));
            assert!(answer.is_ok(), "{schema}: {answer:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{schema}: {:?}", started.elapsed());
        host.still_works();
    }
}

#[test]
fn a_deeply_nested_input_does_not_overflow_the_hosts_stack() {
    let host = Host::prepare().with_plugin("message").with_guest("good", guest::good()).start();
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    host.post("/v1/jobs", format!(r#"{{"kind": "message", "input": {deep}}}"#)).refused(422, "invalid_input");
    host.post("/v1/kinds/message/jobs", deep.clone()).refused(422, "invalid_input");
    for field in ["parameters", "tags", "after"] {
        host.post("/v1/jobs", format!(r#"{{"kind": "good", "{field}": {deep}}}"#)).refused(400, "malformed");
    }
    host.still_works();
}
