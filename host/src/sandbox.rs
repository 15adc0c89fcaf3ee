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
pub mod compiler;
mod contract;
mod describe;
mod doctor;
mod engine;
mod files;
mod folders;
mod gaps;
mod grants;
mod held;
mod http;
mod last_words;
mod merge;
mod meter;
mod outcome;
mod pace;
mod reach;
mod run;
mod scratch;
mod sockets;
mod stopwatch;
mod streams;
mod swap;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wasmtime_wasi::p2::bindings::CommandPre;

pub use self::bounded::{OnTurn, Stopped, Turn, blocking};
pub use self::checkpoints::{Checkpoints, SaveCheckpoint};
pub use self::command::CommandSettings;
use self::compiled::CompiledCode;
use self::compiler::Compiler;
pub use self::contract::NewUpload;
use self::contract::{Guest, bindings};
pub use self::doctor::{Examination, Needs, Problem, Shape, examine};
pub use self::engine::Capacity;
use self::engine::{asks_kernel, config, is_slowed_by_swap};
pub use self::folders::{Absence, Folder, Folders, LOOK_MAX, find_absent};
use self::gaps::Gaps;
pub use self::grants::{FolderGrant, Grants, HostName, HttpGrant, Method, Scheme, TcpGrant};
pub use self::run::{Call, Limits, Report, Result as Output};
pub use self::scratch::ScratchWish;
pub use self::streams::Draft;

/// Fuel between two looks at the clock: 100 to 360 microseconds of computing. Half as much costs 1 %, a twentieth up to 7 %;
/// a cancel of a guest that computes waits for half of it.
const FUEL_SLICE: u64 = 2_000_000;
/// The most a guest may hand to the host in one call; also the largest result that need not be an artifact.
const CALL_BYTES_MAX: usize = 64 << 20;

/// The engine and everything guests may import.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<Guest>,
    compiled: Option<CompiledCode>,
    folders: Folders,
    counts_fuel: bool,
    compiler: Compiler,
    gaps: Gaps,
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
        Self::with_code(capacity, compiled, Compiler::Here { behind: true })
    }

    /// The same for somebody who waits for one file: there is nothing that its compiler has to stand behind.
    pub fn in_foreground(capacity: Capacity, compiled: Option<PathBuf>) -> wasmtime::Result<Arc<Self>> {
        Self::with_code(capacity, compiled, Compiler::Here { behind: false })
    }

    /// The same for a host, which no compiler may harm. Only for a program that answers to [`compiler::COMMAND`].
    pub fn of_host(capacity: Capacity, compiled: PathBuf) -> wasmtime::Result<Arc<Self>> {
        if is_slowed_by_swap() {
            tracing::info!(
                "there is swap, so guests' memory is reset in a slower way; without any for this host small jobs are quicker"
            );
        }
        Self::with_code(capacity, Some(compiled), Compiler::Apart(capacity))
    }

    fn with_code(capacity: Capacity, compiled: Option<PathBuf>, compiler: Compiler) -> wasmtime::Result<Arc<Self>> {
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
        Ok(Arc::new(Self { compiled, compiler, ..sandbox }))
    }

    /// A sandbox in which nothing stops a guest that computes, to measure what counting fuel costs. For shipped plugins only.
    pub(crate) fn without_fuel(capacity: Capacity) -> wasmtime::Result<Self> {
        Self::with(config(capacity).consume_fuel(false), false)
    }

    fn with(config: &Config, counts_fuel: bool) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        contract::link(&mut linker)?;
        let compiler = Compiler::Here { behind: true };
        let (folders, gaps) = (Folders::default(), Gaps::new(asks_kernel()));
        Ok(Self { engine, linker, compiled: None, folders, counts_fuel, compiler, gaps })
    }

    /// Checks a file, compiles it and asks it what it is; or finds all that from an earlier time. `digest` is the file's
    /// SHA-256. Takes seconds for large files; blocks meanwhile. `compiled` hears how long the compiler took, if it was needed.
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
            self.compiler.compile(&self.engine, &adapt::adapt(bytes, doctor::wanted_of(bytes))?)?
        } else {
            self.compiler.compile(&self.engine, bytes)?
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

    /// Keeps compiled code of the newest files alone, this one among them: so many, and so many bytes.
    pub fn keep_compiled(&self, digest: &str, files_max: usize, bytes_max: u64) {
        if let Some(Err(error)) = self.compiled.as_ref().map(|kept| kept.keep_newest(digest, files_max, bytes_max)) {
            tracing::warn!(%error, "older compiled code could not be removed");
        }
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
        self.gaps.look_soon();
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
