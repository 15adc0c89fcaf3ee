//! Runs one call of one guest under limits, and names what went wrong.
//!
//! A job gets a fresh instance with its own memory, deadline and fuel, and only the imports the contract names.
//! Nothing is kept between calls. The engine's words (store, linker, fuel slice) stay in this folder.

mod bounded;
mod contract;
mod grants;
mod http;
mod meter;
mod pace;
mod reach;
mod run;
mod sockets;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

pub use self::bounded::OnPark;
pub use self::contract::NewUpload;
use self::contract::{Guest, bindings};
pub use self::grants::{FolderGrant, Grants, HostName, HttpGrant, Method, Scheme, TcpGrant};
pub use self::run::{Call, Limits, Report, Result as Output};
pub use self::streams::Draft;

/// Fuel between two looks at the clock: 50 to 180 microseconds of computing. Ten times less costs up to 7 %, ten
/// times more makes a cancel ten times slower.
const FUEL_SLICE: u64 = 1_000_000;
/// Core instances, memories and tables a component may consist of, per slot of the pool.
const CORE_INSTANCES_PER_SLOT: u32 = 8;
/// The most of them one component may have.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 64;
/// Memories one component may have.
const MEMORIES_PER_COMPONENT_MAX: u32 = 8;
/// Memory kept mapped in a free slot, so that the next job does not have to fault it in again.
const KEEP_RESIDENT_BYTES: usize = 64 << 20;
/// The most a guest may hand to the host in one call; also the largest result that need not be an artifact.
const CALL_BYTES_MAX: usize = 64 << 20;

/// What the engine must have room for.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Guests alive at a time, computing or waiting.
    pub guests_max: u32,
    /// The most memory any job may be granted.
    pub memory_bytes_max: u64,
}

/// The engine and everything guests may import.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<Guest>,
}

/// A plugin ready to run: compiled, checked and linked. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    plugin: bindings::PluginPre<Guest>,
}

/// Why a file is not a plugin, as a sentence for its author.
#[derive(Debug)]
pub struct NotAPlugin(pub String);

/// What a plugin says of itself; see `descriptor` in the contract.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// One sentence.
    pub summary: String,
    /// The plugin's own version.
    pub version: String,
    /// Media types of the input, most welcome first.
    pub input_media_types: Vec<String>,
    /// JSON Schema of the input, as text.
    pub input_schema: Option<String>,
    /// JSON Schema of the parameters, as text.
    pub parameter_schema: Option<String>,
    /// The usual media type of the result.
    pub output_media_type: String,
    /// JSON Schema of the result, as text.
    pub output_schema: Option<String>,
    /// One sentence about the artifacts.
    pub artifacts: String,
    /// Requests worth trying.
    pub examples: Vec<Example>,
    /// Wished time limit of one attempt.
    pub timeout: Option<Duration>,
    /// Wished memory limit.
    pub memory_bytes: Option<u64>,
    /// Wished output limit.
    pub output_bytes: Option<u64>,
}

/// A request worth trying.
#[derive(Debug, Clone, Default)]
pub struct Example {
    /// What it shows.
    pub title: String,
    /// The input, as JSON text.
    pub input: Option<String>,
    /// Names and values.
    pub parameters: Vec<(String, String)>,
}

impl Sandbox {
    /// Prepares an engine. Reserves address space for all guests at once; memory is used only by those that run.
    pub fn new(capacity: Capacity) -> wasmtime::Result<Arc<Self>> {
        let engine = Engine::new(&config(capacity))?;
        let mut linker = Linker::new(&engine);
        contract::link(&mut linker)?;
        Ok(Arc::new(Self { engine, linker }))
    }

    /// Checks and compiles a file. Takes seconds of all processors for large files.
    pub fn load(&self, bytes: &[u8]) -> Result<Program, NotAPlugin> {
        check_is_component(bytes)?;
        let component = Component::from_binary(&self.engine, bytes)
            .map_err(|error| NotAPlugin(format!("the component is not valid: {error:#}")))?;
        let linked = self.linker.instantiate_pre(&component).map_err(|error| {
            NotAPlugin(format!("the component imports something this host does not offer: {error:#}"))
        })?;
        let plugin = bindings::PluginPre::new(linked).map_err(|error| {
            NotAPlugin(format!(
                "the component is not a dropforge:job@0.1.0 plugin: {error:#}. It must export the functions `describe` and \
                 `run` of wit/0.1.0"
            ))
        })?;
        Ok(Program { plugin })
    }
}

/// Tells the usual mistakes apart before the compiler would say it in its own words.
fn check_is_component(bytes: &[u8]) -> Result<(), NotAPlugin> {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(NotAPlugin(
            "this is a core WebAssembly module, not a component. Build it for the target wasm32-wasip2 \
             (cargo build --target wasm32-wasip2), or wrap it with `wasm-tools component new`"
                .to_owned(),
        )),
        [0, b'a', b's', b'm', version, _, layer, _, ..] => Err(NotAPlugin(format!(
            "this WebAssembly file has version {version} of layer {layer}, which this host does not know. \
             Build it with current tools"
        ))),
        [] => Err(NotAPlugin("the file is empty".to_owned())),
        _ => Err(NotAPlugin("this is not a WebAssembly file: it does not begin with \\0asm".to_owned())),
    }
}

fn config(capacity: Capacity) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    let core_instances = capacity.guests_max.saturating_mul(CORE_INSTANCES_PER_SLOT);
    pool.total_component_instances(capacity.guests_max)
        .total_core_instances(core_instances)
        // Nobody's component may take the place of the others'.
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .total_memories(capacity.guests_max.saturating_mul(2))
        .total_tables(core_instances)
        .total_stacks(capacity.guests_max)
        .max_memory_size(usize::try_from(capacity.memory_bytes_max).unwrap_or(usize::MAX))
        // Without these two, every job unmaps its memory, and two threads are slower than one: the kernel
        // interrupts the other processor for each of them.
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(if PoolingAllocationConfig::is_pagemap_scan_available() { Enabled::Yes } else { Enabled::No });
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .consume_fuel(true)
        // Guests of this host are called one function at a time; the machinery for more costs a third of a small job.
        .concurrency_support(false)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable)
        // Only what the toolchains in use emit by default.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_mistakes_are_told_apart() {
        for (bytes, hint) in [
            (b"".as_slice(), "empty"),
            (b"MZ\x90\0\x03\0\0\0", "not a WebAssembly file"),
            (b"\0asm\x01\0\0\0", "wasm32-wasip2"),
            (b"\0asm\x0a\0\x01\0", "version 10"),
        ] {
            let reason = check_is_component(bytes).expect_err("not a component").0;
            assert!(reason.contains(hint), "{reason}");
        }
        assert!(check_is_component(b"\0asm\x0d\0\x01\0").is_ok());
    }
}
