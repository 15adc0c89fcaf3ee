//! Growth: memories, tables, instances, exceptions and things, at the start and while a job runs.

use std::time::Duration;

use serde_json::Value;

use super::Attack;
use super::files::rejected;
use crate::support::guest::Guest;
use crate::support::{Host, guest};

#[test]
fn a_memory_bomb_is_stopped_at_the_cap() {
    let (_, job) =
        Attack::run("(loop $more (drop (memory.grow (i32.const 16))) (br $more))").fails("memory_exceeded", "memory");
    let peak = job["usage"][0]["memory_bytes_peak"].as_u64().expect("a number");
    assert!((31 << 20..=32 << 20).contains(&peak), "{peak}");
}

#[test]
fn memory_up_to_the_cap_is_granted() {
    // 2 pages to begin with; 512 pages are 32 MiB.
    let grow = |pages: u32| {
        let bytes = pages * 65536;
        Attack::run(&format!(
            r#"(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then (unreachable)))
               (memory.fill (i32.const 131072) (i32.const 1) (i32.const {bytes}))
               (return (call $done (text "text/plain") (text "ok")))"#
        ))
    };
    grow(510).succeeds("ok");
    grow(511).fails("memory_exceeded", "memory");
}

#[test]
fn all_of_the_memory_in_one_step_is_stopped_at_the_cap() {
    Attack::run("(drop (memory.grow (i32.const 65534)))").fails("memory_exceeded", "memory");
}

#[test]
fn a_memory_that_is_too_large_to_begin_with_is_rejected() {
    rejected(Guest { pages: 65_536, ..Guest::GOOD }.component(), &["memory"]);
    // More than `describe` gets, which is 768 pages.
    rejected(Guest { pages: 769, ..Guest::GOOD }.component(), &["memory", "50331648"]);
}

#[test]
fn a_table_bomb_is_stopped_at_the_cap() {
    for (table, null) in [("funcref", "func"), ("externref", "extern")] {
        let items = format!("(table $table 1 {table})");
        let run = format!("(loop $more (drop (table.grow $table (ref.null {null}) (i32.const 1000))) (br $more))");
        let attack = Guest { items: &items, run: &run, ..Guest::GOOD }.component();
        Attack::by(attack).fails("memory_exceeded", "memory");
    }
}

/// Large programs have tens of thousands of functions whose address is taken, and some toolchains a second table.
#[test]
fn a_large_table_and_a_second_one_are_fine() {
    let items = "(table 90000 funcref) (table 100 externref)";
    Attack::by(Guest { items, ..Guest::GOOD }.component()).succeeds("ok");
}

#[test]
fn a_table_that_is_too_large_to_begin_with_is_rejected() {
    rejected(Guest { items: "(table 10000000 funcref)", ..Guest::GOOD }.component(), &["table"]);
}

#[test]
fn a_crowd_of_instances_is_rejected() {
    rejected(guest::crowded(guest::crowded(guest::good(), 40), 40), &["instances|memories"]);
}

/// Fault: the pool has room for so many memories, and jobs that wait, with as many as a component may have, take them all.
#[test]
fn a_crowd_of_many_memories_leaves_room_for_others() {
    rejected(guest::crowded(guest::good(), 8), &["memories"]);
    leave_room_for_others(guest::crowded(guest::sleeping(Duration::from_secs(3600)), 7));
}

/// Fault: the same of instances and tables, of which a component may have more.
#[test]
fn a_crowd_of_many_parts_leaves_room_for_others() {
    let parts = |count: u8| guest::of_many_parts(guest::sleeping(Duration::from_secs(3600)), count);
    rejected(guest::of_many_parts(parts(40), 25), &["instances|tables"]);
    leave_room_for_others(guest::of_many_parts(parts(40), 15));
}

/// Lets as many of these wait at a time as may, and shows that another kind has all it needs.
#[track_caller]
fn leave_room_for_others(waiting: Vec<u8>) {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("crowd", waiting);
    let host = setup.set("workers", 1).set("parked_jobs_max", 10).start();
    host.measure_usual_time();
    let ids: Vec<String> = (0..10).map(|_| host.submit("crowd", Value::Null)).collect();
    ids.iter().for_each(|id| drop(host.wait_for(id, "running")));
    host.still_works();
    assert!(ids.iter().all(|id| host.job(id)["state"] == "running"), "each has all it needs");
}

/// Fault: memory is kept ready for the next job in every place that ever held one.
#[test]
fn a_crowd_of_hoarders_gives_its_memory_back() {
    let run = "(drop (memory.grow (i32.const 958)))
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560))
        (call $progress (f64.const 1) (i32.const 0) (i32.const 0))
        (call $block (call $subscribe_duration (i64.const 3600000000000)))";
    let host = Attack::run(run).with("memory_bytes", 64 << 20).host();
    let before = host.process().memory_bytes();
    let ids: Vec<String> = (0..20).map(|_| host.submit("attack", Value::Null)).collect();
    for id in &ids {
        host.wait_until(id, "has its memory", |job| job["progress"]["fraction"] == 1.0);
    }
    let most = host.process().memory_bytes();
    ids.iter().for_each(|id| drop(host.cancel(id)));
    for id in &ids {
        host.wait_until(id, "has let go of it", |job| job["usage"] != serde_json::json!([]));
    }
    host.still_works();
    let after = host.process().memory_bytes();
    assert!(most > 20 * 60_000_000, "they had no more than {most} bytes");
    assert!(after < 300 << 20, "{after} bytes are still held after {most}, and {before} were before");
}

/// A chain of caught exceptions, each holding the one before.
const CHAIN: &str = "(local $held exnref)
    (loop $more
      (local.set $held (block $caught (result exnref)
        (try_table (catch_all_ref $caught) (throw $chain (local.get $held))) (unreachable)))
      (br $more))";

/// Fault: exceptions live outside of the memories that are counted.
#[test]
fn exceptions_that_are_held_for_ever_do_not_grow_the_host() {
    let attack = Guest { items: "(tag $chain (param exnref))", run: CHAIN, ..Guest::GOOD };
    let (host, job) = Attack::by(attack.component()).fails("memory_exceeded", "memory");
    let peak = host.process().memory_bytes_peak();
    assert!(peak < 200 << 20, "the host took {peak} bytes: {job}");
}

#[test]
fn exceptions_thrown_without_end_are_stopped() {
    let run = "(loop $more (block $caught (try_table (catch_all $caught) (throw $oops (i64.const 1)))) (br $more))";
    Attack::by(Guest { items: "(tag $oops (param i64))", run, ..Guest::GOOD }.component()).stops();
}
