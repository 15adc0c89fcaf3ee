//! Runs one call of one guest under limits, and names what went wrong.
//!
//! A job gets a fresh instance with its own memory, deadline and fuel, and only the imports the contract names.
//! Nothing is kept between calls. The engine's words (store, linker, fuel slice) stay in this folder.

mod adapt;
mod backtrace;
mod bounded;
mod checkpoints;
mod command;
mod compiled;
mod contract;
mod describe;
mod doctor;
mod files;
mod folders;
mod grants;
mod held;
mod http;
mod meter;
mod outcome;
mod pace;
mod reach;
mod run;
mod scratch;
mod sockets;
mod streams;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon_core::ThreadPoolBuilder;
use serde::{Deserialize, Serialize};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi::p2::bindings::CommandPre;

pub use self::bounded::{OnTurn, Stopped, Turn, blocking};
pub use self::checkpoints::{Checkpoints, SaveCheckpoint};
pub use self::command::CommandSettings;
use self::compiled::CompiledCode;
pub use self::contract::NewUpload;
use self::contract::{Guest, bindings};
pub use self::doctor::{Examination, Needs, Problem, Shape, examine};
pub use self::folders::{Absence, Folder, Folders, find_absent};
pub use self::grants::{FolderGrant, Grants, HostName, HttpGrant, Method, Scheme, TcpGrant};
pub use self::run::{Call, Limits, Report, Result as Output};
pub use self::scratch::ScratchWish;
pub use self::streams::Draft;
use crate::priority;

/// Fuel between two looks at the clock: 50 to 180 microseconds of computing. Ten times less costs up to 7 %, ten
/// times more makes a cancel ten times slower.
const FUEL_SLICE: u64 = 1_000_000;
/// Tables of one module. Toolchains that keep references of the host beside their functions make two.
const TABLES_PER_MODULE_MAX: u32 = 4;
/// Core instances one component may consist of, and tables.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 64;
/// Memories one component may have.
const MEMORIES_PER_COMPONENT_MAX: u32 = 8;
/// Memory kept mapped in a free slot, so that the next job does not have to fault it in again: as much as a small interpreter
/// writes to. Every slot that was ever in use may hold on to so much for good, and there are two for each job that may wait.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;
/// The same of a table: 8,192 elements, far more than most plugins have.
const KEEP_TABLE_RESIDENT_BYTES: usize = 64 << 10;
/// Free slots that are kept as the last job left them. What has no slot of its own, such as a heap of exceptions, takes one that was
/// never used while there are fewer of these, and each holds on to [`KEEP_RESIDENT_BYTES`] from then on.
const WARM_SLOTS_MAX: u32 = 16;
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
    compiled: Option<CompiledCode>,
    folders: Folders,
    counts_fuel: bool,
}

/// A plugin ready to run: compiled, checked and linked. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    linked: Linked,
    shape: Shape,
}

/// A component whose imports are resolved, by what is called in it.
#[derive(Clone)]
enum Linked {
    Job(bindings::PluginPre<Guest>),
    Command(CommandPre<Guest>),
}

impl Program {
    /// What the file is.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

/// Why a file is not a plugin, as a sentence for its author.
#[derive(Debug)]
pub struct NotAPlugin(pub String);

/// What a plugin says of itself; see `descriptor` in the contract.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Example {
    /// What it shows.
    pub title: String,
    /// The input, as JSON text.
    pub input: Option<String>,
    /// Names and values.
    pub parameters: Vec<(String, String)>,
}

