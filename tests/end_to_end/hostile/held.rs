//! Hoards on the host's side of the border: what no memory of the guest's is counted for, and no grant is needed for.

use super::Attack;

/// What a whole host may take with an attack on it; it takes some 80 MiB without.
const HOST_BYTES_MAX: u64 = 200 << 20;

/// Makes so many of something, and holds them.
fn many(count: u32, one: &str) -> Attack {
    Attack::run(&format!(
        r#"(drop (memory.grow (i32.const 260))) (memory.fill (i32.const 131072) (i32.const 65) (i32.const 16777216))
           (loop $more {one}
             (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
           (call $log (i32.const 2) (text "it has them all"))
           (return (call $done (text "text/plain") (text "ok")))"#
    ))
}

/// Ends with the attempt, as if the memory were the guest's own, and takes no more of the host's.
fn refused(attack: Attack) {
    let (host, job) = attack.fails("memory_exceeded", "memory");
    let peak = host.process().memory_bytes_peak();
    assert!(peak < HOST_BYTES_MAX, "the host took {peak} bytes: {job}");
}

fn granted(attack: Attack) {
    let (host, job) = attack.succeeds("ok");
    let peak = host.process().memory_bytes_peak();
    assert!(peak < HOST_BYTES_MAX, "the host took {peak} bytes: {job}");
}

/// Fault: what is written to the body of a request stays with the request, up to 2 MiB of it, whether it is ever sent or not.
#[test]
fn requests_with_full_bodies_are_few_and_small() {
    let chunk = "(call $check_write (i32.load (i32.const 844)) (i32.const 848))
        (call $write (i32.load (i32.const 844)) (i32.const 131072) (i32.load (i32.const 856)) (i32.const 864))";
    let request = format!(
        "(local.set $id (call $new_request (call $new_fields)))
         (call $request_body (local.get $id) (i32.const 832)) (call $body_stream (i32.load (i32.const 836)) (i32.const 840))
         {chunk} {chunk} (call $drop_stream (i32.load (i32.const 844))) (call $drop_body (i32.load (i32.const 836)))"
    );
    // The body of the last one is one more.
    granted(many(255, &request));
    refused(many(256, &request));
    // As many as it likes, one after the other.
    granted(many(2_000, &format!("{request} (call $drop_request (local.get $id))")));
}

/// Fault: a method may be as long as anything that is passed to the host, and so may the name of a host.
#[test]
fn methods_and_hosts_of_requests_are_short() {
    let request = |set: &str, bytes: u32| {
        format!(
            "(drop (call {set} (call $new_request (call $new_fields)) (i32.const {}) (i32.const 131072) (i32.const {bytes})))",
            if set == "$set_method" { 9 } else { 1 }
        )
    };
    granted(many(1, &request("$set_method", 1 << 20)));
    refused(many(1, &request("$set_method", (1 << 20) + 1)));
    for set in ["$set_method", "$set_authority"] {
        refused(many(250, &request(set, 16 << 20)));
        refused(many(250, &request(set, 60_000)));
    }
}

#[test]
fn lists_of_fields_are_few_and_small() {
    let append = |bytes: u32| {
        format!(
            r#"(call $append (call $new_fields) (text "name") (i32.const 131072) (i32.const {bytes}) (i32.const 832))"#
        )
    };
    granted(many(256, &append(32_000)));
    refused(many(257, &append(32_000)));
    many(1, &append(33_000)).fails("trap", ());
}

/// Fault: a list of what to wait for costs the guest four bytes for each, and the host many times that, for as long as it sleeps.
#[test]
fn what_is_waited_for_in_one_call_is_not_more_than_there_can_be() {
    let wait = |nanoseconds: u64, count: u32| {
        format!(
            "(local.set $id (call $subscribe_duration (i64.const {nanoseconds})))
             (loop $fill (i32.store offset=131072 (i32.shl (local.get $kind) (i32.const 2)) (local.get $id))
               (br_if $fill (i32.lt_u (local.tee $kind (i32.add (local.get $kind) (i32.const 1))) (i32.const {count}))))
             (call $poll (i32.const 131072) (i32.const {count}) (i32.const 832))"
        )
    };
    granted(many(1, &format!("(local.set $kind (i32.const 0)) {}", wait(0, 10_000))));
    let attack = many(1, &format!("(local.set $kind (i32.const 0)) {}", wait(3_600_000_000_000, 10_001)));
    attack.fails("trap", ());
}
