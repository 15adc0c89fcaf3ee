//! What of WebAssembly guests may use: exceptions, objects, tail calls, relaxed SIMD; and what large programs leave in a
//! backtrace.

use serde_json::{Value, json};

use crate::support::guest::Guest;
use crate::support::{Host, guest, program, shipped};

const OK: &str = r#"(return (call $done (text "text/plain") (text "ok")))"#;
const TAG: &str = "(tag $oops (param i32))";
/// Every exception holds the one before it, and the last one is kept.
const CHAIN: &str =
    "(tag $link (param exnref i64 i64 i64 i64 i64 i64 i64 i64)) (global $last (mut exnref) (ref.null exn))";
const KEEP_ALL: &str = "(loop $more
    (global.set $last (block $caught (result exnref)
      (try_table (catch_all_ref $caught)
        (throw $link (global.get $last) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
          (i64.const 0) (i64.const 0) (i64.const 0)))
      (unreachable)))
    (br $more))";

fn host(guest: &[u8]) -> Host {
    Host::prepare().with_guest("good", guest::good()).with_guest("tested", guest).start()
}

fn component(run: &str, items: &str) -> Vec<u8> {
    Guest { run: &format!("{run} {OK}"), items, ..Guest::GOOD }.component()
}

#[test]
fn a_thrown_exception_is_caught_with_its_value() {
    let run = "(if (i32.ne (i32.const 7)
        (block $caught (result i32) (try_table (catch $oops $caught) (call $thrower)) (unreachable))) (then (unreachable)))";
    let items = format!("{TAG} (func $thrower (throw $oops (i32.const 7)))");
    let host = host(&component(run, &items));
    assert_eq!(host.output(&host.submit("tested", Value::Null)), b"ok");
}

/// Programs of C++ and other languages arrive as modules.
#[test]
fn exceptions_work_in_a_module_as_well() {
    let body = r#"(block $caught (result i32) (try_table (catch $oops $caught) (throw $oops (i32.const 7))) (unreachable))
        (if (i32.eq (i32.const 7)) (then (call $write (i32.const 1) (text "caught"))))"#;
    let host = host(&program::module_with(body, TAG));
    assert_eq!(host.output(&host.submit("tested", Value::Null)), b"caught");
}

#[test]
fn an_exception_nobody_catches_fails_its_own_job() {
    let host = host(&component("(throw $oops (i32.const 7))", TAG));
    let failure = host.failure(&host.submit("tested", Value::Null));
    assert_eq!((&failure["code"], &failure["fault"]), (&json!("trap"), &json!("plugin")), "{failure}");
    host.still_works();
}

/// Attack: exceptions are objects of the engine, not of the guest's memory. Each holds the one before it.
#[test]
fn a_chain_of_exceptions_is_memory_of_the_job() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("tested", component(KEEP_ALL, CHAIN));
    let host = setup.with_file("tested.toml", "memory_bytes = 4194304\ntimeout = \"20s\"").start();
    let id = host.submit("tested", Value::Null);
    let job = host.wait_for(&id, "failed");
    assert_eq!(job["failure"]["code"], "memory_exceeded", "{job}");
    host.still_works();
}

/// Attack: with a lot of memory, collecting what is still held takes the engine longer than any slice of fuel.
#[test]
fn a_guest_that_keeps_every_exception_is_stopped_in_time() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("tested", component(KEEP_ALL, CHAIN));
    let host = setup.with_file("tested.toml", "memory_bytes = 536870912\ntimeout = \"300ms\"").start();
    let job = host.wait_for(&host.submit("tested", Value::Null), "failed");
    assert!(matches!(job["failure"]["code"].as_str(), Some("deadline_exceeded" | "memory_exceeded")), "{job}");
    host.still_works();
}

#[test]
fn throwing_forever_is_stopped_at_the_deadline() {
    let run = "(loop $more (block $caught (try_table (catch_all $caught) (throw $oops (i32.const 7)))) (br $more))";
    let host = host(&component(run, TAG));
    let id = host.submit_job(json!({"kind": "tested", "timeout": "300ms"}));
    assert_eq!(host.failure(&id)["code"], "deadline_exceeded");
    host.still_works();
}

