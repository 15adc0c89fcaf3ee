//! What a plugin gives: JSON of a type, text, bytes, or an artifact that it has written.

use schemars::JsonSchema;
use serde::Serialize;

use crate::bindings::dropforge::job::types::Body;
use crate::{Bytes, Failure, Json, Text, permanent, schema_of};

/// A type that can be the result of a job.
pub trait Output {
    /// The media type of the result.
    const MEDIA_TYPE: &'static str;

    /// JSON Schema of the result, if that is JSON.
    fn schema() -> Option<String> {
        None
    }

    /// The result as it goes to the host.
    fn into_body(self) -> Result<Body, Failure>;
}

impl<T: Serialize + JsonSchema> Output for Json<T> {
    const MEDIA_TYPE: &'static str = "application/json";

    fn schema() -> Option<String> {
        Some(schema_of::<T>().to_string())
    }

    fn into_body(self) -> Result<Body, Failure> {
        serde_json::to_vec(&self.0).map(Body::Bytes).map_err(permanent)
    }
}

impl Output for Text {
    const MEDIA_TYPE: &'static str = "text/plain; charset=utf-8";

    fn into_body(self) -> Result<Body, Failure> {
        Ok(Body::Bytes(self.0.into_bytes()))
    }
}

impl Output for Bytes {
    const MEDIA_TYPE: &'static str = "application/octet-stream";

    fn into_body(self) -> Result<Body, Failure> {
        Ok(Body::Bytes(self.0))
    }
}

/// The artifact of this name is the result. The media type is the artifact's own, unless the plugin's `GIVES` says another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written(pub String);

impl Output for Written {
    const MEDIA_TYPE: &'static str = "";

    fn into_body(self) -> Result<Body, Failure> {
        Ok(Body::Artifact(self.0))
    }
}
