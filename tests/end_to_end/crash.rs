//! Promise 4: a job that brings the whole process down is found and ends; its neighbours are charged nothing.
//!
//! The guests here really end the process: a host built for tests aborts when a guest logs a certain word.

use serde_json::{Value, json};

use crate::support::{Host, eventually, guest, is_terminal};

/// Computes for a second or two, so that the host is ready before it dies, then brings it down.
const CRASHER: &str = r#"
    (loop $burn
      (local.set $deadline (i64.sub (local.get $deadline) (i64.const 1000)))
      (br_if $burn (i64.gt_s (local.get $deadline) (i64.const 0))))
    (call $log (i32.const 4) (text "boom"))
    (return (call $done (text "text/plain") (text "the host did not die")))"#;

/// Fault: a poison job takes the host down for ever, or an innocent one that ran beside it is blamed.
#[test]
fn a_job_that_brings_the_host_down_ends_and_its_neighbours_are_charged_nothing() {
    let mut host = Host::prepare()
        .with_guest("good", guest::good())
        .with_guest("crasher", guest::run(CRASHER))
        .with_plugin("message")
        .set("test_crash_word", "boom")
        .set("crashes_max", 2)
        .set("workers", 2)
        .start();
    let poison = host.submit("crasher", Value::Null);
    // Long enough to be inside a guest at every crash.
    let innocent = host.submit("message", json!({"message": "innocent", "seconds": 6}));
    let mut crashes = 0;
    let ended = loop {
        let dead = eventually("the host dies or the job ends", || match host.try_job(&poison) {
            None => Some(None),
            Some(job) => is_terminal(&job).then_some(Some(job)),
        });
        match dead {
            Some(job) => break job,
            None => crashes += 1,
        }
        assert!(crashes <= 6, "the host is brought down for ever");
        host.kill_and_restart();
    };
    assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("failed"), &json!("host_crash")), "{ended}");
    assert_eq!(ended["crashes"], 2, "{ended}");
    let job = host.wait_for(&innocent, "succeeded");
    assert_eq!((&job["crashes"], &job["attempts"]), (&json!(0), &json!(1)), "{job}");
    host.still_works();
}
