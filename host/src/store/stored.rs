//! A payload as records name it: how large it is, and where it lies.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::blobs::Content;

/// A payload of a job or of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) media_type: String,
    pub(super) size: u64,
    pub(super) place: Place,
}

/// Where it lies. The order of these stands on disk; a third place came with the third version of a job's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// In chunks, each under a key of its own.
    Chunks,
    /// In the file of this address.
    Blob([u8; 32]),
    /// In the record itself.
    Here(Inline),
}

impl Stored {
    /// A payload that lies outside of the record: in chunks up to [`Content::INLINE_BYTES_MAX`], else in a blob.
    pub(super) fn of(media_type: &str, content: &Content) -> Self {
        let place = match content {
            Content::Inline(_) => Place::Chunks,
            Content::Blob(blob) => Place::Blob(blob.sha256()),
        };
        Self { media_type: media_type.to_owned(), size: content.size(), place }
    }

    /// The address of the blob, if it lies in one.
    pub(super) fn blob(&self) -> Option<[u8; 32]> {
        match self.place {
            Place::Blob(sha256) => Some(sha256),
            Place::Chunks | Place::Here(_) => None,
        }
    }

    /// What of it stands in the record.
    pub(super) fn here(&self) -> usize {
        match &self.place {
            Place::Here(bytes) => bytes.0.len(),
            Place::Chunks | Place::Blob(_) => 0,
        }
    }

    /// Takes what stands in the record out of it; from then on it is to be looked for in chunks.
    pub(super) fn take_out(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.place, Place::Chunks) {
            Place::Here(Inline(bytes)) => Some(bytes),
            place => {
                self.place = place;
                None
            }
        }
    }
}

/// Bytes in a record. Encoded as bytes, where a `Vec` would be encoded one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inline(pub(super) Bytes);

impl Serialize for Inline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copied;
        impl Visitor<'_> for Copied {
            type Value = Inline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Inline, E> {
                Ok(Inline(Bytes::copy_from_slice(bytes)))
            }
        }
        deserializer.deserialize_bytes(Copied)
    }
}
