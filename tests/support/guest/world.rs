//! The world that guests are of, and what their bodies can name of it: imports, and helpers that save a body the memory layout
//! of what it passes.

/// The beginning of the world; what a guest exports besides, and a brace, come after it.
pub(super) const WORLD: &str = "package test:guest; world guest {
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
pub(super) const MORE_PACKAGES: &[&str] = &[
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
pub(super) const BUMP: &str =
    "(local.set $place (i32.and (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                                               (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $place) (local.get $size)))
    (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
    (return (local.get $place))";

/// Functions for bodies. A helper comes after those that use it.
pub(super) const HELPERS: &[&str] = &[
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

pub(super) const IMPORTS: &[&str] = &[
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