/// Kotlin, Dart and others compile to objects that the engine collects.
#[test]
fn objects_are_collected_when_nobody_holds_them() {
    let items = "(type $pair (struct (field i64) (field (mut (ref null $pair))))) (type $numbers (array (mut i64)))";
    // A gigabyte of them, one after the other.
    let run = "(loop $more (drop (array.new $numbers (i64.const 7) (i32.const 1024)))
        (drop (struct.new $pair (i64.const 1) (ref.null $pair)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 131072))))";
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("tested", component(run, items));
    let host = setup.with_file("tested.toml", "memory_bytes = 4194304").start();
    let id = host.submit("tested", Value::Null);
    assert_eq!(host.output(&id), b"ok");
    let usage = &host.job(&id)["usage"][0];
    let peak = usage["memory_bytes_peak"].as_u64().expect("a number");
    assert!((65_536..=4_194_304).contains(&peak), "{usage}");
}

/// Attack: the same objects, all of them held; and one that is too large at once.
#[test]
fn objects_are_memory_of_the_job() {
    let items = "(type $pair (struct (field i64) (field (ref null $pair)))) (type $numbers (array (mut i64)))
        (global $last (mut (ref null $pair)) (ref.null $pair))";
    let chain = "(loop $more (global.set $last (struct.new $pair (i64.const 1) (global.get $last))) (br $more))";
    let huge = "(drop (array.new $numbers (i64.const 7) (i32.const 0x0fffffff)))";
    for run in [chain, huge] {
        let setup = Host::prepare().with_guest("good", guest::good()).with_guest("tested", component(run, items));
        let host = setup.with_file("tested.toml", "memory_bytes = 4194304\ntimeout = \"20s\"").start();
        assert_eq!(host.failure(&host.submit("tested", Value::Null))["code"], "memory_exceeded", "{run}");
        host.still_works();
    }
}

/// Attack: one instruction fills a hundred megabytes, again and again.
#[test]
fn filling_large_objects_forever_is_stopped_at_the_deadline() {
    let items = "(type $numbers (array (mut i64)))";
    let run = "(loop $more (drop (array.new $numbers (i64.const 7) (i32.const 13000000))) (br $more))";
    let host = host(&component(run, items));
    let job = host.wait_for(&host.submit_job(json!({"kind": "tested", "timeout": "300ms"})), "failed");
    assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
    host.still_works();
}

#[test]
fn tail_calls_do_not_use_up_the_stack() {
    let items = "(func $count (param i32) (result i32) (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
        (return_call $count (i32.sub (local.get 0) (i32.const 1))))";
    let host = host(&component("(drop (call $count (i32.const 10000000)))", items));
    assert_eq!(host.output(&host.submit("tested", Value::Null)), b"ok");
}

#[test]
fn relaxed_simd_is_there() {
    let run = "(drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))";
    let host = host(&component(run, ""));
    assert_eq!(host.output(&host.submit("tested", Value::Null)), b"ok");
}

