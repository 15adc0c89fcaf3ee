//! Plugins that attack while they run a job. Each hurts its own job only, and is told apart by its failure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::guest::Guest;
use crate::support::{Host, guest};

/// A host with a good plugin and `attack`, and limits that an attack reaches soon.
fn host_under(attack: impl AsRef<[u8]>) -> Host {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("attack", attack);
    setup.set("timeout", "10s").set("memory_bytes", 32 << 20).set("output_bytes", 1 << 20).start()
}

/// Runs the attack, expects this failure of the plugin's doing after one attempt, and shows that the host is well.
#[track_caller]
fn fails_with(host: &Host, code: &str, bound: Value) -> Value {
    let job = host.wait_for(&host.submit_raw("attack", "input"), "failed");
    let failure = &job["failure"];
    assert_eq!((&failure["code"], &failure["fault"]), (&json!(code), &json!("plugin")), "{job}");
    assert_eq!((&failure["retryable"], &job["attempts"]), (&json!(false), &json!(1)), "{job}");
    assert_eq!(job["usage"][0]["bound"], bound, "{job}");
    host.still_works();
    job
}

#[test]
fn an_endless_loop_is_stopped_at_its_deadline() {
    let host = host_under(guest::endless());
    let id = host.submit_job(json!({"kind": "attack", "timeout": "500ms"}));
    let job = host.wait_for(&id, "failed");
    let usage = &job["usage"][0];
    assert_eq!((&job["failure"]["code"], &usage["bound"]), (&json!("deadline_exceeded"), &json!("deadline")));
    let wall_ms = usage["wall_ms"].as_u64().expect("a number");
    assert!((500..2_000).contains(&wall_ms), "{usage}");
    assert!(usage["fuel"].as_u64() > Some(1_000_000), "{usage}");
    host.still_works();
}

#[test]
fn an_endless_sleep_is_stopped_at_its_deadline() {
    let host = host_under(guest::sleeping(Duration::from_secs(3600)));
    let id = host.submit_job(json!({"kind": "attack", "timeout": "500ms"}));
    let job = host.wait_for(&id, "failed");
    let usage = &job["usage"][0];
    assert_eq!((&job["failure"]["code"], &usage["bound"]), (&json!("deadline_exceeded"), &json!("deadline")));
    assert!(usage["parked_ms"].as_u64() >= Some(450), "{usage}");
    host.still_works();
}

#[test]
fn fuel_is_a_limit_of_its_own() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("attack", guest::endless());
    let host = setup.set("fuel_per_ms", 1_000).start();
    let job = fails_with(&host, "out_of_fuel", json!("fuel"));
    assert!(job["usage"][0]["fuel"].as_u64() >= Some(60_000 * 1_000), "{job}");
}

#[test]
fn a_loop_in_the_allocator_is_stopped_at_its_deadline() {
    // The host calls it to hand over the job's id, before `run` has begun.
    let attack = Guest { realloc: "(loop $forever (br $forever))", ..Guest::GOOD };
    let host = host_under(attack.component());
    let id = host.submit_job(json!({"kind": "attack", "timeout": "300ms"}));
    assert_eq!(host.failure(&id)["code"], "deadline_exceeded");
    host.still_works();
}

#[test]
fn a_memory_bomb_is_stopped_at_the_cap() {
    let host = host_under(guest::run("(loop $more (drop (memory.grow (i32.const 16))) (br $more))"));
    let job = fails_with(&host, "memory_exceeded", json!("memory"));
    let peak = job["usage"][0]["memory_bytes_peak"].as_u64().expect("a number");
    assert!((31 << 20..=32 << 20).contains(&peak), "{peak}");
}

#[test]
fn memory_up_to_the_cap_is_granted() {
    // 2 pages to begin with; 512 pages are 32 MiB.
    let grow = |pages: u32| {
        guest::run(&format!(
            r#"(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then (unreachable)))
               (memory.fill (i32.const 131072) (i32.const 1) (i32.const {}))
               (return (call $done (text "text/plain") (text "ok")))"#,
            pages * 65536
        ))
    };
    let host = host_under(grow(510));
    assert_eq!(host.output(&host.submit("attack", Value::Null)), b"ok");
    let host = host_under(grow(511));
    fails_with(&host, "memory_exceeded", json!("memory"));
}

#[test]
fn a_table_bomb_is_stopped_at_the_cap() {
    let attack = Guest {
        items: "(table $table 1 funcref)",
        run: "(loop $more (drop (table.grow $table (ref.null func) (i32.const 10000))) (br $more))",
        ..Guest::GOOD
    };
    fails_with(&host_under(attack.component()), "memory_exceeded", json!("memory"));
}

#[test]
fn endless_recursion_overflows_only_the_guests_stack() {
    let attack = Guest { items: "(func $deeper (call $deeper) (call $deeper))", run: "(call $deeper)", ..Guest::GOOD };
    fails_with(&host_under(attack.component()), "trap", json!("stack"));
}

#[test]
fn a_trap_leaves_a_backtrace() {
    let attack = Guest {
        items: "(func $innermost (unreachable)) (func $outer (call $innermost))",
        run: "(call $outer)",
        ..Guest::GOOD
    };
    let job = fails_with(&host_under(attack.component()), "trap", Value::Null);
    let backtrace = job["usage"][0]["backtrace"].as_array().expect("a list");
    let functions: Vec<&str> = backtrace.iter().filter_map(Value::as_str).collect();
    assert!(functions[0].contains("innermost") && functions[1].contains("outer"), "{functions:?}");
    assert!(functions.iter().any(|function| function.contains("run")), "{functions:?}");
}

