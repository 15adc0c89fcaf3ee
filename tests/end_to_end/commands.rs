//! Programs as plugins: WASI command components and modules of preview 1, dropped as they are.

use serde_json::{Value, json};

use crate::support::{Host, Setup, guest, program};

/// A host with this program as the kind `tool`, once as a component and once as a module, and these settings.
fn hosts(body: &str, settings: &str) -> Vec<Host> {
    let files = [program::component(body), program::module(body)];
    files.iter().map(|file| setup(file, settings).start()).collect()
}

fn setup(file: &[u8], settings: &str) -> Setup {
    Host::prepare().with_guest("good", guest::good()).with_guest("tool", file).with_file("tool.toml", settings)
}

/// The pieces of a text in which each ends with NUL.
fn pieces(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).expect("it is text");
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn a_program_reads_the_input_and_prints_the_result() {
    for host in hosts(program::CAT, "") {
        let id = host.submit_raw("tool", "Straße\n");
        assert_eq!(host.output(&id), "Straße\n".as_bytes());
        assert_eq!(host.result(&id).header("content-type"), "text/plain; charset=utf-8");
        // Larger than any buffer on the way, and no text.
        let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let id = host.submit_raw("tool", large.clone());
        assert!(host.output(&id) == large, "{} bytes", large.len());
        assert_eq!(host.result(&id).header("content-type"), "application/octet-stream");
        let usage = &host.job(&id)["usage"][0];
        assert_eq!((&usage["bytes_in"], &usage["bytes_out"]), (&json!(large.len()), &json!(large.len())));
        let id = host.submit("tool", json!({"a": 1}));
        assert_eq!(host.output(&id), br#"{"a":1}"#);
        host.still_works();
    }
}

#[test]
fn the_media_type_is_the_operators_if_there_is_one() {
    for host in hosts(program::CAT, "media_type = \"image/svg+xml\"") {
        let id = host.submit_raw("tool", "<svg/>");
        host.wait_for(&id, "succeeded");
        assert_eq!(host.result(&id).header("content-type"), "image/svg+xml");
        assert_eq!(host.get("/v1/kinds/tool").json()["output"]["media_type"], "image/svg+xml");
    }
}

#[test]
fn arguments_are_the_kind_then_the_operators_then_the_jobs() {
    for host in hosts(program::ARGUMENTS, "args = [\"--fast\", \"a b\"]\njob_args = true") {
        let id = host.submit("tool", Value::Null);
        assert_eq!(pieces(&host.output(&id)), ["tool", "--fast", "a b"]);
        let id = host.submit_job(json!({"kind": "tool", "args": ["-x", ""]}));
        assert_eq!(pieces(&host.output(&id)), ["tool", "--fast", "a b", "-x", ""]);
        let id = host.submit_raw("tool?arg=one&arg=--two%3D2", "");
        assert_eq!(pieces(&host.output(&id)), ["tool", "--fast", "a b", "one", "--two=2"]);
        host.post_job(&json!({"kind": "tool", "args": ["a\0b"]})).refused(422, "invalid_option");
    }
}

#[test]
fn a_job_adds_no_arguments_unless_the_operator_allows_it() {
    for host in hosts(program::ARGUMENTS, "args = [\"--safe\"]") {
        let refusal = host.post_job(&json!({"kind": "tool", "args": ["--unsafe"]})).refused(422, "invalid_option");
        assert!(refusal["detail"].as_str().is_some_and(|detail| detail.contains("job_args")), "{refusal}");
        assert_eq!(refusal["errors"][0]["pointer"], "/args", "{refusal}");
        for (query, name) in [("arg=--unsafe", "arg"), ("dpi=3", "dpi")] {
            let refusal = host.post(&format!("/v1/kinds/tool/jobs?{query}"), "").refused(422, "invalid_option");
            assert_eq!(refusal["errors"][0]["parameter"], name, "{refusal}");
        }
        let with_parameter = json!({"kind": "tool", "parameters": {"d/i": 3}});
        let refusal = host.post_job(&with_parameter).refused(422, "invalid_option");
        assert_eq!(refusal["errors"][0]["pointer"], "/parameters/d~1i", "{refusal}");
        let id = host.submit("tool", Value::Null);
        assert_eq!(pieces(&host.output(&id)), ["tool", "--safe"]);
    }
}

#[test]
fn the_environment_tells_the_job_and_nothing_of_the_host() {
    let trap_once = format!(
        "{} (if (i32.eq (i32.load8_u (i32.const 70000)) (i32.const 0)) (then (unreachable)))",
        program::ENVIRONMENT
    );
    for file in [program::component(&trap_once), program::module(&trap_once)] {
        let host = setup(&file, "").start();
        let id = host.submit("tool", Value::Null);
        let variables = pieces(&host.output(&id));
        let expected =
            [format!("DROPFORGE_JOB_ID={id}"), "DROPFORGE_KIND=tool".to_owned(), "DROPFORGE_ATTEMPT=1".to_owned()];
        assert_eq!(variables, expected);
    }
}

#[test]
fn an_exit_code_decides_and_standard_error_is_the_log() {
    let complain = "(call $write (i32.const 1) (text \"half\")) (call $write (i32.const 2) (text \"no such page\n\"))";
    for host in hosts(&format!("{complain} (call $exit (i32.const 3))"), "") {
        let id = host.submit("tool", Value::Null);
        let failure = host.failure(&id);
        assert_eq!((&failure["code"], &failure["fault"]), (&json!("plugin_error"), &json!("plugin")), "{failure}");
        assert!(failure["message"].as_str().is_some_and(|message| message.contains("status")), "{failure}");
        assert_eq!(host.job(&id)["usage"][0]["log"], json!(["no such page"]));
        host.result(&id).refused(409, "plugin_error");
    }
    for host in hosts(&format!("{complain} (call $exit (i32.const 0)) (unreachable)"), "") {
        let id = host.submit("tool", Value::Null);
        assert_eq!(host.output(&id), b"half");
        assert_eq!(host.job(&id)["usage"][0]["log"], json!(["no such page"]));
    }
}

#[test]
fn a_program_that_traps_spins_or_eats_memory_fails_its_own_job() {
    for (body, code) in [
        ("(unreachable)", "trap"),
        ("(loop $forever (br $forever))", "deadline_exceeded"),
        ("(loop $more (drop (memory.grow (i32.const 100))) (br $more))", "memory_exceeded"),
        ("(loop $more (call $write (i32.const 1) (i32.const 65536) (i32.const 65536)) (br $more))", "output_too_large"),
        (
            "(loop $more (call $write (i32.const 2) (i32.const 65536) (i32.const 65536)) (br $more))",
            "deadline_exceeded",
        ),
    ] {
        for host in hosts(body, "output_bytes = 1000000\ntimeout = \"500ms\"") {
            let failure = host.failure(&host.submit("tool", Value::Null));
            assert_eq!(failure["code"], code, "{body}: {failure}");
            host.still_works();
        }
    }
}

#[test]
fn the_output_of_a_program_is_limited_to_the_byte() {
    for host in hosts(program::CAT, "output_bytes = 1000") {
        let id = host.submit_raw("tool", "x".repeat(1000));
        assert_eq!(host.output(&id).len(), 1000);
        assert_eq!(host.failure(&host.submit_raw("tool", "x".repeat(1001)))["code"], "output_too_large");
    }
}

#[test]
fn a_kind_says_that_it_is_a_program() {
    for (host, shape) in hosts(program::CAT, "job_args = true").iter().zip(["command_component", "command_module"]) {
        let kind = host.get("/v1/kinds/tool").json();
        assert_eq!((&kind["shape"], &kind["job_args"]), (&json!(shape), &json!(true)), "{kind}");
        assert!(kind["summary"].as_str().is_some_and(|summary| summary.contains("standard input")), "{kind}");
        assert_eq!(kind["input"], json!({"media_types": [], "schema": null}));
        // A program has no parameters, so a misspelt option is not swallowed.
        let refused = host.post("/v1/kinds/tool/jobs?dpi=200", "").refused(422, "invalid_option");
        assert!(refused.to_string().contains("dpi"), "{refused}");
    }
}

#[test]
fn settings_for_programs_are_refused_beside_a_job_component() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("job", guest::good());
    let host = setup.with_file("job.toml", "args = [\"-x\"]").start();
    let file = host.file("job.wasm");
    let reason = file["reason"].as_str().expect("it is rejected");
    assert!(reason.contains("job.toml: args") && reason.contains("for programs"), "{reason}");
    host.still_works();
}

/// The digest and the kept version are those of the file that was dropped, not of what is made of it.
#[test]
fn a_module_is_known_by_its_own_digest_also_after_a_restart() {
    let module = program::module(program::CAT);
    let mut host = setup(&module, "").start();
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&module));
    for _ in 0..2 {
        assert_eq!(host.file("tool.wasm")["digest"], digest.as_str());
        let id = host.submit_raw("tool", "again");
        assert_eq!(host.output(&id), b"again");
        host.kill_and_restart();
    }
    host.drop_file("tool.wasm", b"nonsense");
    host.kill_and_restart();
    let id = host.submit_raw("tool", "the last good version");
    assert_eq!(host.output(&id), b"the last good version");
}

#[test]
fn a_module_with_an_import_that_preview_1_lacks_is_rejected_by_name() {
    let strange = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "fd_teleport" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
    );
    let host = setup(&strange.expect("valid"), "").start();
    let file = host.file("tool.wasm");
    assert!(file["reason"].as_str().is_some_and(|reason| reason.contains("fd_teleport")), "{file}");
    host.still_works();
}
