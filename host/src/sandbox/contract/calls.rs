//! What each function of the contract does.

use std::sync::{Arc, Mutex};

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, OutputStream};

use super::bindings::dropforge::job::host::{self, ArtifactError, Checkpoint, Level};
use super::bindings::dropforge::job::types::{self, InputError, Parameter};
use super::{Guest, OPEN_STREAMS_MAX, check_artifact_name, checked_media_type};
use crate::running::LINE_BYTES_MAX;
use crate::sandbox::streams::{ContentStream, Draft, DraftStream};
use crate::store::{Content, Payload};

/// The largest input a guest may take in one piece.
const WHOLE_INPUT_BYTES_MAX: u64 = 1 << 20;
/// Files per attempt.
const ARTIFACTS_MAX: usize = 10_000;
const NOT_SUPPORTED_YET: &str = "not supported yet";

impl Guest {
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
