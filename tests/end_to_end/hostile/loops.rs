//! Loops and recursion, wherever a guest's code runs: in its functions, in what the host calls to hand something over or to
//! clean up, in the destructors of its own things.

use std::time::Duration;

use serde_json::json;

use super::{Attack, wall_time};
use crate::support::guest;
use crate::support::guest::Guest;

const FOREVER: &str = "(loop $forever (br $forever))";

#[test]
fn an_endless_loop_is_stopped() {
    let host = Attack::by(guest::endless()).stops();
    let id = host.submit_job(json!({"kind": "attack", "timeout": "300ms"}));
    let usage = &host.wait_for(&id, "failed")["usage"][0];
    assert!(usage["fuel"].as_u64() > Some(1_000_000) && usage["parked_ms"] == 0, "{usage}");
}

/// The host calls the allocator to hand over the job's id, before `run` has begun.
#[test]
fn a_loop_in_the_allocator_is_stopped() {
    Attack::by(Guest { realloc: FOREVER, ..Guest::GOOD }.component()).stops();
}

/// Fault: a guest is watched until it has answered, and its clean-up code runs after that.
#[test]
fn a_loop_in_the_clean_up_after_the_result_is_stopped() {
    let items = format!(r#"(func (export "cabi_post_run") (param i32) {FOREVER})"#);
    Attack::by(Guest { items: &items, ..Guest::GOOD }.component()).stops();
}

/// A guest with a thing of its own, whose destructor does this, and that it drops.
fn destructor(body: &str, run: &str) -> Attack {
    let items = format!(r#"(func (export "things#[dtor]thing") (param $thing i32) {body})"#);
    let exports = "export things: interface { resource thing; }";
    Attack::by(Guest { items: &items, run, exports, ..Guest::GOOD }.component())
}

#[test]
fn a_loop_in_a_destructor_is_stopped() {
    destructor(FOREVER, "(call $drop_thing (call $new_thing (i32.const 1)))").stops();
}

#[test]
fn a_destructor_that_makes_and_drops_more_overflows_only_the_guests_stack() {
    let more = "(call $drop_thing (call $new_thing (i32.const 1)))";
    destructor(more, more).fails("trap", "stack");
}

#[test]
fn things_that_are_never_dropped_are_no_work_for_the_host() {
    // Their destructor does not run when the instance goes: it would never end.
    let run = r#"(loop $more (drop (call $new_thing (local.get $i)))
        (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
        (return (call $done (text "text/plain") (text "ok")))"#;
    destructor(FOREVER, run).succeeds("ok");
}

#[test]
fn things_without_end_are_a_trap() {
    let run = "(loop $more (drop (call $new_thing (i32.const 1))) (br $more))";
    destructor("", run).fails("trap", ());
}

#[test]
fn endless_recursion_overflows_only_the_guests_stack() {
    let items = "(func $deeper (call $deeper) (call $deeper))";
    Attack::by(Guest { items, run: "(call $deeper)", ..Guest::GOOD }.component()).fails("trap", "stack");
}

#[test]
fn recursion_through_a_table_overflows_only_the_guests_stack() {
    let items = "(type $step (func (param i64) (result i64))) (table 2 funcref) (elem (i32.const 0) $ping $pong)
        (func $ping (type $step) (i64.add (i64.const 1) (call_indirect (type $step) (local.get 0) (i32.const 1))))
        (func $pong (type $step) (i64.add (i64.const 1) (call_indirect (type $step) (local.get 0) (i32.const 0))))";
    let run = "(drop (call $ping (i64.const 0)))";
    Attack::by(Guest { items, run, ..Guest::GOOD }.component()).fails("trap", "stack");
}

/// Fault: the clock is looked at between instructions, and one instruction can fill all of the memory.
#[test]
fn instructions_that_fill_or_copy_the_whole_memory_are_stopped() {
    for instruction in [
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864))",
        "(memory.copy (i32.const 1) (i32.const 0) (i32.const 67108863))",
    ] {
        let run = format!("(drop (memory.grow (i32.const 1022))) (loop $more {instruction} (br $more))");
        Attack::run(&run).with("memory_bytes", 64 << 20).stops();
    }
}

#[test]
fn instructions_that_fill_a_whole_table_are_stopped() {
    let run = "(loop $more (table.fill $table (i32.const 0) (ref.func $noop) (i32.const 20000)) (br $more))";
    let items = "(table $table 20000 funcref) (func $noop) (elem declare func $noop)";
    Attack::by(Guest { items, run, ..Guest::GOOD }.component()).stops();
}

#[test]
fn fuel_is_a_limit_of_its_own() {
    let (_, job) = Attack::by(guest::endless()).with("fuel_per_ms", 1_000).fails("out_of_fuel", "fuel");
    assert!(job["usage"][0]["fuel"].as_u64() >= Some(60_000 * 1_000), "{job}");
    assert!(wall_time(&job) < Duration::from_secs(60), "{job}");
}

#[test]
fn a_program_that_spins_is_stopped() {
    for body in [FOREVER, "(loop $forever (drop (call $yield)) (br $forever))"] {
        Attack::by(crate::support::program::module(body)).stops();
    }
}

/// Fault: nobody asks a program what it is, so that its start function runs for the first time in a job.
#[test]
fn an_endless_start_function_of_a_program_is_stopped() {
    let items = "(func $spin (loop $forever (br $forever))) (start $spin)";
    Attack::by(crate::support::program::module_with("", items)).stops();
}
