//! Attacks on what jobs share with those who serve: open files, the threads that answer requests, their stacks.

use std::time::{Duration, Instant};

use crate::support::guest::Guest;
use crate::support::{Host, guest};

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
    host.measure_usual_time();
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
        host.measure_usual_time();
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
    host.measure_usual_time();
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    host.post("/v1/jobs", format!(r#"{{"kind": "message", "input": {deep}}}"#)).refused(422, "invalid_input");
    host.post("/v1/kinds/message/jobs", deep.clone()).refused(422, "invalid_input");
    for field in ["parameters", "tags", "after"] {
        host.post("/v1/jobs", format!(r#"{{"kind": "good", "{field}": {deep}}}"#)).refused(400, "malformed");
    }
    host.still_works();
}
