//! What a component imports and exports, held against what the host offers and expects.

use super::{rejected, text};
use crate::support::{Host, guest};

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
