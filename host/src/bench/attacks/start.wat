;; A program whose start function never ends, for `dropforge bench --attacks`; see program.wat.
(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") 1)
  (func $spin (loop $forever (br $forever)))
  (start $spin)
  (func (export "_start") (drop (call $yield))))
