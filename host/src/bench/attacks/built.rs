//! The committed plugins of the bench are those that their texts make, and are made anew with `UPDATE_ATTACKS=1`.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::super::waiting::WAITING;
use super::families::{ATTACKS, DESCRIBE, PROGRAM, START};

const WORLD: &str = "package test:attacks; world attacks {
    include dropforge:job/plugin@0.1.0;
    import wasi:clocks/monotonic-clock@0.2.6;
    import wasi:random/random@0.2.6;
    export things: interface { resource thing; }
}";
const MORE_PACKAGES: [&str; 2] = [
    "package wasi:clocks@0.2.6; interface monotonic-clock {
        use wasi:io/poll@0.2.6.{pollable}; subscribe-duration: func(ns: u64) -> pollable;
    }",
    "package wasi:random@0.2.6; interface random { get-random-bytes: func(len: u64) -> list<u8>; }",
];

/// Its `describe`, and one that never ends.
const DESCRIBES: &str = "(func (export \"describe\") (result i32) (i32.const 16))";
const NEVER_DESCRIBES: &str = "(func (export \"describe\") (result i32) (call $spin) (i32.const 16))";

fn component(text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("the text is valid");
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.1.0");
    resolve.push_path(contract).expect("the contract is valid");
    for package in MORE_PACKAGES {
        resolve.push_str("more.wit", package).expect("the package is valid");
    }
    let package = resolve.push_str("attacks.wit", WORLD).expect("the world is valid");
    let world = resolve.select_world(&[package], Some("attacks")).expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it can be embedded");
    let encoder = ComponentEncoder::default().validate(true).module(&module).expect("the module fits the world");
    encoder.reject_legacy_names(false).encode().expect("the module becomes a component")
}

#[test]
fn attacks_are_built_from_their_text() {
    let text = include_str!("../attacks.wat");
    assert!(text.contains(DESCRIBES));
    let module = |text: &str| wat::parse_str(text).expect("the text is valid");
    for (name, built, committed) in [
        ("attacks.wasm", component(text), ATTACKS),
        ("attacks/describe.wasm", component(&text.replace(DESCRIBES, NEVER_DESCRIBES)), DESCRIBE),
        ("waiting.wasm", component(include_str!("../waiting.wat")), WAITING),
        ("attacks/program.wasm", module(include_str!("program.wat")), PROGRAM),
        ("attacks/start.wasm", module(include_str!("start.wat")), START),
    ] {
        if std::env::var_os("UPDATE_ATTACKS").is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench").join(name);
            std::fs::write(path, &built).expect("the source folder can be written");
        } else {
            assert!(built == committed, "{name} is older than its text; see attacks.wat");
        }
    }
}
