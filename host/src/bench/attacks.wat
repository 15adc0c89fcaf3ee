;; The attacks of `dropforge bench --attacks`. A letter, the first byte of the job's input, chooses one: small letters never end
;; by themselves, capital letters end at once.
;;
;; attacks.wasm beside this file is made from it: `UPDATE_ATTACKS=1 cargo test attacks_are_built_from_their_text`.
(module
  (import "dropforge:job/host@0.1.0" "progress" (func $progress (param f64 i32 i32)))
  (import "dropforge:job/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "dropforge:job/host@0.1.0" "open-artifact" (func $open_artifact (param i32 i32 i32 i32 i32)))
  (import "dropforge:job/host@0.1.0" "submit-child"
    (func $submit_child (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "dropforge:job/host@0.1.0" "save-checkpoint" (func $save_checkpoint (param i32 i32 i32)))
  (import "dropforge:job/types@0.1.0" "[method]input.bytes" (func $input_bytes (param i32 i32)))
  (import "dropforge:job/types@0.1.0" "[method]input.stream" (func $input_stream (param i32 i32)))
  (import "wasi:io/streams@0.2.6" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-flush" (func $blocking_flush (param i32 i32)))
  (import "wasi:io/streams@0.2.6" "[method]input-stream.blocking-read" (func $blocking_read (param i32 i64 i32)))
  (import "wasi:io/streams@0.2.6" "[resource-drop]input-stream" (func $drop_input_stream (param i32)))
  (import "wasi:io/streams@0.2.6" "[resource-drop]output-stream" (func $drop_output_stream (param i32)))
  (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))
  (import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop_pollable (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe_duration (param i64) (result i32)))
  (import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))
  (import "[export]things" "[resource-new]thing" (func $new_thing (param i32) (result i32)))
  (import "[export]things" "[resource-drop]thing" (func $drop_thing (param i32)))

  (memory (export "memory") 40)
  (table $table 15000 funcref)
  (elem declare func $nothing)
  (tag $oops (param i64))
  (tag $chain (param exnref))
  (global $spins_in_allocator (mut i32) (i32.const 0))
  (global $spins_after (mut i32) (i32.const 0))
  ;; Texts, and a descriptor that names them: a summary, a version, and an output of text/plain.
  (data (i32.const 1024) "Attacks, by letter.")
  (data (i32.const 1056) "1.0.0")
  (data (i32.const 1072) "text/plain")
  (data (i32.const 16) "\00\04\00\00\13\00\00\00\20\04\00\00\05\00\00\00")
  (data (i32.const 64) "\30\04\00\00\0a\00\00\00")

  (func (export "describe") (result i32) (i32.const 16))
  ;; The same place again and again, so that no attack ends for want of memory.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (if (global.get $spins_in_allocator) (then (call $spin)))
    (i32.const 65536))
  (func (export "cabi_post_run") (param i32) (if (global.get $spins_after) (then (call $spin))))
  (func (export "things#[dtor]thing") (param i32) (call $spin))

  (func (export "run")
    (param i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (param $input i32) (result i32) (local $letter i32)
    (call $input_bytes (local.get $input) (i32.const 832))
    (local.set $letter (i32.load8_u (i32.load (i32.const 840))))
    (if (i32.eq (local.get $letter) (i32.const 97 (;a;))) (then (call $spin)))
    (if (i32.eq (local.get $letter) (i32.const 98 (;b;))) (then
      (global.set $spins_in_allocator (i32.const 1)) (call $input_bytes (local.get $input) (i32.const 832))))
    (if (i32.eq (local.get $letter) (i32.const 99 (;c;))) (then
      (global.set $spins_after (i32.const 1)) (return (call $done (i32.const 0) (i32.const 0)))))
    (if (i32.eq (local.get $letter) (i32.const 100 (;d;))) (then (call $drop_thing (call $new_thing (i32.const 1)))))
    (if (i32.eq (local.get $letter) (i32.const 101 (;e;))) (then (drop (call $fibonacci (i32.const 90)))))
    (if (i32.eq (local.get $letter) (i32.const 102 (;f;))) (then (call $throw)))
    (if (i32.eq (local.get $letter) (i32.const 103 (;g;))) (then
      (loop $more (table.fill $table (i32.const 0) (ref.func $nothing) (i32.const 15000)) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 104 (;h;))) (then (call $fill (i32.const 1024))))
    (if (i32.eq (local.get $letter) (i32.const 105 (;i;))) (then (call $fill (i32.const 4096))))
    (if (i32.eq (local.get $letter) (i32.const 106 (;j;))) (then (call $fill (i32.const 8192))))
    (if (i32.eq (local.get $letter) (i32.const 107 (;k;))) (then
      (loop $more (call $progress (f64.const 0) (i32.const 131072) (i32.const 1000000)) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 108 (;l;))) (then
      (loop $more (call $log (i32.const 2) (i32.const 131072) (i32.const 1000000)) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 109 (;m;))) (then
      (loop $more (call $log (i32.const 2) (i32.const 1024) (i32.const 19)) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 110 (;n;))) (then
      (loop $more (call $input_bytes (local.get $input) (i32.const 832)) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 111 (;o;))) (then (call $streams (local.get $input))))
    (if (i32.eq (local.get $letter) (i32.const 112 (;p;))) (then
      (loop $more (call $random (i64.const 16384) (i32.const 832)) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 113 (;q;))) (then
      (loop $more
        (call $open_artifact (i32.const 131072) (i32.const 1000000) (i32.const 1072) (i32.const 10) (i32.const 832))
        (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 114 (;r;))) (then (call $flush)))
    (if (i32.eq (local.get $letter) (i32.const 115 (;s;))) (then
      (loop $more
        (call $submit_child (i32.const 1024) (i32.const 4) (i32.const 1072) (i32.const 10)
          (i32.const 131072) (i32.const 1000000) (i32.const 0) (i32.const 0) (i32.const 832))
        (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 116 (;t;))) (then
      (loop $more (call $save_checkpoint (i32.const 131072) (i32.const 1000000) (i32.const 832)) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 117 (;u;))) (then
      (call $block (call $subscribe_duration (i64.const 3600000000000)))))
    (if (i32.eq (local.get $letter) (i32.const 118 (;v;))) (then (call $nap)))
    (if (i32.eq (local.get $letter) (i32.const 119 (;w;))) (then
      (call $wait_for (i32.const 1000) (i64.const 3600000000000))))
    (if (i32.eq (local.get $letter) (i32.const 120 (;x;))) (then (call $wait_for (i32.const 4500) (i64.const 0))))
    (if (i32.eq (local.get $letter) (i32.const 121 (;y;))) (then (call $chain (i32.const 500000))))
    (if (i32.eq (local.get $letter) (i32.const 122 (;z;))) (then
      (call $leave (i32.const 3000)) (return (call $done (i32.const 0) (i32.const 0)))))

    (if (i32.eq (local.get $letter) (i32.const 66 (;B;))) (then
      (loop $more (drop (memory.grow (i32.const 16))) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 67 (;C;))) (then (call $deeper)))
    (if (i32.eq (local.get $letter) (i32.const 68 (;D;))) (then (return (call $done (i32.const -16) (i32.const 1000)))))
    (if (i32.eq (local.get $letter) (i32.const 69 (;E;))) (then (call $artifact)))
    (if (i32.eq (local.get $letter) (i32.const 70 (;F;))) (then (call $chain (i32.const -1))))
    (if (i32.eq (local.get $letter) (i32.const 71 (;G;))) (then
      (loop $more (drop (table.grow $table (ref.null func) (i32.const 1000))) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 72 (;H;))) (then
      (loop $more (drop (call $subscribe_duration (i64.const 1))) (br $more))))
    (if (i32.eq (local.get $letter) (i32.const 73 (;I;))) (then
      (memory.fill (i32.const 131072) (i32.const 120) (i32.const 2000000))
      (call $log (i32.const 2) (i32.const 131072) (i32.const 1000000))
      (call $progress (f64.const 0.5) (i32.const 131072) (i32.const 1000000))
      (return (call $fail (i32.const 131072) (i32.const 2000000)))))
    ;; A, and whatever else.
    (unreachable))

  (func $spin (loop $forever (br $forever)))
  (func $nothing)
  (func $deeper (call $deeper) (call $deeper))
  (func $fibonacci (param $n i32) (result i64)
    (if (i32.lt_u (local.get $n) (i32.const 2)) (then (return (i64.const 1))))
    (i64.add (call $fibonacci (i32.sub (local.get $n) (i32.const 1))) (call $fibonacci (i32.sub (local.get $n) (i32.const 2)))))
  (func $throw (loop $more (block $caught (try_table (catch_all $caught) (throw $oops (i64.const 1)))) (br $more)))
  ;; Each caught exception holds the one before, and the last one stays while others come and go.
  (func $chain (param $count i32) (local $held exnref)
    (loop $more
      (local.set $held (block $caught (result exnref)
        (try_table (catch_all_ref $caught) (throw $chain (local.get $held))) (unreachable)))
      (br_if $more (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
    (loop $more
      (block $caught (try_table (catch_all $caught) (throw $oops (i64.const 1))))
      (br_if $more (i32.eqz (ref.is_null (local.get $held))))))
  (func $fill (param $pages i32)
    (drop (memory.grow (i32.sub (local.get $pages) (memory.size))))
    (loop $more
      (memory.fill (i32.const 0) (i32.const 1) (i32.mul (local.get $pages) (i32.const 65536))) (br $more)))
  (func $streams (param $input i32)
    (loop $more
      (call $input_stream (local.get $input) (i32.const 832))
      (call $blocking_read (i32.load (i32.const 840)) (i64.const 1000000) (i32.const 864))
      (call $drop_input_stream (i32.load (i32.const 840)))
      (br $more)))
  (func $open (call $open_artifact (i32.const 1024) (i32.const 7) (i32.const 1072) (i32.const 10) (i32.const 832)))
  (func $artifact
    (call $open)
    (loop $more (call $write (i32.load (i32.const 836)) (i32.const 131072) (i32.const 65536) (i32.const 864)) (br $more)))
  ;; So many artifacts of 300 bytes. Each but the first of them becomes a file of its own when they are kept.
  (func $leave (param $count i32)
    (loop $more
      (i32.store (i32.const 2048) (i32.add (i32.const 0x61616161) (i32.or
        (i32.or (i32.and (local.get $count) (i32.const 0xf))
                (i32.and (i32.shl (local.get $count) (i32.const 4)) (i32.const 0xf00)))
        (i32.and (i32.shl (local.get $count) (i32.const 8)) (i32.const 0xf0000)))))
      (call $open_artifact (i32.const 2048) (i32.const 4) (i32.const 1072) (i32.const 10) (i32.const 832))
      (call $write (i32.load (i32.const 836)) (i32.const 131072) (i32.const 300) (i32.const 864))
      (call $drop_output_stream (i32.load (i32.const 836)))
      (br_if $more (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
  (func $flush
    (call $open)
    (loop $more (call $blocking_flush (i32.load (i32.const 836)) (i32.const 864)) (br $more)))
  (func $nap (local $nap i32)
    (loop $more
      (local.set $nap (call $subscribe_duration (i64.const 1000000)))
      (call $block (local.get $nap)) (call $drop_pollable (local.get $nap))
      (br $more)))
  (func $wait_for (param $count i32) (param $ns i64) (local $i i32)
    (loop $more
      (i32.store offset=262144 (i32.shl (local.get $i) (i32.const 2)) (call $subscribe_duration (local.get $ns)))
      (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count))))
    (loop $again (call $poll (i32.const 262144) (local.get $count) (i32.const 832)) (br $again)))
  ;; ok(done(text/plain, bytes))
  (func $done (param $bytes i32) (param $size i32) (result i32)
    (i32.store (i32.const 512) (i32.const 0)) (i32.store (i32.const 520) (i32.const 0))
    (i32.store (i32.const 524) (i32.const 1072)) (i32.store (i32.const 528) (i32.const 10))
    (i32.store (i32.const 532) (i32.const 0))
    (i32.store (i32.const 536) (local.get $bytes)) (i32.store (i32.const 540) (local.get $size))
    (i32.const 512))
  ;; err(permanent(message))
  (func $fail (param $message i32) (param $size i32) (result i32)
    (i32.store (i32.const 512) (i32.const 1)) (i32.store (i32.const 520) (i32.const 1))
    (i32.store (i32.const 528) (local.get $message)) (i32.store (i32.const 532) (local.get $size))
    (i32.const 512)))
