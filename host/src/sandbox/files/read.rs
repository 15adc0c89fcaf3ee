//! Streams from files: those of granted folders, and what a guest has written to `/out` itself.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::granted::{Calls, Held};
use crate::running::Running;
use crate::sandbox::streams::end_if_over;

/// The most that is read in one call.
const READ_BYTES_MAX: usize = 64 * 1024;
/// What is read for a guest that waits for data before it says how much it wants.
const READ_BYTES_FIRST: usize = 4 * 1024;

/// A stream of the engine, counted among those the guest holds.
pub(super) struct CountedInput {
    pub(super) inner: DynInputStream,
    pub(super) running: Arc<Running>,
    pub(super) _open: Arc<()>,
}

#[async_trait]
impl Pollable for CountedInput {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for CountedInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        end_if_over(&self.running)?;
        self.inner.read(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        end_if_over(&self.running)?;
        self.inner.blocking_read(size).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// A file of a granted folder being read, from a place in it on.
pub(super) struct GrantedInput {
    pub(super) held: Arc<Held>,
    pub(super) calls: Calls,
    pub(super) position: u64,
    pub(super) state: Reading,
    pub(super) running: Arc<Running>,
    pub(super) _open: Arc<()>,
}

/// How far it is.
pub(super) enum Reading {
    Idle,
    UnderWay(AbortOnDropJoinHandle<io::Result<Bytes>>),
    Read(Bytes),
    Failed(io::Error),
    AtEnd,
}

impl From<io::Result<Bytes>> for Reading {
    fn from(read: io::Result<Bytes>) -> Self {
        match read {
            Ok(bytes) if bytes.is_empty() => Self::AtEnd,
            Ok(bytes) => Self::Read(bytes),
            Err(error) => Self::Failed(error),
        }
    }
}

impl GrantedInput {
    fn next(&self, size: usize) -> impl Future<Output = io::Result<Bytes>> + Send + use<> {
        let (held, calls, position) = (Arc::clone(&self.held), self.calls.clone(), self.position);
        async move {
            let file = held.file();
            calls.make(&held.place, move || read_at(&file, position, size)).await
        }
    }

    fn begin(&mut self, size: usize) {
        self.state = Reading::UnderWay(spawn(self.next(size)));
    }

    async fn until_read(&mut self) {
        if let Reading::UnderWay(read) = &mut self.state {
            self.state = read.await.into();
        }
    }
}

fn read_at(file: &File, position: u64, size: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(size.min(READ_BYTES_MAX));
    loop {
        match file.read_at(&mut bytes, position) {
            Ok(read) => {
                bytes.truncate(read);
                return Ok(bytes.freeze());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[async_trait]
impl Pollable for GrantedInput {
    async fn ready(&mut self) {
        if matches!(self.state, Reading::Idle) {
            self.begin(READ_BYTES_FIRST);
        }
        self.until_read().await;
    }
}

#[async_trait]
impl InputStream for GrantedInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        end_if_over(&self.running)?;
        if size == 0 {
            return Ok(Bytes::new());
        }
        match mem::replace(&mut self.state, Reading::AtEnd) {
            Reading::Idle => {
                self.begin(size);
                Ok(Bytes::new())
            }
            Reading::UnderWay(read) => {
                self.state = Reading::UnderWay(read);
                Ok(Bytes::new())
            }
            Reading::Read(mut bytes) => {
                let piece = bytes.split_to(bytes.len().min(size));
                self.position += piece.len() as u64;
                self.state = if bytes.is_empty() { Reading::Idle } else { Reading::Read(bytes) };
                Ok(piece)
            }
            Reading::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            Reading::AtEnd => Err(StreamError::Closed),
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        end_if_over(&self.running)?;
        self.until_read().await;
        if size > 0 && matches!(self.state, Reading::Idle) {
            self.state = self.next(size).await.into();
        }
        self.read(size)
    }

    /// The thread of a read that is under way is not waited for: it may never come back, and is counted until it does.
    async fn cancel(&mut self) {
        self.state = Reading::AtEnd;
    }
}
