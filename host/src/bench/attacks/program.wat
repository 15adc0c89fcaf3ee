;; The attacks of `dropforge bench --attacks` that take a program with folders: a granted one (3), /in (4) and /out (5). A letter, the
;; first byte of standard input, chooses one. None ends by itself.
;;
;; program.wasm beside this file is made from it: `UPDATE_ATTACKS=1 cargo test attacks_are_built_from_their_text`.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))

  (memory (export "memory") 4)
  (data (i32.const 1024) "file")

  (func (export "_start") (local $letter i32)
    (call $piece (i32.const 2048) (i32.const 1))
    (call $ok (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $letter (i32.load8_u (i32.const 2048)))
    (if (i32.eq (local.get $letter) (i32.const 97 (;a;))) (then (call $fill)))
    (if (i32.eq (local.get $letter) (i32.const 98 (;b;))) (then (call $make_and_remove)))
    (if (i32.eq (local.get $letter) (i32.const 99 (;c;))) (then (call $read_granted)))
    (unreachable))

  (func $ok (param $error i32) (if (local.get $error) (then (unreachable))))
  ;; What is read or written next.
  (func $piece (param $place i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $place)) (i32.store (i32.const 4) (local.get $size)))
  (func $open (param $folder i32) (param $flags i32) (param $rights i64) (result i32)
    (call $ok (call $path_open (local.get $folder) (i32.const 1) (i32.const 1024) (i32.const 4) (local.get $flags)
      (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 16)))
    (i32.load (i32.const 16)))
  (func $create (result i32) (call $open (i32.const 5) (i32.const 1) (i64.const 0x1fffffff)))
  (func $write (param $file i32)
    (call $piece (i32.const 65536) (i32.const 65536))
    (call $ok (call $fd_write (local.get $file) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $fill (local $file i32) (local $i i32)
    (local.set $file (call $create))
    (loop $again
      (local.set $i (i32.const 0))
      (loop $more
        (call $write (local.get $file))
        (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 500))))
      (call $ok (call $set_size (local.get $file) (i64.const 0)))
      (call $ok (call $fd_close (local.get $file)))
      (local.set $file (call $create))
      (br $again)))
  (func $make_and_remove (local $file i32)
    (loop $more
      (local.set $file (call $create))
      (call $write (local.get $file))
      (call $ok (call $fd_close (local.get $file)))
      (call $ok (call $unlink (i32.const 5) (i32.const 1024) (i32.const 4)))
      (br $more)))
  (func $read_granted (local $file i32)
    (loop $again
      (local.set $file (call $open (i32.const 3) (i32.const 0) (i64.const 2)))
      (loop $more
        (call $piece (i32.const 65536) (i32.const 65536))
        (call $ok (call $fd_read (local.get $file) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br_if $more (i32.load (i32.const 8))))
      (call $ok (call $fd_close (local.get $file)))
      (br $again))))