#[test]
fn features_that_are_off_are_named_in_the_reason() {
    let module = |memories: &str| {
        let import = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;
        wat::parse_str(format!("(module {import} {memories} (func (export \"_start\")))")).expect("valid")
    };
    let setup = Host::prepare().with_guest("good", guest::good());
    let setup = setup.with_guest("wide", module(r#"(memory (export "memory") i64 1)"#));
    let setup = setup.with_guest("several", module(r#"(memory (export "memory") 1) (memory 1)"#));
    let host = setup.with_guest("threads", module(r#"(memory (export "memory") 1 1 shared)"#)).start();
    for (file, hint) in [("wide.wasm", "memory64"), ("several.wasm", "multi-memory"), ("threads.wasm", "threads")] {
        let file = host.file(file);
        let reason = file["reason"].as_str().expect("it is rejected");
        assert!(reason.contains(hint), "no {hint:?} in: {reason}");
    }
    host.still_works();
}

#[test]
fn a_backtrace_has_function_names_and_lines_where_they_are_known() {
    let host = host(&shipped("tests/guests/lines.wasm"));
    let job = host.wait_for(&host.submit("tested", Value::Null), "failed");
    let backtrace = &job["usage"][0]["backtrace"];
    let frames: Vec<&str> = backtrace.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let source = String::from_utf8(shipped("tests/guests/lines/lines.rs")).expect("it is text");
    let line = |text: &str| 1 + source.lines().position(|line| line.contains(text)).expect("the source has it");
    // The instruction itself is in a function of the language's library, which is part of its caller.
    assert!(frames[0].contains("unreachable"), "{frames:?}");
    assert_eq!(frames[1], format!("lines::divide at /guests/lines/lines.rs:{}", line("unreachable()")), "{frames:?}");
    assert_eq!(frames[2], format!("_start at /guests/lines/lines.rs:{}", line("divide(7")), "{frames:?}");
}

/// Fault: all that was kept of a panic's backtrace were the dozen calls that every panic goes through.
#[test]
fn a_backtrace_of_a_panic_begins_with_the_functions_of_its_author() {
    let host = host(&shipped("tests/guests/panics.wasm"));
    for (how, reason) in [("panic", None), ("index", None), ("unwrap", Some("unwrap")), ("abort", None), ("exit", None)]
    {
        let job = host.wait_for(&host.submit_raw("tested", how.to_owned()), "failed");
        let mut frames = job["usage"][0]["backtrace"].as_array().expect("a list").iter().filter_map(Value::as_str);
        // What the language says of itself stays where it says what was wrong.
        if let Some(reason) = reason {
            assert!(frames.next().is_some_and(|frame| frame.contains(reason)), "{how}: {job}");
        }
        assert_eq!((frames.next(), frames.next()), (Some("panics::end"), Some("panics::main")), "{how}: {job}");
    }
}

/// Fault: all that was said of a panic was that an instruction cannot be reached.
#[test]
fn a_trap_is_told_with_the_last_words_of_the_guest() {
    let host = host(&shipped("tests/guests/panics.wasm"));
    let end = |how: &str| {
        let job = host.wait_for(&host.submit_raw("tested", how.to_owned()), "failed");
        let problem = host.get(&format!("/v1/jobs/{}/result", job["id"].as_str().expect("an id"))).json();
        assert_eq!(problem["detail"], job["failure"]["message"]);
        (job["attempts"].as_u64(), problem["detail"].as_str().expect("text").to_owned())
    };
    for (how, words) in [("panic", "as it was told to"), ("unwrap", "called `Option::unwrap()` on a `None` value")] {
        let (attempts, message) = end(how);
        assert!(message.starts_with("the guest trapped: wasm `unreachable` instruction executed"), "{message}");
        assert!(message.contains("a trap is not tried again, unless retry_on in tested.toml"), "{message}");
        assert_eq!(attempts, Some(1), "as it says");
        assert!(message.contains("; it wrote last:\nthread 'main'") && message.ends_with(words), "{message}");
        assert!(!message.contains("RUST_BACKTRACE"), "it would change nothing: {message}");
    }
    assert!(!end("abort").1.contains("it wrote last"), "it wrote nothing");
    let setup = Host::prepare().with_guest("tested", shipped("tests/guests/panics.wasm"));
    let host =
        setup.with_file("tested.toml", "retry_on = [\"trap\"]\nmax_attempts = 2").set("retry_pause", "10ms").start();
    let job = host.wait_for(&host.submit_raw("tested", "panic"), "failed");
    let message = job["failure"]["message"].as_str().expect("text");
    assert!(job["attempts"] == 2 && !message.contains("is not tried again"), "{job}");
}

#[test]
fn a_program_that_fails_is_told_with_its_last_words() {
    let tool =
        program::component("(call $write (i32.const 2) (text \"page 1\nno page\n\")) (call $exit (i32.const 1))");
    let host = host(&tool);
    let failure = host.failure(&host.submit("tested", Value::Null));
    assert_eq!(failure["message"], "the plugin exited with status 1; it wrote last:\npage 1\nno page");
}
