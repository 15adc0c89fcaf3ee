//! The host's side of the plugin contract in `wit/`: what a guest may ask for, and what it gets.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, OutputStream};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use self::bindings::dropforge::job::host::{self, ArtifactError, Checkpoint, Level};
use self::bindings::dropforge::job::types::{self, InputError, Parameter};
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
use super::streams::{ContentStream, Draft, DraftStream, Log, SharedDraft};
use crate::running::{LINE_BYTES_MAX, Running};
use crate::store::{Content, ContentReader, Payload, Scratch, Upload};

/// The largest input a guest may take in one piece.
const WHOLE_INPUT_BYTES_MAX: u64 = 1 << 20;
/// Files per attempt.
const ARTIFACTS_MAX: usize = 10_000;
/// Handles a guest may hold at a time: streams, pollables, inputs.
pub(super) const HANDLES_MAX: usize = 10_000;
/// Streams of the host a guest may hold at a time: each may be an open file.
const OPEN_STREAMS_MAX: usize = 256;
/// Random bytes per call.
const RANDOM_BYTES_MAX: u64 = 4 << 20;
const NOT_SUPPORTED_YET: &str = "not supported yet";

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
pub type NewUpload = Box<dyn Fn() -> Upload + Send>;

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
        let denials = Arc::new(Denials::new(log.clone(), &grants.kind));
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

    /// Hands the guest a stream of stored bytes.
    fn open_stream(&mut self, content: &Content) -> wasmtime::Result<Result<Resource<DynInputStream>, InputError>> {
        if self.has_too_many_streams() {
            return Ok(Err(InputError::Unavailable(format!("{OPEN_STREAMS_MAX} streams are open; drop some"))));
        }
        let (running, open) = (Arc::clone(&self.running), Arc::clone(&self.open_streams));
        match content.open(0) {
            Ok(reader) => {
                let meter = Arc::clone(&self.meter);
                let stream: DynInputStream = Box::new(ContentStream { reader, meter, running, _open: open });
                Ok(Ok(self.handles.push(stream)?))
            }
            Err(error) => {
                self.meter.note_disk_error(&error);
                Ok(Err(InputError::Unavailable(error.to_string())))
            }
        }
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

impl types::Host for Guest {}

impl types::HostInput for Guest {
    async fn media_type(&mut self, input: Resource<Payload>) -> wasmtime::Result<String> {
        Ok(self.handles.get(&input)?.media_type.clone())
    }

    async fn size(&mut self, input: Resource<Payload>) -> wasmtime::Result<u64> {
        Ok(self.handles.get(&input)?.content.size())
    }

    async fn bytes(&mut self, input: Resource<Payload>) -> wasmtime::Result<Result<Vec<u8>, InputError>> {
        let content = &self.handles.get(&input)?.content;
        let size = content.size();
        if size > WHOLE_INPUT_BYTES_MAX {
            return Ok(Err(InputError::TooLarge(size)));
        }
        Ok(content.read_whole().map_err(|error| {
            self.meter.note_disk_error(&error);
            InputError::Unavailable(error.to_string())
        }))
    }

    async fn stream(
        &mut self,
        input: Resource<Payload>,
    ) -> wasmtime::Result<Result<Resource<DynInputStream>, InputError>> {
        let content = self.handles.get(&input)?.content.clone();
        self.open_stream(&content)
    }

    async fn drop(&mut self, input: Resource<Payload>) -> wasmtime::Result<()> {
        self.handles.delete(input)?;
        Ok(())
    }
}

impl host::Host for Guest {
    async fn progress(&mut self, fraction: f64, message: String) -> wasmtime::Result<()> {
        self.running.report(fraction, message);
        Ok(())
    }

    async fn log(&mut self, level: Level, mut message: String) -> wasmtime::Result<()> {
        message.truncate(message.floor_char_boundary(LINE_BYTES_MAX));
        let level = match level {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        };
        #[cfg(debug_assertions)]
        crash_if_asked(&message);
        self.log.line(&format!("{level} {message}"));
        Ok(())
    }

    async fn open_artifact(
        &mut self,
        name: String,
        media_type: String,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ArtifactError>> {
        if let Err(reason) = check_artifact_name(&name) {
            return Ok(Err(ArtifactError::InvalidName(reason.to_owned())));
        }
        if self.drafts.len() >= ARTIFACTS_MAX || self.has_too_many_streams() {
            return Ok(Err(ArtifactError::TooMany));
        }
        if !self.names.insert(name.clone()) {
            return Ok(Err(ArtifactError::AlreadyExists));
        }
        let media_type = checked_media_type(media_type);
        let draft = Arc::new(Mutex::new(Draft { name, media_type, upload: self.upload() }));
        self.drafts.push(Arc::clone(&draft));
        let stream: Box<dyn OutputStream> = Box::new(DraftStream {
            draft,
            meter: Arc::clone(&self.meter),
            running: Arc::clone(&self.running),
            _open: Arc::clone(&self.open_streams),
        });
        Ok(Ok(self.handles.push(stream)?))
    }

    async fn read_blob(&mut self, sha256: String) -> wasmtime::Result<Result<Resource<DynInputStream>, InputError>> {
        let mut address = [0; 32];
        // As inputs name it, or as the contract does.
        let digits = sha256.strip_prefix("sha256:").unwrap_or(&sha256);
        let blob = hex::decode_to_slice(digits, &mut address).ok().and_then(|()| self.blobs.get(&address)).cloned();
        match blob {
            Some(content) => self.open_stream(&content),
            None => Ok(Err(InputError::NotFound)),
        }
    }

    async fn load_checkpoint(&mut self) -> wasmtime::Result<Option<Checkpoint>> {
        Ok(self
            .checkpoints
            .load()
            .unwrap_or_else(|error| {
                self.log
                    .line(&format!("WARN the checkpoint cannot be read, so this attempt begins without it: {error}"));
                None
            })
            .map(|(data, plugin_sha256)| Checkpoint { data, plugin_sha256 }))
    }

    async fn save_checkpoint(&mut self, data: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        Ok(self.checkpoints.save(data).await)
    }

    async fn submit_child(
        &mut self,
        _kind: String,
        _media_type: String,
        _input: Vec<u8>,
        _parameters: Vec<Parameter>,
    ) -> wasmtime::Result<Result<String, String>> {
        Ok(Err(NOT_SUPPORTED_YET.to_owned()))
    }

    async fn config(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.grants.config.get(&name).cloned())
    }
}

/// Lets a test's guest bring the whole process down, as a bug of the engine would. Not part of a release.
#[cfg(debug_assertions)]
fn crash_if_asked(message: &str) {
    static WORD: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    if WORD.get_or_init(|| std::env::var("DROPFORGE_TEST_CRASH_WORD").ok()).as_deref() == Some(message) {
        std::process::abort();
    }
}

/// A guest's media type if it can stand in an HTTP header, else the neutral one.
pub(super) fn checked_media_type(media_type: String) -> String {
    let well_formed = (1..=255).contains(&media_type.len())
        && media_type.contains('/')
        && media_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if well_formed { media_type } else { "application/octet-stream".to_owned() }
}

pub(super) fn check_artifact_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 255 {
        Err("a name has 1 to 255 bytes")
    } else if name.starts_with('.') {
        Err("a name does not begin with a dot")
    } else if name.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        Err("a name has no slash, backslash or control character")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_names_cannot_be_paths() {
        for name in ["page-001.png", "Übersicht.txt", "a b"] {
            assert!(check_artifact_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", ".hidden", "../x", "a/b", "a\\b", "a\nb", "a\0b", &"x".repeat(256)] {
            assert!(check_artifact_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn media_types_cannot_break_out_of_a_header() {
        assert_eq!(checked_media_type("image/png".to_owned()), "image/png");
        for hostile in ["", "png", "a/b\r\nSet-Cookie: x=y", "ä/ö"] {
            assert_eq!(checked_media_type(hostile.to_owned()), "application/octet-stream");
        }
    }
}