impl Sandbox {
    /// Prepares an engine. Reserves address space for all guests at once; memory is used only by those that run. Compiled
    /// code is kept in the folder `compiled`, if there is one.
    pub fn new(capacity: Capacity, compiled: Option<PathBuf>) -> wasmtime::Result<Arc<Self>> {
        let sandbox = Self::with(&config(capacity), true)?;
        let engine = &sandbox.engine;
        let compiled = compiled.and_then(|folder| {
            let opened = CompiledCode::open(folder.clone(), engine);
            let complain = |error: &std::io::Error| {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "compiled code cannot be kept; every start compiles anew");
            };
            opened.inspect_err(complain).ok()
        });
        Ok(Arc::new(Self { compiled, ..sandbox }))
    }

    /// A sandbox in which nothing stops a guest that computes, to measure what counting fuel costs. For shipped plugins only.
    pub(crate) fn without_fuel(capacity: Capacity) -> wasmtime::Result<Self> {
        Self::with(config(capacity).consume_fuel(false), false)
    }

    fn with(config: &Config, counts_fuel: bool) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        contract::link(&mut linker)?;
        Ok(Self { engine, linker, compiled: None, folders: Folders::default(), counts_fuel })
    }

    /// Checks a file, compiles it and asks it what it is; or finds all that from an earlier time. `digest` is the file's
    /// SHA-256. Takes seconds for large files, on this thread and on as many more as there are processors, all of them behind
    /// everything else the host does. `compiled` hears how long the compiler took, if it was needed.
    pub async fn load(
        &self,
        bytes: &[u8],
        digest: &str,
        new_upload: NewUpload,
        compiled: &dyn Fn(Duration),
    ) -> Result<(Program, Description), NotAPlugin> {
        if let Some((component, about)) = self.compiled.as_ref().and_then(|kept| kept.get(&self.engine, digest)) {
            return Ok((self.link(&component, shape_of(bytes, &component))?, about));
        }
        if let Some(reason) = examine(bytes).reason() {
            return Err(NotAPlugin(reason));
        }
        let started = Instant::now();
        let component = if is_module(bytes) {
            self.compile(&adapt::adapt(bytes, doctor::wanted_of(bytes))?)?
        } else {
            self.compile(bytes)?
        };
        compiled(started.elapsed());
        let program = self.link(&component, shape_of(bytes, &component))?;
        let about = match &program.linked {
            Linked::Job(plugin) => self.describe(plugin, new_upload).await?,
            // There is nobody to ask, and to run it would be to do its work.
            Linked::Command(_) => command::description(),
        };
        if let Some(Err(error)) = self.compiled.as_ref().map(|kept| kept.put(digest, &component, &about)) {
            tracing::warn!(plugin.digest = digest, %error, "compiled code could not be kept; the next start compiles anew");
        }
        Ok((program, about))
    }

    /// The folders that are granted to its guests.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Removes the compiled code of files that are not `used`. Not to be called while files are loaded.
    pub fn forget_compiled(&self, used: impl Fn(&str) -> bool) {
        if let Some(Err(error)) = self.compiled.as_ref().map(|kept| kept.sweep(used)) {
            tracing::warn!(%error, "compiled code that nobody uses could not be removed");
        }
    }

    fn compile(&self, bytes: &[u8]) -> Result<Component, NotAPlugin> {
        // Threads of its own: in a pool shared by all, a small file would wait for the large ones before it.
        let threads =
            ThreadPoolBuilder::new().thread_name(|_| "compile".to_owned()).start_handler(|_| priority::lowest());
        let threads = threads
            .build()
            .map_err(|error| NotAPlugin(format!("the host could not start threads to compile it: {error}")))?;
        threads
            .install(|| Component::from_binary(&self.engine, bytes))
            .map_err(|error| NotAPlugin(format!("the component is not valid: {error:#}")))
    }

    fn link(&self, component: &Component, shape: Shape) -> Result<Program, NotAPlugin> {
        let linked = self.linker.instantiate_pre(component).map_err(|error| {
            NotAPlugin(format!(
                "It imports something this host does not offer: {error:#}. Build it with current tools, without what needs it"
            ))
        })?;
        let linked = match shape {
            Shape::JobComponent => bindings::PluginPre::new(linked).map(Linked::Job),
            Shape::CommandComponent | Shape::CommandModule => CommandPre::new(linked).map(Linked::Command),
        };
        let linked = linked.map_err(|error| {
            NotAPlugin(format!("It does not fit the {}: {error:#}. Build it with current tools", shape.as_str()))
        })?;
        Ok(Program { linked, shape })
    }
}

fn is_module(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(&[1, 0, 0, 0])
}

/// What a file is that could be compiled. The doctor has said the same before.
fn shape_of(bytes: &[u8], component: &Component) -> Shape {
    if component.get_export_index(None, "run").is_some() {
        Shape::JobComponent
    } else if is_module(bytes) {
        Shape::CommandModule
    } else {
        Shape::CommandComponent
    }
}

fn config(capacity: Capacity) -> Config {
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
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_TABLE_RESIDENT_BYTES)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .total_gc_heaps(capacity.guests_max)
        .pagemap_scan(if PoolingAllocationConfig::is_pagemap_scan_available() { Enabled::Yes } else { Enabled::No });
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
