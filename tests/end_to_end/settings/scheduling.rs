//! When jobs of a kind run: how many at once, how many may wait, and when one is tried again.

use std::time::Duration;

use serde_json::{Value, json};

use super::{host, limits, setup};
use crate::support::guest;

/// Fault: places are counted per worker, or only for jobs that compute, and a rate limit upstream is broken.
#[test]
fn concurrency_holds_over_all_workers_for_waiting_and_computing_jobs() {
    let waiting = guest::sleeping(Duration::from_millis(150));
    let computing = guest::run(
        r#"(loop $more (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000000))))
           (return (call $done (text "") (text "ok")))"#,
    );
    let setup =
        setup(waiting, "concurrency = 3").with_guest("busy", computing).with_file("busy.toml", "concurrency = 1");
    let host = setup.with_guest("free", guest::sleeping(Duration::from_millis(400))).set("workers", 4).start();
    let submit = |kind: &str, count: usize| (0..count).map(|_| host.submit(kind, Value::Null)).collect::<Vec<_>>();
    let (waiting, busy, free) = (submit("kind", 15), submit("busy", 5), submit("free", 8));
    let ended = |ids: &[String]| ids.iter().map(|id| host.wait_for(id, "succeeded")).collect::<Vec<_>>();
    assert_eq!(most_at_once(&ended(&waiting)), 3);
    assert_eq!(most_at_once(&ended(&busy)), 1);
    assert!(most_at_once(&ended(&free)) > 3, "a kind without a limit is held back by the others'");
    assert_eq!(limits(&host)["concurrency"], 3);
    host.still_works();
}

/// The most of these jobs that ran at one time.
fn most_at_once(jobs: &[Value]) -> usize {
    let running_at = |at: i64| {
        jobs.iter().filter(move |job| milliseconds(job, "started_at") <= at && at < milliseconds(job, "finished_at"))
    };
    jobs.iter().map(|job| running_at(milliseconds(job, "started_at")).count()).max().unwrap_or(0)
}

#[test]
fn a_kinds_queue_is_as_long_as_its_settings_say() {
    let host = host(guest::sleeping(Duration::from_secs(60)), "queue_max = 2\nconcurrency = 1");
    assert_eq!(limits(&host)["queue_max"], 2);
    let ids = [host.submit("kind", Value::Null), host.submit("kind", Value::Null)];
    host.post_job(&json!({"kind": "kind"})).refused(503, "queue_full");
    host.still_works();
    host.cancel(&ids[1]);
    let third = host.submit("kind", Value::Null);
    host.post_job(&json!({"kind": "kind"})).refused(503, "queue_full");
    host.cancel(&ids[0]);
    host.wait_for(&third, "running");
}

#[test]
fn a_kinds_failures_are_retried_as_its_settings_say() {
    let trap = || guest::run("(unreachable)");
    let toml = "retry_on = [\"trap\", \"invalid_input\"]\nmax_attempts = 3\nretry_pause = \"20ms\"\nretry_pause_max = \"30ms\"";
    let setup = setup(trap(), toml).with_guest("plain", trap()).with_guest("slow", trap());
    let host = setup.with_file("slow.toml", "retry_on = [\"trap\"]\nretry_pause = \"1h\"").start();
    let (retried, plain) = (host.submit("kind", Value::Null), host.submit("plain", Value::Null));
    let job = host.wait_for(&retried, "failed");
    assert_eq!((&job["attempts"], &job["failure"]["retryable"]), (&json!(3), &json!(true)), "{job}");
    // Two pauses of at least half of 20 and 30 ms.
    assert!(milliseconds(&job, "finished_at") - milliseconds(&job, "created_at") >= 25, "{job}");
    let job = host.wait_for(&plain, "failed");
    assert_eq!((&job["attempts"], &job["failure"]["retryable"]), (&json!(1), &json!(false)), "{job}");
    let slow = host.submit("slow", Value::Null);
    let job = host.wait_for(&slow, "scheduled");
    let due = milliseconds(&job, "run_at") - milliseconds(&job, "created_at");
    assert!(due >= 1_800_000, "tried again after {due} ms");
    let shown = limits(&host);
    assert_eq!(
        (&shown["retry_on"], &shown["retry_pause_ms_max"]),
        (&json!(["trap", "invalid_input"]), &json!(30)),
        "{shown}"
    );
    host.still_works();
}

fn milliseconds(job: &Value, field: &str) -> i64 {
    let text = job[field].as_str().expect("it has ended");
    text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
}
