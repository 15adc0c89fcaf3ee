//! The host's side of the plugin contract in `wit/`: what a guest is made of, and what it may hold. What its calls do stands in `calls`.

mod calls;
mod names;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use self::bindings::dropforge::job::{host, types};
pub(super) use self::names::{check_artifact_name, checked_media_type};
use super::checkpoints::Checkpoints;
use super::command::{Stdin, Stdout};
use super::files::{self, Open, Out};
use super::grants::Grants;
use super::held::{self, FIELDS_BYTES_MAX};
use super::http::Requests;
use super::meter::{MemoryLimiter, Meter};
use super::pace::Pace;
use super::reach::{CONNECTIONS_MAX, Denials, Traffic};
use super::run::Limits;
use super::sockets::{self, Sockets};
use super::streams::{ContentStream, Log, SharedDraft};
use crate::running::Running;
use crate::store::{Content, ContentReader, Payload, Scratch, Upload};

/// Handles a guest may hold at a time: streams, pollables, inputs.
pub(super) const HANDLES_MAX: usize = 10_000;
/// Streams of the host a guest may hold at a time: each may be an open file.
const OPEN_STREAMS_MAX: usize = 256;
/// Random bytes per call.
const RANDOM_BYTES_MAX: u64 = 4 << 20;

pub(super) mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "plugin",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "dropforge:job/types.input": crate::store::Payload,
        },
    });
}

/// Opens a new upload for an artifact.
pub type NewUpload = Arc<dyn Fn() -> Upload + Send + Sync>;

/// Everything one instance can reach.
pub(super) struct Guest {
    wasi: WasiCtx,
    pub(super) handles: ResourceTable,
    grants: Arc<Grants>,
    http: WasiHttpCtx,
    /// Whether it has called anything of HTTP since what it holds of that was counted.
    pub(super) http_used: bool,
    requests: Requests,
    pub(super) denials: Arc<Denials>,
    pub(super) sockets: Sockets,
    pub(super) memory: MemoryLimiter,
    pub(super) meter: Arc<Meter>,
    pub(super) log: Log,
    pub(super) drafts: Vec<SharedDraft>,
    names: HashSet<String>,
    blobs: HashMap<[u8; 32], Content>,
    pub(super) running: Arc<Running>,
    new_upload: NewUpload,
    checkpoints: Checkpoints,
    pub(super) pace: Pace,
    pub(super) open_streams: Arc<()>,
    /// After the handles, as it has to go after them.
    pub(super) open: Open,
    pub(super) out: Option<Out>,
    pub(super) stdout: Option<Stdout>,
}

/// What a command is given to begin with.
pub(super) struct CommandStart {
    pub(super) input: ContentReader,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// Its folders and the quota of the second one, if it is given any.
    pub(super) scratch: Option<(Arc<Scratch>, u64)>,
}

impl Guest {
    /// A guest with clocks, random numbers, a log, and what it was granted, of which folders are `open` already; a command also with
    /// what it begins with. Fails if its folder `/out` cannot be opened.
    pub(super) fn new(
        limits: &Limits,
        grants: &Arc<Grants>,
        running: Arc<Running>,
        new_upload: NewUpload,
        checkpoints: Checkpoints,
        open: Open,
        command: Option<CommandStart>,
    ) -> wasmtime::Result<Self> {
        let log = Log::new(Arc::clone(&running));
        let meter = Arc::new(Meter::new(limits.output_bytes));
        let open_streams = Arc::default();
        let mut wasi = WasiCtx::builder();
        wasi.stdout(log.clone()).stderr(log.clone());
        let scratch = command.as_ref().and_then(|start| start.scratch.clone());
        let stdout = command.map(|start| {
            let stdout = Stdout::new(new_upload(), Arc::clone(&meter), Arc::clone(&running));
            let (running, open) = (Arc::clone(&running), Arc::clone(&open_streams));
            let input = ContentStream { reader: start.input, meter: Arc::clone(&meter), running, _open: open };
            wasi.stdin(Stdin::new(input));
            wasi.stdout(stdout.clone()).args(&start.arguments).envs(&start.environment);
            stdout
        });
        wasi.max_random_size(RANDOM_BYTES_MAX);
        let denials = Arc::new(Denials::new(log.clone(), &grants.settings_file));
        let traffic = Arc::new(Traffic::new(grants.network_bytes, Arc::clone(&denials)));
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let sockets =
            Sockets::new(Arc::clone(grants), Arc::clone(&denials), Arc::clone(&traffic), Arc::clone(&connections));
        sockets.guard(&mut wasi);
        for (name, value) in &grants.environment {
            wasi.env(name, value);
        }
        let out = match scratch {
            Some((scratch, bytes_max)) => {
                // What is opened in it is used on the thread that asks for it.
                wasi.allow_blocking_current_thread(true);
                wasi.preopened_dir(scratch.output(), "/out", FsPerms::ReadWrite).context("the folder /out")?;
                Some(Out::new(bytes_max, scratch.room()))
            }
            None => None,
        };
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(HANDLES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        Ok(Self {
            http,
            http_used: false,
            requests: Requests::new(Arc::clone(grants), Arc::clone(&denials), traffic, connections),
            denials,
            sockets,
            wasi: wasi.build(),
            handles,
            grants: Arc::clone(grants),
            memory: MemoryLimiter::new(limits.memory_bytes),
            meter,
            log,
            drafts: Vec::new(),
            names: HashSet::new(),
            blobs: HashMap::new(),
            running,
            new_upload,
            checkpoints,
            pace: Pace::default(),
            open_streams,
            open,
            out,
            stdout,
        })
    }

    /// Whether the guest holds as many streams of the host as it may.
    pub(super) fn has_too_many_streams(&self) -> bool {
        Arc::strong_count(&self.open_streams) > OPEN_STREAMS_MAX
    }

    /// Lets the trace of the submit go on in requests that it sends, below this span.
    pub(super) fn go_on_with(&mut self, traceparent: &str, span: u64) {
        self.requests.go_on_with(traceparent, span);
    }

    /// Lets the guest read these blobs, and no others.
    pub(super) fn allow_blobs(&mut self, blobs: Vec<Content>) {
        self.blobs = blobs.into_iter().map(|blob| (blob.sha256(), blob)).collect();
    }

    /// Where its next output goes.
    pub(super) fn upload(&self) -> Upload {
        (self.new_upload)()
    }

    /// Whether it has written an artifact of that name.
    pub(super) fn has_artifact(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Hands the guest its input.
    pub(super) fn push_input(&mut self, input: Payload) -> wasmtime::Result<Resource<Payload>> {
        Ok(self.handles.push(input)?)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.handles }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http_used = true;
        WasiHttpCtxView { hooks: &mut self.requests, table: &mut self.handles, ctx: &mut self.http }
    }
}

/// Links everything the world names, and nothing else.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Also where nothing is granted: a guest that can send requests loads, and is told no when it tries.
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    sockets::link(linker)?;
    types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    host::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    files::link(linker)?;
    held::link(linker)?;
    Ok(())
}
