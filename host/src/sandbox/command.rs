//! Programs: what a WASI command reads, writes and is told, in place of the contract's functions.
//!
//! Standard input is the job's input, standard output its result, standard error its log. All of them stream: no program needs
//! the whole of a large file in memory, and neither does the host.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamResult};

use super::Description;
use super::meter::Meter;
use super::streams::{CHUNK_BYTES_MAX, ContentStream, write_output};
use crate::running::Running;
use crate::store::Upload;

const TEXT: &str = "text/plain; charset=utf-8";
const OCTETS: &str = "application/octet-stream";

/// What the operator says about a command. Nothing of it concerns a job component.
#[derive(Debug, Clone, Default)]
pub struct CommandSettings {
    /// Its first arguments, after its name.
    pub arguments: Vec<String>,
    /// Media type of its output. Guessed if there is none.
    pub media_type: Option<String>,
}

/// What can be said of a command without its doing. It reads whatever a job brings, and has no parameters.
pub(super) fn description() -> Description {
    Description {
        summary: "A program: reads the input from standard input and writes the result to standard output.".to_owned(),
        parameter_schema: Some(r#"{"type": "object", "additionalProperties": false}"#.to_owned()),
        output_media_type: OCTETS.to_owned(),
        ..Description::default()
    }
}

/// Standard input: the job's input. All handles of it go on where the last one stopped.
#[derive(Clone)]
pub(super) struct Stdin(Arc<Mutex<ContentStream>>);

impl Stdin {
    pub(super) fn new(input: ContentStream) -> Self {
        Self(Arc::new(Mutex::new(input)))
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    // Only WASI 0.3 would ask for this form, and it is not linked.
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(size)
    }
}

/// Standard output: the job's result, within the attempt's output limit. All handles of it are one.
#[derive(Clone)]
pub(super) struct Stdout {
    output: Arc<Mutex<Output>>,
    meter: Arc<Meter>,
    running: Arc<Running>,
}

struct Output {
    upload: Upload,
    text: TextCheck,
}

impl Stdout {
    pub(super) fn new(upload: Upload, meter: Arc<Meter>, running: Arc<Running>) -> Self {
        let output = Arc::new(Mutex::new(Output { upload, text: TextCheck::default() }));
        Self { output, meter, running }
    }

    /// What was written, and what it seems to be. Once the guest is gone, nobody else holds it.
    pub(super) fn finish(self) -> Option<(&'static str, Upload)> {
        let output = Arc::into_inner(self.output)?.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some((output.text.media_type(), output.upload))
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        write_output(&mut output.upload, &bytes, &self.meter, &self.running)?;
        output.text.add(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK_BYTES_MAX)
    }
}

/// Whether bytes that come in pieces are text: UTF-8 without NUL.
#[derive(Debug, Default)]
pub(super) struct TextCheck {
    is_something_else: bool,
    /// The beginning of a character whose end has not come yet: at most three bytes.
    unfinished: Vec<u8>,
}

impl TextCheck {
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.is_something_else |= bytes.contains(&0);
        // The end of a character that was cut in two comes byte by byte.
        while !self.unfinished.is_empty() {
            let Some((first, rest)) = bytes.split_first() else { return };
            self.unfinished.push(*first);
            bytes = rest;
            self.take_up();
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => {}
            Err(error) if error.error_len().is_none() => self.unfinished = bytes[error.valid_up_to()..].to_vec(),
            Err(_) => self.is_something_else = true,
        }
    }

    /// Looks whether the cut character is whole now, or can never be.
    fn take_up(&mut self) {
        match std::str::from_utf8(&self.unfinished) {
            Err(error) if error.error_len().is_none() => return,
            Err(_) => self.is_something_else = true,
            Ok(_) => {}
        }
        self.unfinished.clear();
    }

    /// What they seem to be.
    pub(super) fn media_type(&self) -> &'static str {
        if self.was_text() { TEXT } else { OCTETS }
    }

    fn was_text(&self) -> bool {
        !self.is_something_else && self.unfinished.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_octets_however_it_is_cut() {
        let is_text = |bytes: &[u8], piece: usize| {
            let mut check = TextCheck::default();
            bytes.chunks(piece).for_each(|bytes| check.add(bytes));
            check.was_text()
        };
        for piece in 1..9 {
            assert!(is_text("Straße, 東京, 🦀 and more".as_bytes(), piece), "{piece}");
            assert!(is_text(b"", piece));
            for octets in
                [b"a\0b".as_slice(), b"\xff\xfe", b"\x89PNG\r\n", "🦀".as_bytes().split_at(3).0, b"\xe6\x9d A"]
            {
                assert!(!is_text(octets, piece), "{octets:?} in pieces of {piece}");
            }
        }
    }
}
