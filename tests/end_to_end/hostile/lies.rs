//! Lies: lists and strings that are longer than the memory, values that no type has, text that is no text, an allocator
//! that gives what is not there.

use super::Attack;
use crate::support::guest::Guest;

/// A body of `run` that answers ok(done(type, bytes)) with these two pairs of pointer and length.
fn lying(media_type: (i64, i64), bytes: (i64, i64)) -> String {
    let values = [media_type.0, media_type.1, bytes.0, bytes.1].map(|value| format!("(i32.const {value})")).join(" ");
    format!("(return (call $done {values}))")
}

/// Fault: what the guest returns is taken at its word, or its lie is taken for the host's own failure and retried.
#[test]
fn results_that_point_outside_of_memory_are_traps() {
    for lie in [
        lying((4096, 10), (-16, 1000)),
        lying((4096, 10), (131_072, 1)),
        lying((4096, 10), (0, 131_073)),
        lying((4096, 10), (0, -1)),
        lying((-1, 10), (4096, 1)),
        "(return (i32.const -8))".to_owned(),
        "(return (i32.const 131072))".to_owned(),
        "(return (i32.const 513))".to_owned(),
    ] {
        Attack::run(&lie).fails("trap", ());
    }
}

/// Fault: as above, for values that no type of the contract has.
#[test]
fn results_that_are_no_values_of_their_type_are_traps() {
    for lie in [
        "(i32.store8 (i32.const 512) (i32.const 9)) (return (i32.const 512))",
        "(i32.store8 (i32.const 520) (i32.const 9)) (return (i32.const 512))",
        // A level of the log, and an option.
        "(call $log (i32.const 5) (i32.const 0) (i32.const 0))",
        "(i32.store (i32.const 512) (i32.const 1)) (i32.store (i32.const 520) (i32.const 2)) (i32.store (i32.const 536) (i32.const 7))
         (return (i32.const 512))",
    ] {
        Attack::run(lie).fails("trap", ());
    }
}

/// Bytes that are no UTF-8, and where the host is told that they are text.
#[test]
fn text_that_is_no_utf_8_is_a_trap() {
    // Never in UTF-8, a continuation alone, a slash in two bytes, a surrogate, beyond the last character, cut short.
    for bytes in ["\\ff\\ff\\ff\\ff", "a\\80aa", "\\c0\\afaa", "\\ed\\a0\\80a", "\\f4\\90\\80\\80", "aaa\\e2"] {
        let items = format!(r#"(data (i32.const 900) "{bytes}")"#);
        for run in [
            "(return (call $done (i32.const 900) (i32.const 4) (i32.const 0) (i32.const 0)))",
            "(return (call $fail (i32.const 1) (i32.const 900) (i32.const 4)))",
            "(call $progress (f64.const 0) (i32.const 900) (i32.const 4))",
            "(call $log (i32.const 1) (i32.const 900) (i32.const 4))",
            "(call $open_artifact (i32.const 900) (i32.const 4) (i32.const 900) (i32.const 0) (i32.const 832))",
        ] {
            Attack::by(Guest { items: &items, run, ..Guest::GOOD }.component()).fails("trap", ());
        }
    }
}

#[test]
fn texts_that_point_outside_of_memory_are_traps() {
    for lie in [
        "(call $progress (f64.const 0) (i32.const -16) (i32.const 100))",
        "(call $log (i32.const 1) (i32.const 131000) (i32.const 73))",
        "(call $log (i32.const 1) (i32.const 0) (i32.const -1))",
        "(call $save_checkpoint (i32.const 0) (i32.const 131073) (i32.const 832))",
        "(call $poll (i32.const 131064) (i32.const 3) (i32.const 832))",
        "(call $poll (i32.const 0) (i32.const 0x40000000) (i32.const 832))",
    ] {
        Attack::run(lie).fails("trap", ());
    }
}

/// Fault: as above, for the memory into which the host writes what it passes.
#[test]
fn an_allocator_that_lies_is_a_trap() {
    for realloc in ["(return (i32.const -16))", "(return (i32.const 131071))", "(unreachable)"] {
        Attack::by(Guest { realloc, ..Guest::GOOD }.component()).fails("trap", ());
    }
}

/// Fault: the host is called while it is in the middle of handing something over.
#[test]
fn an_allocator_that_calls_the_host_is_a_trap() {
    let realloc = "(call $log (i32.const 1) (i32.const 0) (i32.const 1))";
    Attack::by(Guest { realloc, ..Guest::GOOD }.component()).fails("trap", ());
}

/// Fault: a list of a few bytes each, all of which name the same large text, is copied until memory is full.
#[test]
fn a_small_list_of_the_same_large_text_is_not_copied_without_end() {
    // 8,000 names and values of 60,000 bytes each would be 960 MB.
    let run = "(loop $more
          (i32.store offset=65536 (local.get $i) (i32.const 0)) (i32.store offset=65540 (local.get $i) (i32.const 60000))
          (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 64000))))
        (call $submit_child (text \"good\") (text \"text/plain\") (i32.const 0) (i32.const 0)
          (i32.const 65536) (i32.const 4000) (i32.const 832))";
    let (host, job) = Attack::run(run).fails("output_too_large", "output");
    let peak = host.process().memory_bytes_peak();
    assert!(peak < 400 << 20, "the host took {peak} bytes: {job}");
}

#[test]
fn nothing_can_be_waited_for_but_what_it_has() {
    for lie in [
        // An empty list would be waited for for ever.
        "(call $poll (i32.const 0) (i32.const 0) (i32.const 832))",
        // Zeros are no handles.
        "(call $poll (i32.const 65536) (i32.const 1000) (i32.const 832))",
    ] {
        Attack::run(lie).fails("trap", ());
    }
}
