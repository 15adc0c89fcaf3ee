//! Streams to files of `/out`, held against its quota.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::out::{Out, Refusal};
use crate::running::Running;
use crate::sandbox::meter::Meter;
use crate::sandbox::streams::{CHUNK_BYTES_MAX, end_if_over};

/// Where the next bytes go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offset {
    At(u64),
    End,
}

/// Writes to a file of `/out`.
pub(super) struct OutStream {
    pub(super) file: Arc<File>,
    pub(super) key: u64,
    pub(super) offset: Offset,
    pub(super) out: Out,
    pub(super) meter: Arc<Meter>,
    pub(super) running: Arc<Running>,
    pub(super) _open: Arc<()>,
}

impl OutStream {
    fn failed(&self, error: io::Error) -> StreamError {
        if is_disk_error(&self.meter, &error) {
            StreamError::Trap(error.into())
        } else {
            StreamError::LastOperationFailed(error.into())
        }
    }
}

#[async_trait]
impl Pollable for OutStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for OutStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        end_if_over(&self.running)?;
        let offset = match self.offset {
            Offset::At(offset) => offset,
            Offset::End => self.file.metadata().map_err(|error| self.failed(error))?.len(),
        };
        let end = offset.saturating_add(bytes.len() as u64);
        self.out.check_write(self.key, end, bytes.len() as u64).map_err(|refusal| match refusal {
            Refusal::Full(full) => StreamError::Trap(full.into()),
            Refusal::NoRoom(error) => self.failed(error),
        })?;
        let written = self.file.write_all_at(&bytes, offset);
        self.out.is_now(self.key, &self.file);
        written.map_err(|error| self.failed(error))?;
        if let Offset::At(offset) = &mut self.offset {
            *offset = end;
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES_MAX)
    }
}

/// Whether an error is of the host's disk and not of the guest's making, such as writing to a file that was opened for reading. If so it
/// is remembered: the attempt must not count as a success with half a file, nor go on to write more.
pub(super) fn is_disk_error(meter: &Meter, error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidInput, IsADirectory, NotADirectory, NotSeekable, PermissionDenied};
    let guests = [FileTooLarge, InvalidInput, IsADirectory, NotADirectory, NotSeekable, PermissionDenied];
    let of_the_guest =
        guests.contains(&error.kind()) || error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error());
    if !of_the_guest {
        meter.note_disk_error(error);
    }
    !of_the_guest
}
