//! The job as its plugin sees it: what it was given, and what it can ask of the host.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::bindings::Context;
use crate::bindings::dropforge::job::host;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::{Checkpoint, Failure, JobResult, Level, Stream, parameters};

/// A job under way.
#[derive(Debug)]
pub struct Job<P> {
    /// The same at every attempt.
    pub id: String,
    /// What the plugin is called here.
    pub kind: String,
    /// 1 for the first.
    pub attempt: u32,
    /// When the host will stop this attempt.
    pub deadline: SystemTime,
    /// The client's options.
    pub parameters: P,
    /// The client's `args`.
    pub arguments: Vec<String>,
    /// What the jobs that this one waited for have come to.
    pub results: Vec<JobResult>,
}

impl<P: for<'a> Deserialize<'a>> Job<P> {
    pub(crate) fn new(context: Context) -> Result<Self, Failure> {
        Ok(Self {
            id: context.id,
            kind: context.kind,
            attempt: context.attempt,
            deadline: SystemTime::UNIX_EPOCH + Duration::from_millis(context.deadline_ms),
            parameters: parameters::read(context.parameters)?,
            arguments: context.arguments,
            results: context.results,
        })
    }
}

impl<P> Job<P> {
    /// Says how far the job is, from 0.0 to 1.0, and a few words. Cheap: say it as often as it is true.
    pub fn progress(&self, fraction: f64, message: &str) {
        host::progress(fraction, message);
    }

    /// Writes a line to the job's log.
    pub fn log(&self, level: Level, message: &str) {
        host::log(level, message);
    }

    /// Opens a new artifact, which is complete when it is dropped.
    pub fn artifact(&self, name: &str, media_type: &str) -> Result<Artifact, Failure> {
        Ok(Artifact(host::open_artifact(name, media_type)?))
    }

    /// Opens a blob that the input, the checkpoint or the results name, by its 64 digits.
    pub fn blob(&self, sha256: &str) -> Result<Stream, Failure> {
        Ok(Stream::of_blob(host::read_blob(sha256)?))
    }

    /// What an attempt before this one has saved.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        host::load_checkpoint()
    }

    /// Saves up to 1 MiB for the next attempt, and returns once it is on disk. Without it the job can go on.
    pub fn save_checkpoint(&self, data: &[u8]) -> Result<(), String> {
        host::save_checkpoint(data)
    }

    /// A value that the operator has set for this kind.
    pub fn config(&self, name: &str) -> Option<String> {
        host::config(name)
    }
}

/// A file of the job, being written.
#[derive(Debug)]
pub struct Artifact(OutputStream);

impl Write for Artifact {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = loop {
            match self.0.check_write().map_err(failed)? {
                0 => self.0.subscribe().block(),
                room => break usize::try_from(room).unwrap_or(usize::MAX),
            }
        };
        let piece = &buffer[..buffer.len().min(room)];
        self.0.write(piece).map_err(failed)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.blocking_flush().map_err(failed)
    }
}

fn failed(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
    }
}
