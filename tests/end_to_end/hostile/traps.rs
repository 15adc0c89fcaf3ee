//! Traps of every kind, exits and exceptions: whatever ends a guest is told apart, and is its own fault.

use serde_json::Value;

use super::Attack;
use crate::support::guest::Guest;

#[test]
fn a_trap_leaves_a_backtrace() {
    let items = "(func $innermost (unreachable)) (func $outer (call $innermost))";
    let (_, job) = Attack::by(Guest { items, run: "(call $outer)", ..Guest::GOOD }.component()).fails("trap", ());
    let backtrace = job["usage"][0]["backtrace"].as_array().expect("a list");
    let functions: Vec<&str> = backtrace.iter().filter_map(Value::as_str).collect();
    assert!(functions[0].contains("innermost") && functions[1].contains("outer"), "{functions:?}");
    assert!(functions.iter().any(|function| function.contains("run")), "{functions:?}");
}

#[test]
fn arithmetic_that_has_no_answer_is_a_trap() {
    for attack in [
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.rem_s (i32.const 1) (i32.const 0)))",
        "(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))",
        "(drop (i32.trunc_f64_s (f64.const nan)))",
        "(drop (i64.trunc_f32_u (f32.const 1e30)))",
    ] {
        Attack::run(attack).fails("trap", ());
    }
}

#[test]
fn memory_that_is_not_there_is_a_trap() {
    for attack in [
        "(drop (i32.load (i32.const -8)))",
        "(i64.store offset=0xffffffff (i32.const -1) (i64.const 1))",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1))",
        "(memory.copy (i32.const 0) (i32.const 131071) (i32.const 2))",
    ] {
        Attack::run(attack).fails("trap", ());
    }
}

#[test]
fn calls_to_what_is_no_such_function_are_traps() {
    let items = "(type $other (func (param i64) (result i64))) (table $calls 3 3 funcref) (elem (i32.const 1) $noop) (func $noop)";
    for run in [
        // Beyond the table, an empty place, a function of another type.
        "(drop (call_indirect $calls (type $other) (i64.const 0) (i32.const 3)))",
        "(drop (call_indirect $calls (type $other) (i64.const 0) (i32.const 0)))",
        "(drop (call_indirect $calls (type $other) (i64.const 0) (i32.const 1)))",
        "(table.set $calls (i32.const 9) (ref.null func))",
    ] {
        Attack::by(Guest { items, run, ..Guest::GOOD }.component()).fails("trap", ());
    }
}

/// Handles that are not its own, gone already, of another type, or needed by others.
#[test]
fn handles_that_it_does_not_have_are_traps() {
    for attack in [
        "(call $drop_input (i32.const 77))",
        "(call $drop_input (i32.const -1))",
        "(call $drop_input (local.get $input)) (call $drop_input (local.get $input))",
        "(call $write (local.get $input) (i32.const 0) (i32.const 1) (i32.const 800))",
        "(call $block (local.get $input))",
        // A stream that something else still looks at.
        "(call $input_stream (local.get $input) (i32.const 832)) (drop (call $subscribe_input (i32.load (i32.const 840))))
         (call $drop_input_stream (i32.load (i32.const 840)))",
    ] {
        Attack::run(attack).fails("trap", ());
    }
}

#[test]
fn an_exit_is_a_failure_of_the_plugin() {
    for (attack, status) in [("(call $exit (i32.const 1))", "1"), ("(call $exit (i32.const 0))", "0")] {
        let (_, job) = Attack::run(attack).fails("plugin_error", ());
        assert!(job["failure"]["message"].as_str().is_some_and(|text| text.contains(status)), "{job}");
    }
}

#[test]
fn an_exception_that_nobody_catches_is_a_trap() {
    let items = "(tag $oops (param i64))";
    Attack::by(Guest { items, run: "(throw $oops (i64.const 1))", ..Guest::GOOD }.component()).fails("trap", ());
}

/// Fault: a guest that catches everything catches its own end as well.
#[test]
fn a_guest_cannot_catch_its_traps() {
    for trap in ["(unreachable)", "(drop (i32.load (i32.const -8)))", "(call $block (i32.const 77))"] {
        let run = format!("(loop $again (block $caught (try_table (catch_all $caught) {trap})) (br $again))");
        Attack::run(&run).fails("trap", ());
    }
}

#[test]
fn a_guest_cannot_catch_its_stack_overflow() {
    let items = "(func $deeper (block $caught (try_table (catch_all $caught) (call $deeper))) (call $deeper))";
    Attack::by(Guest { items, run: "(call $deeper)", ..Guest::GOOD }.component()).fails("trap", "stack");
}
