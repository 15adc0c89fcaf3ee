;; A plugin whose jobs wait for a second, in one call of the host, and then succeed with nothing. It is as small as plugins get, so
;; that a thousand of them at once measure the host.
;;
;; waiting.wasm beside this file is made from it: `UPDATE_ATTACKS=1 cargo test attacks_are_built_from_their_text`.
(module
  (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe_duration (param i64) (result i32)))

  (memory (export "memory") 2)
  ;; A descriptor and the texts it names: a summary, a version, and an output of text/plain.
  (data (i32.const 1024) "Waits for a second.")
  (data (i32.const 1056) "1.0.0")
  (data (i32.const 1072) "text/plain")
  (data (i32.const 16) "\00\04\00\00\13\00\00\00\20\04\00\00\05\00\00\00")
  (data (i32.const 64) "\30\04\00\00\0a\00\00\00")

  (func (export "describe") (result i32) (i32.const 16))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))

  (func (export "run") (param i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $block (call $subscribe_duration (i64.const 1000000000)))
    ;; ok(done(text/plain, bytes)), of which there are none.
    (i32.store (i32.const 520) (i32.const 0))
    (i32.store (i32.const 524) (i32.const 1072)) (i32.store (i32.const 528) (i32.const 10))
    (i32.store (i32.const 532) (i32.const 0))
    (i32.const 512)))
