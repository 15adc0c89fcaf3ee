//! Guests made of a few lines of WebAssembly text, wrapped into components of the real contract in `wit/`.
//!
//! A test gives the body of `run` (or of `describe`, or of a start function). Around it stand a memory, an allocator, a
//! valid descriptor and a few helpers, so that an attack reads as what it is:
//!
//! ```text
//! guest::run("(loop $forever (br $forever))")
//! guest::run(r#"(return (call $done (text "text/plain") (text "ok")))"#)
//! ```
//!
//! `(text "…")` stands for a pointer and a length. A body leaves its result with `return`; one that runs off its
//! end traps. Imports and helpers are added only where the text names them.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A plugin that succeeds with `ok`.
pub(crate) fn good() -> Vec<u8> {
    answering("ok")
}

/// A plugin that tries, line by line, what its input says, and answers a line for each; see `tests/guests/probe`.
pub(crate) fn probe() -> Vec<u8> {
    super::shipped("tests/guests/probe.wasm")
}

/// A plugin that succeeds with this text.
pub(crate) fn answering(text: &str) -> Vec<u8> {
    run(&format!(r#"(return (call $done (text "text/plain") (text "{text}")))"#))
}

/// A plugin that succeeds with its input, under the media type the input had.
pub(crate) fn echo() -> Vec<u8> {
    run("(call $input_type (local.get $input) (i32.const 800))
         (call $input_bytes (local.get $input) (i32.const 816))
         (if (i32.load8_u (i32.const 816)) (then (unreachable)))
         (return (call $done (i32.load (i32.const 800)) (i32.load (i32.const 804))
                             (i32.load (i32.const 824)) (i32.load (i32.const 828))))")
}

/// A plugin whose input is JSON that ends with `"ADDRESS"]`, and that answers with the blob of that address, up to 1 MiB of
/// it, or with `not found`.
pub(crate) fn blob_reader() -> Vec<u8> {
    run("(call $input_bytes (local.get $input) (i32.const 816))
         (call $read_blob (i32.sub (i32.add (i32.load (i32.const 824)) (i32.load (i32.const 828))) (i32.const 66))
                          (i32.const 64) (i32.const 840))
         (if (i32.load8_u (i32.const 840))
           (then (if (i32.ne (i32.load8_u (i32.const 848)) (i32.const 1)) (then (unreachable)))
                 (return (call $done (text \"text/plain\") (text \"not found\")))))
         (call $blocking_read (i32.load (i32.const 848)) (i64.const 1048576) (i32.const 864))
         (if (i32.load8_u (i32.const 864)) (then (unreachable)))
         (return (call $done (text \"image/png\") (i32.load (i32.const 868)) (i32.load (i32.const 872))))")
}

/// A plugin that computes until it is stopped.
pub(crate) fn endless() -> Vec<u8> {
    run("(loop $forever (br $forever))")
}

/// A plugin that waits in a host call, off the processor.
pub(crate) fn sleeping(duration: std::time::Duration) -> Vec<u8> {
    let ns = duration.as_nanos();
    run(&format!(
        r#"(call $block (call $subscribe_duration (i64.const {ns})))
           (return (call $done (text "text/plain") (text "ok")))"#
    ))
}

/// A plugin that also makes so many instances of a module with an empty memory of its own.
pub(crate) fn crowded(mut component: Vec<u8>, count: u8) -> Vec<u8> {
    // A component is a header of 8 bytes and sections: an id, a size in LEB128, and that many bytes.
    let (mut at, mut modules) = (8, 0);
    while at < component.len() {
        modules += u8::from(component[at] == 1);
        let digits = component[at + 1..].iter().take_while(|&&byte| byte >= 0x80).count() + 1;
        let size = (0..digits).fold(0, |size, n| size | usize::from(component[at + 1 + n] & 0x7f) << (7 * n));
        at += 1 + digits + size;
    }
    let module = wat::parse_str("(module (memory 0))").expect("valid");
    component.extend([1, u8::try_from(module.len()).expect("a small module")]);
    component.extend(module);
    // Core instances, each "instantiate the last module with no arguments".
    assert!(count <= 40, "longer sections have a longer size");
    component.extend([2, 1 + 3 * count, count]);
    component.extend([0, modules, 0].repeat(usize::from(count)));
    component
}

/// A good plugin with so many functions that nobody calls, each some hundred bytes of work for a compiler.
pub(crate) fn large(functions: usize) -> Vec<u8> {
    let work: String = (0..40).map(|n| format!("(local.set $x (i64.add (i64.rotl (local.get $x) (i64.const {n})) (i64.load (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 4095)))))")).collect();
    let function = |number| {
        format!("(func $filler{number} (export \"filler{number}\") (param $x i64) (result i64) {work} (local.get $x))")
    };
    let items: String = (0..functions).map(function).collect();
    Guest { items: &items, ..Guest::GOOD }.component()
}

/// A good plugin of about this size: beside what it runs it has a module of many functions, all of which have to be compiled.
pub(crate) fn huge(megabytes: usize) -> Vec<u8> {
    // Each function is a hundred times `x = x xor CONSTANT`, with a constant of its own each time.
    const STEPS: usize = 100;
    let mut constant: u128 = 0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15;
    let mut function = || {
        let mut body = vec![0];
        for _ in 0..STEPS {
            constant = constant.wrapping_mul(0xda94_2042_e4dd_58b5_da94_2042_e4dd_58b5).rotate_left(29);
            body.extend([0x20, 0, 0xfd, 12]);
            body.extend(constant.to_le_bytes());
            body.extend([0xfd, 0x51, 0x21, 0]);
        }
        body.extend([0x20, 0, 0x0b]);
        with_size(&body)
    };
    let count = (megabytes << 20) / function().len();
    let functions: Vec<u8> = (0..count).flat_map(|_| function()).collect();
    let vector = |items: &[u8]| [&leb(count), items].concat();
    let module = [
        b"\0asm\x01\0\0\0".as_slice(),
        // One type, vector to vector; functions of that type; their bodies.
        &section(1, &[1, 0x60, 1, 0x7b, 1, 0x7b]),
        &section(3, &vector(&vec![0; count])),
        &section(10, &vector(&functions)),
    ];
    // A component may have modules that it makes no use of.
    [good(), section(1, &module.concat())].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], with_size(content).as_slice()].concat()
}

fn with_size(content: &[u8]) -> Vec<u8> {
    [&leb(content.len()), content].concat()
}

/// The format's own way to write a number.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push((number % 128) as u8 | 128);
        number /= 128;
    }
    bytes.push(number as u8);
    bytes
}

/// A plugin with this body of `run`.
pub(crate) fn run(body: &str) -> Vec<u8> {
    Guest { run: body, ..Guest::GOOD }.component()
}

/// A good plugin but for this start function, which runs whenever it is instantiated.
pub(crate) fn with_start(body: &str) -> Vec<u8> {
    let items = format!("(func $start {body}) (start $start)");
    Guest { items: &items, ..Guest::GOOD }.component()
}

/// A good plugin but for this body of `describe`.
pub(crate) fn with_describe(body: &str) -> Vec<u8> {
    Guest { describe: body, ..Guest::GOOD }.component()
}

/// Everything that can be chosen.
pub(crate) struct Guest<'a> {
    /// Body of `run`; its parameters include `$attempt` and `$input`.
    pub(crate) run: &'a str,
    /// Body of `describe`.
    pub(crate) describe: &'a str,
    /// Body of `cabi_realloc`, by which the host hands over what it passes.
    pub(crate) realloc: &'a str,
    /// More functions, globals and so on.
    pub(crate) items: &'a str,
    /// Pages of 64 KiB to begin with.
    pub(crate) pages: u32,
    /// Media types of the input.
    pub(crate) reads: &'a [&'a str],
    /// JSON Schema of the input.
    pub(crate) input: Option<&'a str>,
    /// JSON Schema of the parameters.
    pub(crate) parameters: Option<&'a str>,
    /// What it exports besides, as lines of a world.
    pub(crate) exports: &'a str,
}

impl Guest<'_> {
    /// A plugin that succeeds with `ok`, to vary.
    pub(crate) const GOOD: Guest<'static> = Guest {
        run: r#"(return (call $done (text "text/plain") (text "ok")))"#,
        describe: "(return (i32.const 16))",
        realloc: BUMP,
        items: "",
        pages: 2,
        reads: &[],
        input: None,
        parameters: None,
        exports: "",
    };

    /// The component, as it would lie in the plugin folder.
    pub(crate) fn component(&self) -> Vec<u8> {
        let module = self.module_with_world();
        let encoder = ComponentEncoder::default().validate(true).module(&module).expect("the module fits the world");
        encoder.reject_legacy_names(false).encode().expect("the module becomes a component")
    }

    /// The same before it becomes a component: the core module, and in it the world that it is to be one of.
    pub(crate) fn module_with_world(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).expect("the guest's text is valid");
        let mut resolve = Resolve::default();
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.1.0");
        resolve.push_path(contract).expect("the contract is valid");
        for package in MORE_PACKAGES {
            resolve.push_str("more.wit", package).expect("the package is valid");
        }
        let package =
            resolve.push_str("guest.wit", &format!("{WORLD} {} }}", self.exports)).expect("the world is valid");
        let world = resolve.select_world(&[package], Some("guest")).expect("the world is there");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("the world can be embedded");
        module
    }

    /// The core module in text form. Its memory: the descriptor at 16, results at 512, scratch from 800, texts from 4096.
    fn module(&self) -> String {
        let mut data = Data { address: 4096, bytes: Vec::new() };
        let descriptor = self.descriptor(&mut data);
        let Guest { run, describe, realloc, items, pages, .. } = self;
        let mut text = format!(
            r#"(memory (export "memory") {pages}) (global $free (mut i32) (i32.const 65536))
            (func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32)
              (param $size i32) (result i32) (local $place i32) {realloc} (unreachable))
            (func $describe (export "describe") (result i32) {describe} (unreachable))
            (func $run (export "run") (param $id i32) (param $id_size i32) (param $kind i32) (param $kind_size i32)
              (param $attempt i32) (param $deadline i64) (param $parameters i32) (param $parameters_count i32)
              (param $arguments i32) (param $arguments_count i32) (param $results i32) (param $results_count i32)
              (param $input i32) (result i32) (local $i i32) {run} (unreachable))
            {items}"#
        );
        for helper in HELPERS {
            if text.contains(name(helper)) {
                text.push_str(helper);
            }
        }
        let imports: String = IMPORTS.iter().copied().filter(|import| text.contains(name(import))).collect();
        let text = data.place_texts(&text);
        let Data { address, bytes } = data;
        format!(
            r#"(module {imports} {text} (data (i32.const 16) "{}") (data (i32.const {address}) "{}"))"#,
            escape(&descriptor),
            escape(&bytes)
        )
    }

    /// The record `descriptor` as the canonical ABI lays it out.
    fn descriptor(&self, data: &mut Data) -> Vec<u8> {
        let media_types: Vec<u32> = self.reads.iter().flat_map(|media_type| data.text(media_type.as_bytes())).collect();
        let media_types: Vec<u8> = media_types.into_iter().flat_map(u32::to_le_bytes).collect();
        let [media_types, _] = data.text(&media_types);
        let [input, parameters] =
            [self.input, self.parameters].map(|schema| schema.map(|schema| data.text(schema.as_bytes())));
        let mut words = Vec::new();
        words.extend(data.text(b"A guest of the tests."));
        words.extend(data.text(b"1.0.0"));
        words.extend([media_types, u32::try_from(self.reads.len()).expect("a few")]);
        for [pointer, size] in [input, parameters].map(|text| text.unwrap_or_default()) {
            words.extend([u32::from(pointer > 0), pointer, size]);
        }
        words.extend(data.text(b"text/plain"));
        words.extend([0, 0, 0]); // No output schema.
        words.extend([0, 0, 0, 0]); // No word about artifacts, no examples.
        words.extend([0; 13]); // Padding, then no limits wished.
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

/// A data segment in the making.
pub(super) struct Data {
    pub(super) address: u32,
    pub(super) bytes: Vec<u8>,
}

impl Data {
    /// Adds bytes and answers where they are and how many.
    fn text(&mut self, bytes: &[u8]) -> [u32; 2] {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let pointer = self.address + u32::try_from(self.bytes.len()).expect("a few");
        self.bytes.extend_from_slice(bytes);
        [pointer, u32::try_from(bytes.len()).expect("a few")]
    }

    /// Replaces every `(text "…")` by a pointer and a length.
    pub(super) fn place_texts(&mut self, module: &str) -> String {
        let mut pieces = module.split("(text \"");
        let mut placed = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (text, rest) = piece.split_once("\")").expect("a text ends with a quote and a parenthesis");
            let [pointer, size] = self.text(text.as_bytes());
            placed.push_str(&format!("(i32.const {pointer}) (i32.const {size}){rest}"));
        }
        placed
    }
}

/// The first name in a helper or an import, which is its own.
pub(super) fn name(text: &'static str) -> &'static str {
    let start = text.find('$').expect("each has a name");
    let rest = &text[start..];
    &rest[..rest.find([' ', ')']).expect("each has more than a name")]
}

pub(super) fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// The beginning of the world; what a guest exports besides, and a brace, come after it.
const WORLD: &str = "package test:guest; world guest {
    include dropforge:job/plugin@0.1.0;
    import wasi:clocks/monotonic-clock@0.2.6;
    import wasi:cli/exit@0.2.6;
    import wasi:random/random@0.2.6;
    import wasi:cli/environment@0.2.6;
    import wasi:sockets/tcp-create-socket@0.2.6;
    import wasi:http/types@0.2.6;
    import nowhere:to-be/found@1.2.3;
";

/// As much of other packages as the guests use.
const MORE_PACKAGES: &[&str] = &[
    "package wasi:clocks@0.2.6; interface monotonic-clock {
        use wasi:io/poll@0.2.6.{pollable}; subscribe-duration: func(ns: u64) -> pollable;
    }",
    "package wasi:cli@0.2.6; interface exit { exit: func(status: result); }
     interface environment { get-environment: func() -> list<tuple<string, string>>; }",
    "package wasi:sockets@0.2.6;
     interface network {
        enum error-code { unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
          concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable,
          address-in-use, remote-unreachable, connection-refused, connection-reset, connection-aborted, datagram-too-large,
          name-unresolvable, temporary-resolver-failure, permanent-resolver-failure }
        enum ip-address-family { ipv4, ipv6 } }
     interface tcp { resource tcp-socket; }
     interface tcp-create-socket { use network.{error-code, ip-address-family}; use tcp.{tcp-socket};
        create-tcp-socket: func(family: ip-address-family) -> result<tcp-socket, error-code>; }",
    "package wasi:http@0.2.6; interface types {
        use wasi:io/streams@0.2.6.{output-stream};
        variant header-error { invalid-syntax, forbidden, immutable }
        variant method { get, head, post, put, delete, connect, options, trace, patch, other(string) }
        resource outgoing-body { write: func() -> result<output-stream>; }
        resource outgoing-request { constructor(headers: fields); body: func() -> result<outgoing-body>;
          set-method: func(method: method) -> result; set-authority: func(authority: option<string>) -> result; }
        resource fields { constructor(); append: func(name: string, value: list<u8>) -> result<_, header-error>;
          entries: func() -> list<tuple<string, list<u8>>>; clone: func() -> fields; } }",
    "package wasi:random@0.2.6; interface random { get-random-bytes: func(len: u64) -> list<u8>; }",
    "package nowhere:to-be@1.2.3; interface found { treasure: func(); }",
];

/// Never frees; a job is short.
const BUMP: &str = "(local.set $place (i32.and (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                                               (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $place) (local.get $size)))
    (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
    (return (local.get $place))";

/// Functions for bodies. A helper comes after those that use it.
const HELPERS: &[&str] = &[
    // Writes an artifact. 0 if that went well, 1 if the host refused it.
    "(func $artifact (param $name i32) (param $name_size i32) (param $bytes i32) (param $size i32) (result i32)
       (call $open_artifact (local.get $name) (local.get $name_size) (text \"text/plain\") (i32.const 832))
       (if (i32.load8_u (i32.const 832)) (then (return (i32.const 1))))
       (call $write (i32.load (i32.const 836)) (local.get $bytes) (local.get $size) (i32.const 848))
       (call $drop_stream (i32.load (i32.const 836)))
       (i32.load8_u (i32.const 848)))",
    // ok(done(media type, bytes))
    "(func $done (param $type i32) (param $type_size i32) (param $bytes i32) (param $size i32) (result i32)
       (i32.store (i32.const 512) (i32.const 0)) (i32.store (i32.const 520) (i32.const 0))
       (i32.store (i32.const 524) (local.get $type)) (i32.store (i32.const 528) (local.get $type_size))
       (i32.store (i32.const 532) (i32.const 0))
       (i32.store (i32.const 536) (local.get $bytes)) (i32.store (i32.const 540) (local.get $size))
       (i32.const 512))",
    // err(invalid-input, permanent or transient: 0, 1, 2), without advice when to try again.
    "(func $fail (param $case i32) (param $message i32) (param $size i32) (result i32)
       (i32.store (i32.const 512) (i32.const 1)) (i32.store (i32.const 520) (local.get $case))
       (i32.store (i32.const 528) (local.get $message)) (i32.store (i32.const 532) (local.get $size))
       (i32.store (i32.const 536) (i32.const 0))
       (i32.const 512))",
];

const IMPORTS: &[&str] = &[
    r#"(import "dropforge:job/host@0.1.0" "progress" (func $progress (param f64 i32 i32)))"#,
    r#"(import "dropforge:job/host@0.1.0" "log" (func $log (param i32 i32 i32)))"#,
    r#"(import "dropforge:job/host@0.1.0" "open-artifact" (func $open_artifact (param i32 i32 i32 i32 i32)))"#,
    r#"(import "dropforge:job/host@0.1.0" "load-checkpoint" (func $load_checkpoint (param i32)))"#,
    r#"(import "dropforge:job/host@0.1.0" "save-checkpoint" (func $save_checkpoint (param i32 i32 i32)))"#,
    r#"(import "dropforge:job/host@0.1.0" "read-blob" (func $read_blob (param i32 i32 i32)))"#,
    r#"(import "dropforge:job/host@0.1.0" "submit-child" (func $submit_child (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#,
    r#"(import "dropforge:job/types@0.1.0" "[method]input.media-type" (func $input_type (param i32 i32)))"#,
    r#"(import "dropforge:job/types@0.1.0" "[method]input.bytes" (func $input_bytes (param i32 i32)))"#,
    r#"(import "dropforge:job/types@0.1.0" "[method]input.stream" (func $input_stream (param i32 i32)))"#,
    r#"(import "dropforge:job/types@0.1.0" "[resource-drop]input" (func $drop_input (param i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[method]output-stream.check-write" (func $check_write (param i32 i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[method]output-stream.write-zeroes" (func $write_zeroes (param i32 i64 i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-splice" (func $blocking_splice (param i32 i32 i64 i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-flush" (func $blocking_flush (param i32 i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[method]input-stream.blocking-read" (func $blocking_read (param i32 i64 i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[method]input-stream.subscribe" (func $subscribe_input (param i32) (result i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[resource-drop]input-stream" (func $drop_input_stream (param i32)))"#,
    r#"(import "wasi:io/streams@0.2.6" "[resource-drop]output-stream" (func $drop_stream (param i32)))"#,
    r#"(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))"#,
    r#"(import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))"#,
    r#"(import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop_pollable (param i32)))"#,
    r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe_duration (param i64) (result i32)))"#,
    r#"(import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))"#,
    r#"(import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))"#,
    r#"(import "wasi:cli/environment@0.2.6" "get-environment" (func $environment (param i32)))"#,
    r#"(import "wasi:sockets/tcp-create-socket@0.2.6" "create-tcp-socket" (func $create_socket (param i32 i32)))"#,
    r#"(import "wasi:sockets/tcp@0.2.6" "[resource-drop]tcp-socket" (func $drop_socket (param i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[constructor]fields" (func $new_fields (result i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[method]fields.entries" (func $entries (param i32 i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[method]fields.clone" (func $clone_fields (param i32) (result i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[resource-drop]fields" (func $drop_fields (param i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[constructor]outgoing-request" (func $new_request (param i32) (result i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[method]outgoing-request.body" (func $request_body (param i32 i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[method]outgoing-request.set-method" (func $set_method (param i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[method]outgoing-request.set-authority" (func $set_authority (param i32 i32 i32 i32) (result i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[resource-drop]outgoing-request" (func $drop_request (param i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[method]outgoing-body.write" (func $body_stream (param i32 i32)))"#,
    r#"(import "wasi:http/types@0.2.6" "[resource-drop]outgoing-body" (func $drop_body (param i32)))"#,
    r#"(import "[export]things" "[resource-new]thing" (func $new_thing (param i32) (result i32)))"#,
    r#"(import "[export]things" "[resource-drop]thing" (func $drop_thing (param i32)))"#,
    r#"(import "nowhere:to-be/found@1.2.3" "treasure" (func $treasure))"#,
];
