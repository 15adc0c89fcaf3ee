//! How the engine is set up: what it makes room for, and what of WebAssembly it takes.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::{backtrace, meter, swap};

/// Tables of one module. Toolchains that keep references of the host beside their functions make two.
pub(super) const TABLES_PER_MODULE_MAX: u32 = 4;
/// Core instances one component may consist of, and tables.
pub(super) const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 64;
/// Memories one component may have.
const MEMORIES_PER_COMPONENT_MAX: u32 = 8;
/// Memory kept mapped in a free slot, so that the next job does not have to fault it in again: as much as a small interpreter
/// writes to. Every slot that was ever in use may hold on to so much for good, and there are two for each job that may wait.
/// Eight times as much takes 5 % off a PDF, and lets twenty jobs of 60 MB leave 700 MB behind.
pub(super) const KEEP_RESIDENT_BYTES: usize = 4 << 20;
/// The same where the kernel is not asked what was written: all of it is written anew for each job.
const REWRITTEN_BYTES: usize = 256 << 10;
/// The same of a table: 8,192 elements, far more than most plugins have.
const KEEP_TABLE_RESIDENT_BYTES: usize = 64 << 10;
/// Free slots that are kept as the last job left them. What has no slot of its own, such as a heap of exceptions, takes one that was
/// never used while there are fewer of these, and each holds on to [`KEEP_RESIDENT_BYTES`] from then on.
pub(super) const WARM_SLOTS_MAX: u32 = 16;

/// What the engine must have room for.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Guests alive at a time, computing or waiting.
    pub guests_max: u32,
    /// The most memory any job may be granted.
    pub memory_bytes_max: u64,
}

/// Whether memory is reset in a slower way because of swap alone: what the kernel does not tell of pages that are swapped out, another guest
/// would read.
pub(super) fn is_slowed_by_swap() -> bool {
    can_ask_kernel() && swap::is_possible()
}

/// Whether the kernel can say which pages a guest wrote.
fn can_ask_kernel() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

/// Whether the engine asks it when a guest is over.
pub(super) fn asks_kernel() -> bool {
    can_ask_kernel() && !swap::is_possible()
}

/// The same for the same capacity: code that is compiled with it runs in every engine that has it.
pub(super) fn config(capacity: Capacity) -> Config {
    let asks_kernel = asks_kernel();
    let mut pool = PoolingAllocationConfig::new();
    // As many as all guests together may have: were there fewer, some jobs of many parts would leave none to those of others.
    // Instances are no more than counted; tables, like memories, take address space alone until they are used.
    let core_instances = capacity.guests_max.saturating_mul(CORE_INSTANCES_PER_COMPONENT_MAX);
    pool.total_component_instances(capacity.guests_max)
        .total_core_instances(core_instances)
        // Nobody's component may take the place of the others'.
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_tables_per_module(TABLES_PER_MODULE_MAX)
        // One table may be all that the limiter allows to all of a job's.
        .table_elements(meter::TABLE_ELEMENTS_MAX)
        .total_memories(capacity.guests_max.saturating_mul(MEMORIES_PER_COMPONENT_MAX))
        .total_tables(core_instances)
        .total_stacks(capacity.guests_max)
        .max_memory_size(usize::try_from(capacity.memory_bytes_max).unwrap_or(usize::MAX))
        // Without these, every job unmaps its memory, and two threads are slower than one: the kernel
        // interrupts the other processor for each of them.
        .linear_memory_keep_resident(if asks_kernel { KEEP_RESIDENT_BYTES } else { REWRITTEN_BYTES })
        .table_keep_resident(KEEP_TABLE_RESIDENT_BYTES)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .total_gc_heaps(capacity.guests_max)
        .pagemap_scan(if asks_kernel { Enabled::Yes } else { Enabled::No });
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .consume_fuel(true)
        // Guests of this host are called one function at a time. The machinery for more makes a fresh small job take 12 us instead of
        // 3, and a guest that computes in slices holds up all else that it has begun: a wait of 50 ms in the background is not over
        // after 450 ms and 1600 slices. So there is no WASI 0.3 yet.
        .concurrency_support(false)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(Some(backtrace::FRAMES_MAX))
        // Exceptions are what C++ and others compile to, objects that are collected what Kotlin, Dart and others do. Both live
        // in a memory that the limiter counts like any other.
        .wasm_exceptions(true)
        .wasm_gc(true)
        // Only what toolchains emit without being asked to.
        .wasm_memory64(false)
        .wasm_multi_memory(false);
    config
}
