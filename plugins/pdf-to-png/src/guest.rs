//! The glue between the contract in `wit/` and the pure part.

#![allow(clippy::too_many_arguments, reason = "the generated bindings flatten records into arguments")]

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::options::Options;
use crate::picture::Painter;
use crate::{describe, document, options};

wit_bindgen::generate!({ path: "../../wit/0.1.0", world: "plugin", generate_all });

use dropforge::job::host::{self, ArtifactError, Level};
use dropforge::job::types::{Body, Done, InputError, Transient};
use wasi::io::streams::{OutputStream, StreamError};

struct PdfToPng;

export!(PdfToPng);

/// The renderer keeps what it decoded (streams, fonts, glyphs) for as long as the document is open. It is opened
/// afresh after so many pages, so that a book needs no more memory than a chapter.
const PAGES_AT_ONCE: usize = 100;

const READ_BYTES: u64 = 1 << 20;

impl Guest for PdfToPng {
    fn describe() -> Descriptor {
        describe::descriptor()
    }

    fn run(context: Context, input: Input) -> Result<Outcome, Failure> {
        let parameters = context.parameters.iter();
        let options = options::parse(parameters.map(|parameter| (&*parameter.name, &*parameter.value)))
            .map_err(Failure::InvalidInput)?;
        let file = Arc::new(read(&input)?);
        let pages = draw_document(&file, &options)?;
        let json = serde_json::to_vec(&Output { pages }).map_err(|error| Failure::Permanent(error.to_string()))?;
        Ok(Outcome::Done(Done { media_type: "application/json".into(), body: Body::Bytes(json) }))
    }
}

#[derive(serde::Serialize)]
struct Output {
    pages: Vec<Drawn>,
}

#[derive(serde::Serialize)]
struct Drawn {
    page: usize,
    artifact: String,
    width: u32,
    height: u32,
}

/// Checks the whole range before the first page is drawn, so that a client hears at once of a page that is too large.
fn draw_document(file: &Arc<Vec<u8>>, options: &Options) -> Result<Vec<Drawn>, Failure> {
    let pdf = document::open(file).map_err(Failure::InvalidInput)?;
    let range = document::select(&pdf, options).map_err(Failure::InvalidInput)?;
    for number in range.clone() {
        document::measure(&pdf.pages()[number - 1], number, options.scale).map_err(Failure::InvalidInput)?;
    }
    drop(pdf);
    let mut drawn = Vec::new();
    for first in range.clone().step_by(PAGES_AT_ONCE) {
        let last = (*range.end()).min(first + PAGES_AT_ONCE - 1);
        draw_pages(file, options, first..=last, &range, &mut drawn)?;
    }
    Ok(drawn)
}

fn draw_pages(
    file: &Arc<Vec<u8>>,
    options: &Options,
    numbers: RangeInclusive<usize>,
    all: &RangeInclusive<usize>,
    drawn: &mut Vec<Drawn>,
) -> Result<(), Failure> {
    let pdf = document::open(file).map_err(Failure::InvalidInput)?;
    let mut painter = Painter::new();
    let pages = pdf.pages();
    for number in numbers {
        let done = (number - all.start()) as f64 / (all.end() - all.start() + 1) as f64;
        host::progress(done, &format!("page {number} of {}", pages.len()));

        let page = &pages[number - 1];
        let size = document::measure(page, number, options.scale).map_err(Failure::InvalidInput)?;
        let artifact = document::artifact_name(number, pages.len());
        let mut out = Artifact::create(&artifact)?;
        painter
            .paint(page, size, options.scale, &mut out)
            .and_then(|()| out.finish())
            .map_err(|error| transient(format!("{artifact} could not be written: {error}")))?;
        for complaint in painter.complaints() {
            host::log(Level::Warn, &format!("page {number}: {complaint}"));
        }
        drawn.push(Drawn { page: number, artifact, width: size.width, height: size.height });
    }
    Ok(())
}

/// The whole file: a PDF's table of contents is at its end, so it cannot be drawn while it streams in.
fn read(input: &Input) -> Result<Vec<u8>, Failure> {
    let stream = input.stream().map_err(unreadable)?;
    let mut file = Vec::new();
    let size = usize::try_from(input.size()).unwrap_or(usize::MAX);
    file.try_reserve_exact(size)
        .map_err(|_| Failure::InvalidInput(format!("the PDF has {size} bytes, which do not fit into memory")))?;
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(bytes) => file.extend_from_slice(&bytes),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(transient(format!("the input could not be read: {}", error.to_debug_string())));
            }
        }
    }
    Ok(file)
}

/// An artifact as something Rust can write to.
struct Artifact {
    stream: OutputStream,
}

impl Artifact {
    fn create(name: &str) -> Result<Self, Failure> {
        match host::open_artifact(name, "image/png") {
            Ok(stream) => Ok(Self { stream }),
            Err(ArtifactError::Unavailable(reason)) => Err(transient(format!("{name} could not be opened: {reason}"))),
            Err(ArtifactError::TooMany) => Err(Failure::InvalidInput(
                "the PDF has more pages than a job may have artifacts: choose fewer with first_page and last_page"
                    .into(),
            )),
            Err(ArtifactError::AlreadyExists) => Err(Failure::Permanent(format!("{name} was written before"))),
            Err(ArtifactError::InvalidName(reason)) => Err(Failure::Permanent(format!("{name}: {reason}"))),
        }
    }

    fn finish(&self) -> io::Result<()> {
        self.stream.blocking_flush().map_err(explain)
    }
}

impl Write for Artifact {
    /// Writes what the host takes now, and waits only if that is nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let room = self.stream.check_write().map_err(explain)?;
            let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            if taken > 0 {
                self.stream.write(&bytes[..taken]).map_err(explain)?;
                return Ok(taken);
            }
            self.stream.subscribe().block();
        }
    }

    /// Nothing is kept on this side; `finish` waits for the host.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn explain(error: StreamError) -> io::Error {
    match error {
        StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
    }
}

fn unreadable(error: InputError) -> Failure {
    match error {
        InputError::TooLarge(size) => Failure::Permanent(format!("the host does not stream an input of {size} bytes")),
        InputError::NotFound => Failure::Permanent("the host does not have the input".into()),
        InputError::Unavailable(reason) => transient(format!("the host could not read the input: {reason}")),
    }
}

fn transient(message: String) -> Failure {
    Failure::Transient(Transient { message, retry_after_ms: None })
}
