//! What sort of file it is: no WebAssembly, cut short, built for something else, or a module that carries its world.

use serde_json::json;

use super::{check, rejected, text};
use crate::support::guest::Guest;
use crate::support::{Host, guest};

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
