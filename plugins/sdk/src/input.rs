//! What a plugin reads: JSON of a type, text, bytes, or a stream.

use std::io::{self, Read};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::bindings::dropforge::job::types;
use crate::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::{Bytes, Failure, Json, Text, invalid_input, schema_of};

/// A type that can be the input of a job.
pub trait Input: Sized {
    /// Media types that it stands for.
    const MEDIA_TYPES: &'static [&'static str];

    /// JSON Schema of what is sent, if that is JSON.
    fn schema() -> Option<String> {
        None
    }

    /// Reads the job's input.
    fn receive(input: types::Input) -> Result<Self, Failure>;
}

impl<T: DeserializeOwned + JsonSchema> Input for Json<T> {
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    fn schema() -> Option<String> {
        Some(schema_of::<T>().to_string())
    }

    fn receive(input: types::Input) -> Result<Self, Failure> {
        let json = Bytes::receive(input)?.0;
        let mut deserializer = serde_json::Deserializer::from_slice(&json);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(named)?;
        deserializer.end().map_err(|error| invalid_input(format!("the input is not one JSON value: {error}")))?;
        Ok(Self(value))
    }
}

impl Input for Text {
    const MEDIA_TYPES: &'static [&'static str] = &["text/plain"];

    fn receive(input: types::Input) -> Result<Self, Failure> {
        let text = String::from_utf8(Bytes::receive(input)?.0);
        text.map(Self).map_err(|error| invalid_input(format!("the input is not text of UTF-8: {error}")))
    }
}

impl Input for Bytes {
    const MEDIA_TYPES: &'static [&'static str] = &["application/octet-stream"];

    fn receive(input: types::Input) -> Result<Self, Failure> {
        let mut stream = Stream::receive(input)?;
        let mut bytes = Vec::with_capacity(usize::try_from(stream.size).unwrap_or(0));
        Read::read_to_end(&mut stream, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// An input of any size, read piece by piece.
#[derive(Debug)]
pub struct Stream {
    /// What the client says it is.
    pub media_type: String,
    /// In bytes.
    pub size: u64,
    stream: InputStream,
}

impl Input for Stream {
    const MEDIA_TYPES: &'static [&'static str] = &["application/octet-stream"];

    fn receive(input: types::Input) -> Result<Self, Failure> {
        Ok(Self { media_type: input.media_type(), size: input.size(), stream: input.stream()? })
    }
}

impl Stream {
    pub(crate) fn of_blob(stream: InputStream) -> Self {
        Self { media_type: String::new(), size: 0, stream }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.stream.blocking_read(buffer.len() as u64) {
            Ok(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(StreamError::LastOperationFailed(error)) => Err(io::Error::other(error.to_debug_string())),
        }
    }
}

/// serde names a missing or unknown field itself; for a wrong type only the path knows which field it was.
fn named(error: serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let path = error.path().to_string();
    let reason = error.into_inner().to_string();
    invalid_input(if path == "." || reason.contains(&format!("`{path}`")) {
        reason
    } else {
        format!("{path}: {reason}")
    })
}