#[test]
fn every_kind_of_trap_is_the_plugins_fault() {
    for attack in [
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.load (i32.const -8)))",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1))",
        "(drop (i32.trunc_f64_s (f64.const nan)))",
        // Handles that are not its own.
        "(call $drop_input (i32.const 77))",
        "(call $drop_input (local.get $input)) (call $drop_input (local.get $input))",
        "(call $write (local.get $input) (i32.const 0) (i32.const 1) (i32.const 800))",
        "(call $input_bytes (local.get $input) (i32.const -16))",
    ] {
        fails_with(&host_under(guest::run(attack)), "trap", Value::Null);
    }
}

#[test]
fn an_exit_is_a_failure_of_the_plugin() {
    for (attack, status) in [("(call $exit (i32.const 1))", "1"), ("(call $exit (i32.const 0))", "0")] {
        let job = fails_with(&host_under(guest::run(attack)), "plugin_error", Value::Null);
        assert!(job["failure"]["message"].as_str().is_some_and(|text| text.contains(status)), "{job}");
    }
}

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
        lying((-1, 10), (4096, 1)),
        "(return (i32.const -8))".to_owned(),
        "(return (i32.const 131072))".to_owned(),
        "(return (i32.const 513))".to_owned(),
    ] {
        fails_with(&host_under(guest::run(&lie)), "trap", Value::Null);
    }
}

/// Fault: as above, for values that no type of the contract has.
#[test]
fn results_that_are_no_values_of_their_type_are_traps() {
    for lie in [
        "(i32.store8 (i32.const 512) (i32.const 9)) (return (i32.const 512))",
        "(i32.store8 (i32.const 520) (i32.const 9)) (return (i32.const 512))",
        // A media type and a message that are not UTF-8.
        "(i32.store (i32.const 900) (i32.const -1))
         (return (call $done (i32.const 900) (i32.const 4) (i32.const 0) (i32.const 0)))",
        "(i32.store (i32.const 900) (i32.const -1)) (return (call $fail (i32.const 1) (i32.const 900) (i32.const 4)))",
        "(i32.store (i32.const 900) (i32.const -1)) (call $progress (f64.const 0) (i32.const 900) (i32.const 4))",
        "(call $progress (f64.const 0) (i32.const -16) (i32.const 100))",
    ] {
        fails_with(&host_under(guest::run(lie)), "trap", Value::Null);
    }
}

/// Fault: as above, for the memory into which the host writes what it passes.
#[test]
fn an_allocator_that_lies_is_a_trap() {
    for realloc in ["(return (i32.const -16))", "(return (i32.const 131071))", "(unreachable)"] {
        fails_with(&host_under(Guest { realloc, ..Guest::GOOD }.component()), "trap", Value::Null);
    }
}

#[test]
fn nonsense_in_calls_is_bent_into_shape() {
    let attack = guest::run(
        r#"(call $progress (f64.const nan) (text "")) (call $progress (f64.const -inf) (text "")) 
           (call $progress (f64.const 1e300) (text "done"))
           (call $log (i32.const 4) (text "two
lines"))
           (return (call $done (text "no media type") (text "ok")))"#,
    );
    let host = host_under(attack);
    let id = host.submit("attack", Value::Null);
    assert_eq!(host.output(&id), b"ok");
    let job = host.job(&id);
    assert_eq!(job["progress"], json!({"fraction": 1.0, "message": "done"}));
    assert_eq!(job["usage"][0]["log"], json!(["ERROR two\u{fffd}lines"]));
    assert_eq!(host.result(&id).header("content-type"), "application/octet-stream");
}

#[test]
fn a_flood_of_log_lines_is_not_kept() {
    let host = host_under(guest::run(
        r#"(loop $more (call $log (i32.const 2) (i32.const 0) (i32.const 60000))
             (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))
           (return (call $done (text "text/plain") (text "ok")))"#,
    ));
    let id = host.submit_job(json!({"kind": "attack", "timeout": "5s"}));
    let job = host.wait(&id);
    assert!(job["usage"][0]["log"].to_string().len() < 100_000);
    host.still_works();
}

#[test]
fn attacks_on_every_worker_at_once_leave_the_host_well() {
    let bomb = "(loop $more (drop (memory.grow (i32.const 16))) (br $more))";
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("endless", guest::endless());
    let setup = setup.with_guest("bomb", guest::run(bomb)).with_guest("trap", guest::run("")).with_guest(
        "deep",
        Guest { items: "(func $deeper (call $deeper) (call $deeper))", run: "(call $deeper)", ..Guest::GOOD }
            .component(),
    );
    let host = setup.set("workers", 4).set("timeout", "500ms").start();
    let attacks = [("endless", "deadline_exceeded"), ("bomb", "memory_exceeded"), ("trap", "trap"), ("deep", "trap")];
    let jobs: Vec<(String, String, &str)> = (0..24)
        .map(|n| attacks[n % attacks.len()])
        .map(|(kind, code)| (host.submit(kind, Value::Null), host.submit("good", Value::Null), code))
        .collect();
    for (attack, good, code) in &jobs {
        assert_eq!(host.failure(attack)["code"], *code);
        assert_eq!(host.output(good), b"ok");
    }
    host.still_works();
}
