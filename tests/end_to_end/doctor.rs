//! Why a file cannot be used: said alike by `dropforge check` and by the host that rejects it.

use serde_json::{Value, json};

use crate::support::guest::Guest;
use crate::support::{Host, Setup, eventually, guest};

/// What `dropforge check --json` says, which also has to be what its exit code says.
fn check(setup: &Setup, file: &str) -> Value {
    let exit = setup.check(file, &["--json"]);
    let verdict: Value = serde_json::from_str(&exit.stdout.join("\n")).expect("JSON on standard output");
    assert_eq!(exit.status.code(), Some(if verdict["usable"] == true { 0 } else { 1 }), "{verdict}");
    verdict
}

/// Each file is rejected by a host and by `check`, for the same reason, which has all of these words.
#[track_caller]
fn rejected(setup: Setup, files: &[(Vec<u8>, &[&str])]) {
    let name = |number: usize| format!("file-{number}");
    let setup = files
        .iter()
        .enumerate()
        .fold(setup, |setup, (number, (bytes, _))| setup.with_guest(&name(number), bytes))
        .with_guest("good", guest::good());
    let host = setup.start();
    for (number, (_, hints)) in files.iter().enumerate() {
        let file = host.file(&format!("{}.wasm", name(number)));
        assert_eq!(file["state"], "rejected", "{hints:?}: {file}");
        let reason = file["reason"].as_str().expect("a rejected file has a reason");
        for hint in *hints {
            assert!(reason.contains(hint), "no {hint:?} in: {reason}");
        }
        let verdict = check(host.setup(), &format!("{}.wasm", name(number)));
        assert_eq!((&verdict["usable"], &verdict["reason"]), (&json!(false), &json!(reason)));
    }
    host.still_works();
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn files_of_another_kind_are_told_apart() {
    let whole = guest::good();
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("a.wit", "package a:b; interface c { d: func(); }").expect("valid");
    let types_only = wit_component::encode(&resolve, package).expect("it can be encoded");
    let files: [(Vec<u8>, &[&str]); 9] = [
        (b"".to_vec(), &["empty"]),
        (b"#!/bin/sh\n".to_vec(), &["not a WebAssembly file", "wasm32-wasip2"]),
        (
            std::fs::read(env!("CARGO_BIN_EXE_dropforge")).expect("it was built")[..4096].to_vec(),
            &["not WebAssembly", "wasm32-wasip2"],
        ),
        // What `cargo build` makes on other systems.
        (b"\xcf\xfa\xed\xfe\x0c\0\0\x01".to_vec(), &["not WebAssembly", "cargo build --target wasm32-wasip2"]),
        (b"MZ\x90\0\x03\0\0\0".to_vec(), &["not WebAssembly", "cargo build --target wasm32-wasip2"]),
        (b"\0asm\x0a\0\x01\0".to_vec(), &["version 10", "current tools"]),
        (whole[..whole.len() / 2].to_vec(), &["not valid", "cut short"]),
        (text("(module (func (export \"f\")))")[..20].to_vec(), &["core WebAssembly module is not valid", "cut short"]),
        (types_only, &["WIT package", "no program"]),
    ];
    rejected(Host::prepare(), &files);
}

#[test]
fn core_modules_built_for_something_else_are_told_for_what() {
    let import =
        |from: &str, name: &str| text(&format!(r#"(module (import "{from}" "{name}" (func)) (func (export "main")))"#));
    let preview_1 = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#;
    let files: [(Vec<u8>, &[&str]); 11] = [
        (
            text(r#"(module (func (export "_start")))"#),
            &["with a main function (`_start`) that calls nothing of WASI", "no imports", "wasm32-wasip2", "-nostdlib"],
        ),
        (
            text(r#"(module (func (export "add")))"#),
            &["core WebAssembly module", "wasm32-unknown-unknown", "wasm32-wasip2", "exports add"],
        ),
        (text("(module)"), &["no exported functions", "wasm32-wasip2"]),
        (
            text(r#"(module (@custom "component-type:x" "") (func (export "run")))"#),
            &["the world that is embedded in it", "current tools"],
        ),
        (import("wasi_unstable", "fd_write"), &["preview 0", "wasi_unstable", "wasm32-wasip1"]),
        (import("__wbindgen_placeholder__", "__wbindgen_throw"), &["wasm-bindgen", "main function"]),
        (import("gojs", "runtime.wasmExit"), &["GOOS=wasip1"]),
        (import("env", "emscripten_notify_memory_growth"), &["Emscripten", "STANDALONE_WASM"]),
        (
            text(&format!(r#"(module {preview_1} (func (export "_initialize")))"#)),
            &["library", "`_start`", "exports _initialize"],
        ),
        (
            text(&format!(r#"(module {preview_1} (import "env" "magic" (func)) (func (export "_start")))"#)),
            &["imports `magic` of `env`", "wasi_snapshot_preview1 only"],
        ),
        (
            text(&format!(r#"(module {preview_1} (import "wasi" "thread-spawn" (func)) (func (export "_start")))"#)),
            &["`thread-spawn`", "without threads"],
        ),
    ];
    rejected(Host::prepare(), &files);
}

#[test]
fn a_module_that_carries_its_world_is_a_plugin_of_that_world() {
    let setup = Host::prepare().with_guest("module", Guest::GOOD.module_with_world());
    let verdict = check(&setup, "module.wasm");
    assert_eq!((&verdict["usable"], &verdict["shape"]), (&json!(true), &json!("job_component")), "{verdict}");
    let mut host = setup.start();
    assert_eq!(host.output(&host.submit("module", json!({}))), b"ok");
    // Its compiled code is that of a plugin as well.
    host.kill_and_restart();
    assert_eq!(host.output(&host.submit("module", json!({}))), b"ok");
    // The section says what is to be exported, and nothing is.
    let module = Guest::GOOD.module_with_world();
    let world = wasmparser::Parser::new(0).parse_all(&module).find_map(|payload| match payload {
        Ok(wasmparser::Payload::CustomSection(section)) if section.name().starts_with("component-type") => {
            Some(section.data().iter().map(|byte| format!("\\{byte:02x}")).collect::<String>())
        }
        _ => None,
    });
    let world = world.expect("the module carries one");
    let bare = text(&format!(r#"(module (@custom "component-type" "{world}"))"#));
    rejected(Host::prepare(), &[(bare, &["the world that is embedded in it"])]);
}

#[test]
fn a_plugin_of_many_parts_is_checked_like_any_other() {
    // As plugins in Python are; a host has room for many of them.
    let setup = Host::prepare().with_guest("many", guest::crowded(guest::echo(), 7));
    assert_eq!(check(&setup, "many.wasm")["reason"], json!(null));
}

#[test]
fn imports_are_named_with_what_would_fit() {
    let import = |name: &str, item: &str| text(&format!(r#"(component (import "{name}" (instance {item})))"#));
    let files: [(Vec<u8>, &[&str]); 8] = [
        (
            import("dropforge:job/host@0.2.0", ""),
            &["imports dropforge:job/host@0.2.0", "expected dropforge:job@0.1.0", "found version 0.2.0", "wit/0.1.0"],
        ),
        (import("dropforge:job/guest@0.1.0", ""), &["dropforge:job/guest@0.1.0", "no such interface"]),
        (
            import("dropforge:job/host@0.1.0", r#"(export "progres" (func))"#),
            &["`progres`", "offers progress, log, open-artifact"],
        ),
        (
            import("dropforge:job/host@0.1.0", r#"(export "progress" (func (param "fraction" f32)))"#),
            &["`progress`", "expected func(fraction: f64, message: string)", "found func(fraction: f32)"],
        ),
        (import("wasi:cli/environment@0.3.0", ""), &["wasi:cli/environment@0.3.0", "WASI 0.3", "wasm32-wasip2"]),
        (import("wasi:io/poll@0.2.0-rc-2023-11-10", ""), &["wasi:io/poll@0.2.0-rc-2023-11-10", "preview of WASI 0.2"]),
        (import("wasi:nn/tensor@0.2.0", ""), &["imports wasi:nn/tensor@0.2.0", "does not offer it"]),
        (guest::run("(call $treasure)"), &["imports nowhere:to-be/found@1.2.3", "does not offer it"]),
    ];
    rejected(Host::prepare(), &files);
}

/// Fault: the linker finds what the look at the file has not, and says so in words for its authors.
#[test]
fn a_function_that_wasi_does_not_have_is_named() {
    let strange = text(
        r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "get-everything" (func))))
        (instance $run) (export "wasi:cli/run@0.2.0" (instance $run)))"#,
    );
    rejected(Host::prepare(), &[(strange, &["get-everything", "wasi:cli/environment@0.2.0"])]);
}

#[test]
fn exports_are_named_with_what_was_expected() {
    let export = |name: &str| text(&format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#));
    let lifted = r#"(component (core module $m (func (export "run"))) (core instance $i (instantiate $m))
        (func $run (canon lift (core func $i "run"))) (export "run" (func $run)))"#;
    let files: [(Vec<u8>, &[&str]); 5] = [
        (text("(component)"), &["no exports at all", "`describe` and `run`", "wit/0.1.0", "wasi:cli/run"]),
        (
            text(lifted),
            &[
                "Its export `describe`: expected func() -> descriptor, found no such export",
                "Its export `run`: expected func(context: context, input: input) -> result<outcome, failure>, found func()",
            ],
        ),
        (export("run"), &["Its export `run`", "something that is no function"]),
        (export("wasi:http/incoming-handler@0.2.0"), &["wasi:http/incoming-handler@0.2.0", "server of HTTP requests"]),
        (export("wasi:cli/run@0.3.0"), &["wasi:cli/run@0.3.0", "another version of WASI"]),
    ];
    rejected(Host::prepare(), &files);
}

#[test]
fn what_shows_only_when_a_plugin_runs_is_said_alike() {
    let schema = Guest { parameters: Some("{not json"), ..Guest::GOOD };
    let files: [(Vec<u8>, &[&str]); 3] = [
        (guest::with_describe("(unreachable)"), &["describe", "trapped"]),
        (guest::with_start("(unreachable)"), &["started", "trapped"]),
        (schema.component(), &["parameter schema", "JSON"]),
    ];
    rejected(Host::prepare(), &files);
}

/// Fault: a panic in `describe` is listed as a trap, and what the panic said is nowhere.
#[test]
fn what_a_plugin_wrote_before_it_trapped_while_it_was_asked_is_told() {
    let words = r#"(call $log (i32.const 2) (text "reading the model"))
        (call $log (i32.const 4) (text "no model ESC[2J")) (call $log (i32.const 4) (text "good.wasm: can be used")) (unreachable)"#.replace("ESC", "\u{1b}");
    let told = "; it wrote last:\nno model \u{fffd}[2J\ngood.wasm: can be used";
    let flood = r#"(local $n i32) (loop $more (call $log (i32.const 4) (text "a line of forty bytes, again and again and so on"))
        (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5000)))) (unreachable)"#;
    let setup = Host::prepare().with_guest("talks", guest::with_describe(&words));
    let setup = setup.with_guest("begins", guest::with_start("(unreachable)"));
    let host = setup.with_guest("floods", guest::with_describe(flood)).start();
    let reason = |file: &str| host.file(file)["reason"].as_str().expect("a rejected file has a reason").to_owned();
    let talks = reason("talks.wasm");
    assert!(talks.contains("asked to describe itself") && talks.ends_with(told), "{talks}");
    assert_eq!(check(host.setup(), "talks.wasm")["reason"], talks);
    assert!(!reason("begins.wasm").contains("it wrote last"), "it wrote nothing");
    let floods = reason("floods.wasm");
    assert!(floods.contains("it wrote last:\na line of") && floods.len() < 1_200, "{floods}");

    let shown = host.setup().check("talks.wasm", &[]).stdout.join("\n");
    assert!(
        shown.contains("\n      no model \u{fffd}[2J\n      good.wasm: can be used"),
        "never at the margin: {shown}"
    );
    let listed = host.says(&["plugins"]).ended_with(0).text();
    assert!(listed.lines().all(|line| !line.starts_with("good.wasm: ")) && listed.contains("no model"), "{listed}");
}

#[test]
fn names_sizes_and_settings_are_checked_as_well() {
    let setup = Host::prepare().with_guest("Bad Name", guest::good()).with_guest("good", guest::good());
    let setup = setup.with_guest("set", guest::good()).with_file("set.toml", "timout = 1");
    let setup = setup.with_guest("large", guest::echo()).set("plugin_file_bytes_max", guest::good().len());
    for (file, hint) in [
        ("Bad Name.wasm", "the name is not allowed"),
        ("set.wasm", "did you mean \"timeout\"?"),
        ("large.wasm", "is the most"),
    ] {
        let verdict = check(&setup, file);
        assert!(verdict["reason"].as_str().is_some_and(|reason| reason.contains(hint)), "{verdict}");
    }
    assert_eq!(check(&setup, "good.wasm")["usable"], true);
    let missing = setup.check("nowhere.wasm", &[]);
    assert!(missing.status.code() == Some(6) && missing.stderr.contains("nowhere.wasm"), "{missing:?}");
}

#[test]
fn a_good_file_is_described_with_what_it_may_need() {
    let setup = Host::prepare().with_plugin("message").with_guest("good", guest::good());
    let verdict = check(&setup, "message.wasm");
    assert_eq!((&verdict["usable"], &verdict["kind"]), (&json!(true), &json!("message")));
    assert_eq!((&verdict["shape"], &verdict["problems"]), (&json!("job_component"), &json!([])));
    assert_eq!(verdict["digest"].as_str().map(str::len), Some(64));
    let bare = check(&setup, "good.wasm");
    assert_eq!(bare["may_need"], json!({"network": [], "files": [], "environment": []}));
    let exit = setup.check("message.wasm", &[]);
    let text = exit.stdout.join("\n");
    assert!(exit.status.success() && text.contains("can be used, as kind message"), "{text}");
    assert!(text.contains("shape: job component (dropforge:job@0.1.0)"), "{text}");
}

#[test]
fn what_a_file_may_need_is_said_with_what_grants_it() {
    let program = crate::support::program::module("(drop (call $open (i32.const 3) (text \"x\") (i32.const 0)))");
    let setup = Host::prepare().with_guest("tool", program);
    let setup = setup.with_guest("probe", crate::support::shipped("tests/guests/probe.wasm"));
    assert_eq!(check(&setup, "tool.wasm")["may_need"]["files"], json!(["path_open"]));
    let text = setup.check("tool.wasm", &[]).stdout.join("\n");
    assert!(text.contains("may need files") && text.contains("scratch = true"), "{text}");
    let network = check(&setup, "probe.wasm")["may_need"]["network"].clone();
    let names: Vec<&str> = network.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(names.iter().any(|name| name.starts_with("wasi:http/outgoing-handler@0.2.")), "{names:?}");
    let text = setup.check("probe.wasm", &[]).stdout.join("\n");
    assert!(text.contains("may need network") && text.contains("[[http]]"), "{text}");
}

/// One file under two names is two kinds, which may be meant; whoever did not mean it should hear of it.
#[test]
fn a_duplicate_is_named() {
    let setup = Host::prepare().with_guest("one", guest::good()).with_guest("two", guest::good());
    let setup = setup.with_guest("other", guest::answering("other"));
    assert_eq!(check(&setup, "one.wasm")["same_as"], json!(["two.wasm"]));
    assert_eq!(check(&setup, "other.wasm")["same_as"], json!([]));
    let text = setup.check("two.wasm", &[]).stdout.join("\n");
    assert!(text.contains("the same file as: one.wasm"), "{text}");
    let host = setup.start();
    assert!(host.process().stderr().contains("the same file serves as another kind as well"));
    assert_eq!(
        (&host.file("one.wasm")["state"], &host.file("two.wasm")["state"]),
        (&json!("serving"), &json!("serving"))
    );
    let twins = |host: &Host| ["one", "two", "other"].map(|name| host.file(&format!("{name}.wasm"))["same_as"].clone());
    assert_eq!(twins(&host), [json!(["two.wasm"]), json!(["one.wasm"]), json!([])]);
    let listed = host.says(&["plugins"]).ended_with(0).text();
    let line = |file: &str| listed.lines().find(|line| line.starts_with(file)).unwrap_or_default().to_owned();
    assert!(line("one.wasm").contains("the same file as: two.wasm"), "{listed}");
    assert!(!line("other.wasm").contains("the same"), "{listed}");
    // Also where neither can be used.
    host.drop_file("one.wasm", "nonsense");
    host.drop_file("other.wasm", "nonsense");
    let expected = [json!(["other.wasm"]), json!([]), json!(["one.wasm"])];
    eventually("the new twins are named", || (twins(&host) == expected).then_some(()));
}

/// What `describe` may take and return, just inside and just outside.
#[test]
fn a_plugin_describes_itself_within_48_mib_and_256_kib() {
    let grow =
        |pages: u32| guest::with_start(&format!("(drop (memory.grow (i32.sub (i32.const {pages}) (memory.size))))"));
    let long = |bytes: u32| {
        guest::with_describe(&format!(
            "(drop (memory.grow (i32.const 16))) (i32.store (i32.const 16) (i32.const 131072))
             (memory.fill (i32.const 131072) (i32.const 120) (i32.const {bytes}))
             (i32.store (i32.const 20) (i32.const {bytes})) (return (i32.const 16))"
        ))
    };
    let within = Host::prepare().with_guest("grown", grow(768)).with_guest("long", long(261_000)).start();
    for file in ["grown.wasm", "long.wasm"] {
        assert_eq!(within.file(file)["state"], "serving", "{}", within.file(file));
    }
    rejected(Host::prepare(), &[(grow(769), &["memory", "50331648"]), (long(263_000), &["describe", "262144"])]);
}

/// Fault: a plugin that is asked what it is has the host hold far more than it may have of memory itself, as empty texts by the million.
#[test]
fn what_describe_passes_in_one_call_is_limited_before_it_is_held() {
    // Each empty text is 24 bytes to the host. So many are too long to be shown, or too many to be looked at.
    let media_types = |count: u32| {
        guest::with_describe(&format!(
            "(drop (memory.grow (i32.const 16))) (i32.store (i32.const 32) (i32.const 131072))
             (i32.store (i32.const 36) (i32.const {count})) (return (i32.const 16))"
        ))
    };
    let (shown, held) = (media_types(87_300), media_types(87_382));
    rejected(Host::prepare(), &[(shown, &["describe", "262144 is the most"]), (held, &["describe", "2097152"])]);
}

/// Fault: a check makes room for a small plugin, and says no to one of many parts, such as those of Python, that a host serves.
#[test]
fn a_check_has_as_much_room_as_a_host_for_plugins_of_many_parts() {
    let host = Host::prepare().with_guest("parts", guest::crowded(guest::good(), 7)).start();
    assert_eq!(host.file("parts.wasm")["state"], "serving", "{}", host.file("parts.wasm"));
    assert_eq!(check(host.setup(), "parts.wasm")["problems"], json!([]));
}
