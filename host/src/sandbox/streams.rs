//! The byte streams a guest can hold: its input, the artifacts it writes, and its standard output.
//!
//! All of them answer at once. Files are read and written on the worker's own thread, through the page cache; nothing
//! waits for the device before the attempt has ended. A guest that does nothing but read or write hardly burns fuel, so each
//! call looks at the request to stop and the deadline itself.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::meter::{Exceeded, Meter};
use crate::job::Bound;
use crate::running::Running;
use crate::store::{ContentReader, Upload};

/// The most that is read or written in one call.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Log lines kept for the usage report.
pub(super) const LOG_LINES_KEPT: usize = 50;

/// A content being read by the guest.
pub(super) struct ContentStream {
    pub(super) reader: ContentReader,
    pub(super) meter: Arc<Meter>,
    pub(super) running: Arc<Running>,
    pub(super) _open: Arc<()>,
}

/// Ends a guest that was asked to stop. What it is told does not matter: it never runs again.
pub(super) fn end_if_over(running: &Running) -> StreamResult<()> {
    if running.is_over() { Err(StreamError::trap("the attempt is over")) } else { Ok(()) }
}

#[async_trait]
impl Pollable for ContentStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for ContentStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        end_if_over(&self.running)?;
        match self.reader.next_chunk(size.min(CHUNK_BYTES_MAX)) {
            Ok(chunk) if chunk.is_empty() => Err(StreamError::Closed),
            Ok(chunk) => Ok(chunk),
            Err(error) => {
                // A guest may take this for the end of its input; the attempt must not count as a success with half of it.
                self.meter.note_disk_error(&error);
                Err(StreamError::LastOperationFailed(error.into()))
            }
        }
    }
}

/// A file the guest is writing, or has written. Becomes an artifact if the attempt succeeds.
#[derive(Debug)]
pub struct Draft {
    /// Unique in the attempt.
    pub name: String,
    /// As the guest says.
    pub media_type: String,
    /// The bytes so far.
    pub upload: Upload,
}

/// A draft shared by the attempt and the stream the guest holds.
pub(super) type SharedDraft = Arc<Mutex<Draft>>;

/// Writes to a draft, within the attempt's output limit.
pub(super) struct DraftStream {
    pub(super) draft: SharedDraft,
    pub(super) meter: Arc<Meter>,
    pub(super) running: Arc<Running>,
    pub(super) _open: Arc<()>,
}

impl Drop for DraftStream {
    fn drop(&mut self) {
        // An attempt may leave thousands of artifacts; their files must not all stay open until it ends.
        let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        draft.upload.close_file(!self.running.is_over());
    }
}

#[async_trait]
impl Pollable for DraftStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for DraftStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        write_output(&mut draft.upload, &bytes, &self.meter, &self.running)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES_MAX)
    }
}

/// Adds to a file or to the result, within what an attempt may give back in all.
pub(super) fn write_output(upload: &mut Upload, bytes: &[u8], meter: &Meter, running: &Running) -> StreamResult<()> {
    end_if_over(running)?;
    if !meter.add_output(bytes.len() as u64) {
        return Err(StreamError::Trap(Exceeded(Bound::Output).into()));
    }
    let held = upload.memory_bytes();
    // A few small pieces of output stay in memory; of many, each would be small, and all of them as large as the output may be.
    let left = if bytes.len() as u64 > meter.may_hold() { upload.leave_memory() } else { Ok(()) };
    let written = left.and_then(|()| upload.write(bytes));
    meter.note_held(held, upload.memory_bytes());
    written.map_err(|error| {
        // The attempt must not count as a success with half of what it wrote, whatever the guest would make of this.
        meter.note_disk_error(&error);
        StreamError::Trap(error.into())
    })
}

/// The attempt's log. Cheap to clone; all clones are one log.
#[derive(Debug, Clone)]
pub(super) struct Log(Arc<Running>);

impl Log {
    /// The log of this attempt.
    pub(super) fn new(running: Arc<Running>) -> Self {
        Self(running)
    }

    /// Adds a line.
    pub(super) fn line(&self, line: &str) {
        self.0.log(line);
    }

    /// The last lines, an unfinished one included, and how many there were in all.
    pub(super) fn last(&self) -> (Vec<String>, u64) {
        self.0.last_lines(LOG_LINES_KEPT)
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    // Only WASI 0.3 would ask for this form, and it is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LogStream(self.clone()))
    }
}

struct LogStream(Log);

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        end_if_over(&self.0.0)?;
        self.0.0.log_bytes(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES_MAX)
    }
}
