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
use crate::job::{Bound, shorten};
use crate::running::Running;
use crate::store::{ContentReader, Upload};

/// The most that is read or written in one call.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Log lines kept for the usage report.
const LOG_LINES_KEPT: usize = 50;
/// A longer line is cut.
pub(super) const LOG_LINE_BYTES_MAX: usize = 1024;

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
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).upload.close_file();
    }
}

#[async_trait]
impl Pollable for DraftStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for DraftStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        end_if_over(&self.running)?;
        if !self.meter.add_output(bytes.len() as u64) {
            return Err(StreamError::Trap(Exceeded(Bound::Output).into()));
        }
        let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        draft.upload.write(&bytes).map_err(|error| {
            // The guest may well ignore this; the attempt must not count as a success with half a file.
            self.meter.note_disk_error(&error);
            StreamError::LastOperationFailed(error.into())
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES_MAX)
    }
}

/// The attempt's log: the last lines of it. Cheap to clone; all clones are one log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    shared: Arc<Mutex<LogLines>>,
    running: Arc<Running>,
}

#[derive(Debug, Default)]
struct LogLines {
    lines: std::collections::VecDeque<String>,
    unfinished: Vec<u8>,
}

impl Log {
    /// An empty log of this attempt.
    pub(super) fn new(running: Arc<Running>) -> Self {
        Self { shared: Arc::default(), running }
    }

    /// Adds a line.
    pub(super) fn line(&self, line: &str) {
        self.lines().push(line);
    }

    /// Takes the lines out, an unfinished last one included.
    pub(super) fn take(&self) -> Vec<String> {
        let mut log = self.lines();
        log.end_line();
        log.lines.drain(..).collect()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, LogLines> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogLines {
    fn push(&mut self, line: &str) {
        if self.lines.len() == LOG_LINES_KEPT {
            self.lines.pop_front();
        }
        let visible = line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c });
        self.lines.push_back(shorten(visible.take(LOG_LINE_BYTES_MAX).collect(), LOG_LINE_BYTES_MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LOG_LINE_BYTES_MAX.saturating_sub(self.unfinished.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.unfinished.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.unfinished.is_empty() {
            let line = std::mem::take(&mut self.unfinished);
            self.push(&String::from_utf8_lossy(&line));
        }
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
        end_if_over(&self.0.running)?;
        self.0.lines().bytes(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_last_lines_short_and_harmless() {
        let log = Log::new(Arc::default());
        for number in 0..60 {
            log.lines().bytes(format!("line {number}\npart").as_bytes());
            log.lines().bytes(b" two\x1b[31m\n");
        }
        log.lines().bytes(&vec![b'x'; 1 << 20]);
        let lines = log.take();
        assert_eq!(lines.len(), LOG_LINES_KEPT);
        assert_eq!(lines[LOG_LINES_KEPT - 2], "part two\u{fffd}[31m");
        assert_eq!(lines[LOG_LINES_KEPT - 1].len(), LOG_LINE_BYTES_MAX);
    }
}
