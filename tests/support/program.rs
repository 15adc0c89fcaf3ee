//! Programs for WASI, made of a few lines of WebAssembly text: modules of preview 1, and components made of them.
//!
//! A test gives the body of `_start`. `(text "…")` stands for a pointer and a length; imports and helpers are added only
//! where the text names them. From 65536 on, memory is free.

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
use wit_component::ComponentEncoder;

use super::snippets::{Data, escape, name};

/// A program that writes what it reads.
pub(crate) const CAT: &str = "(loop $more
    (local.set $n (call $read (i32.const 0) (i32.const 65536) (i32.const 65536)))
    (if (local.get $n) (then (call $write (i32.const 1) (i32.const 65536) (local.get $n)) (br $more))))";

/// A program that writes its arguments, each with a NUL at its end.
pub(crate) const ARGUMENTS: &str = "(drop (call $args_sizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 65536) (i32.const 70000)))
    (call $write (i32.const 1) (i32.const 70000) (i32.load (i32.const 20)))";

/// A program that writes its environment, each variable with a NUL at its end.
pub(crate) const ENVIRONMENT: &str = "(drop (call $environ_sizes (i32.const 16) (i32.const 20)))
    (drop (call $environ (i32.const 65536) (i32.const 70000)))
    (call $write (i32.const 1) (i32.const 70000) (i32.load (i32.const 20)))";

/// The module, as `wasm32-wasip1` would be built.
pub(crate) fn module(body: &str) -> Vec<u8> {
    module_with(body, "")
}

/// The module, with more functions and so on.
pub(crate) fn module_with(body: &str, items: &str) -> Vec<u8> {
    let mut text = format!(
        r#"(memory (export "memory") 4)
        (func $start (export "_start") (local $n i32) (local $i i32) (local $fd i32) {body}) {items}"#
    );
    for helper in HELPERS {
        if text.contains(&format!("{} ", name(helper))) {
            text.push_str(helper);
        }
    }
    let used = |import: &&'static str| text.contains(&format!("{} ", name(import)));
    // Every program names at least one function of WASI.
    let first = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#;
    let imports: String = std::iter::once(first).chain(IMPORTS.iter().copied().filter(used)).collect();
    let mut data = Data { address: 4096, bytes: Vec::new() };
    let text = data.place_texts(&text);
    let Data { address, bytes } = data;
    let module = format!(r#"(module {imports} {text} (data (i32.const {address}) "{}"))"#, escape(&bytes));
    wat::parse_str(&module).unwrap_or_else(|error| panic!("{error}\n{module}"))
}

/// The component, as `wasm32-wasip2` would be built.
pub(crate) fn component(body: &str) -> Vec<u8> {
    let encoder = ComponentEncoder::default().validate(true).module(&module(body)).expect("the module is valid");
    let adapter = encoder.adapter("wasi_snapshot_preview1", WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER);
    adapter.expect("the adapter is valid").encode().expect("the module becomes a component")
}

/// Functions for bodies. A helper comes after those that use it.
const HELPERS: &[&str] = &[
    // Opens a file in the n-th preopened folder (3 is the first): flags are 1 create, 2 directory, 4 new only, 8 truncate.
    // Answers the descriptor, or the error with its sign changed.
    "(func $open (param $folder i32) (param $name i32) (param $size i32) (param $flags i32) (result i32) (local $error i32)
       (local.set $error (call $path_open (local.get $folder) (i32.const 1) (local.get $name) (local.get $size)
         (local.get $flags) (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 24)))
       (if (local.get $error) (then (return (i32.sub (i32.const 0) (local.get $error)))))
       (i32.load (i32.const 24)))",
    // The same for reading only: also folders, and files that cannot be written.
    "(func $look (param $folder i32) (param $name i32) (param $size i32) (param $flags i32) (result i32) (local $error i32)
       (local.set $error (call $path_open (local.get $folder) (i32.const 1) (local.get $name) (local.get $size)
         (local.get $flags) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 24)))
       (if (local.get $error) (then (return (i32.sub (i32.const 0) (local.get $error)))))
       (i32.load (i32.const 24)))",
    "(func $read (param $fd i32) (param $place i32) (param $size i32) (result i32)
       (i32.store (i32.const 0) (local.get $place)) (i32.store (i32.const 4) (local.get $size))
       (if (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
       (i32.load (i32.const 8)))",
    // Writes all of it, or traps.
    "(func $write (param $fd i32) (param $place i32) (param $size i32)
       (if (call $try_write (local.get $fd) (local.get $place) (local.get $size)) (then (unreachable))))",
    // Writes all of it and answers 0, or the error.
    "(func $try_write (param $fd i32) (param $place i32) (param $size i32) (result i32) (local $error i32)
       (loop $more
         (i32.store (i32.const 0) (local.get $place)) (i32.store (i32.const 4) (local.get $size))
         (local.set $error (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
         (if (local.get $error) (then (return (local.get $error))))
         (local.set $place (i32.add (local.get $place) (i32.load (i32.const 8))))
         (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 8))))
         (br_if $more (local.get $size)))
       (i32.const 0))",
];

const IMPORTS: &[&str] = &[
    r#"(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "fd_readdir" (func $read_folder (param i32 i32 i32 i64 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "path_create_directory" (func $create_folder (param i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "path_link" (func $hard_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))"#,
    r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#,
];
