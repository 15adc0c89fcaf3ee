//! Many attacks at a time, on every worker, and between them good jobs.

use std::time::Duration;

use serde_json::{Value, json};

use super::Attack;
use crate::support::guest::Guest;
use crate::support::{Host, guest};

#[test]
fn attacks_on_every_worker_at_once_leave_the_host_well() {
    let bomb = "(loop $more (drop (memory.grow (i32.const 16))) (br $more))";
    let deep = Guest { items: "(func $deeper (call $deeper) (call $deeper))", run: "(call $deeper)", ..Guest::GOOD };
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("endless", guest::endless());
    let setup = setup.with_guest("bomb", guest::run(bomb)).with_guest("trap", guest::run(""));
    let setup =
        setup.with_guest("deep", deep.component()).with_guest("sleep", guest::sleeping(Duration::from_secs(3600)));
    let host = setup.set("workers", 4).set("timeout", "500ms").start();
    host.measure_usual_time();
    let late = "deadline_exceeded";
    let attacks = [("endless", late), ("bomb", "memory_exceeded"), ("trap", "trap"), ("deep", "trap"), ("sleep", late)];
    let jobs: Vec<(String, String, &str)> = (0..25)
        .map(|n| attacks[n % attacks.len()])
        .map(|(kind, code)| (host.submit(kind, Value::Null), host.submit("good", Value::Null), code))
        .collect();
    for (attack, good, code) in &jobs {
        assert_eq!(host.failure(attack)["code"], *code);
        assert_eq!(host.output(good), b"ok");
    }
    host.still_works();
}

/// Fault: jobs that wait keep the threads, the pool or the place of those that could work.
#[test]
fn hundreds_of_sleepers_leave_a_single_thread_to_others() {
    let attack = Attack::by(guest::sleeping(Duration::from_secs(3600)));
    let host = attack.with("parked_jobs_max", 300).host();
    let lines: Vec<String> = (0..250).map(|_| json!({"kind": "attack"}).to_string()).collect();
    assert_eq!(host.post("/v1/jobs/batch", lines.join("\n")).status, 200);
    let running = || host.get("/v1/jobs?state=running&limit=250").json()["jobs"].as_array().map_or(0, Vec::len);
    crate::support::eventually("all of them sleep", || (running() == 250).then_some(()));
    host.still_works();
}

/// Fault: jobs that spin get the thread again and again, and the others never.
#[test]
fn a_queue_full_of_spinners_does_not_keep_another_kind_waiting_for_all_of_them() {
    let host = Attack::by(guest::endless()).with("timeout", "500ms").host();
    let spinners: Vec<String> = (0..30).map(|_| host.submit("attack", Value::Null)).collect();
    let good = host.submit("good", Value::Null);
    assert_eq!(host.output(&good), b"ok");
    let left = spinners.iter().filter(|id| host.job(id)["state"] == "queued").count();
    assert!(left > 20, "the good job waited for all but {left} of the others");
    spinners.iter().for_each(|id| drop(host.cancel(id)));
    host.still_works();
}
