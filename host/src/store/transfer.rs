//! A data folder as NDJSON, and back: for backups, for moving to another engine, and to look inside.
//!
//! One JSON object a line: a `header`, then for every job its large contents as `blob` lines and the `job` itself, then
//! idempotency keys, uploads (after their contents) and paused kinds, then an `end` with the number of jobs, so that a
//! file that was cut short is noticed. Nothing is left out, so an import gives a folder that differs from the exported
//! one only in where things lie on disk.

use std::io;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::job::{Job, JobId, Kind, Owner, Usage, Webhook};
use crate::time::Time;

/// Version of the format.
pub(super) const FORMAT: u32 = 1;

/// Why an export or import stopped.
#[derive(Debug)]
pub enum TransferError {
    /// The folder.
    Store(StoreError),
    /// The file.
    File(io::Error),
    /// What the file says, and in which line.
    Line(u64, String),
    /// There is something in the folder already.
    NotEmpty,
}

impl std::fmt::Display for TransferError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TransferError::Store(error) => error.fmt(f),
            TransferError::File(error) => write!(f, "the export file: {error}"),
            TransferError::Line(number, what) => write!(f, "line {number} of the export file: {what}"),
            TransferError::NotEmpty => f.write_str("the folder is not empty; import into a new one"),
        }
    }
}

impl std::error::Error for TransferError {}

impl From<StoreError> for TransferError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// How often the folder was opened; files that do not say it are from before that mattered.
    Header {
        format: u32,
        #[serde(default)]
        opens: u64,
    },
    Blob {
        sha256: String,
        data: String,
    },
    Job(Box<JobLine>),
    Upload {
        owner: String,
        kept_until: Time,
        payload: PayloadLine,
    },
    Paused {
        kind: Kind,
    },
    Key {
        name: String,
        id: JobId,
        request: String,
        kept_until: Time,
    },
    End {
        jobs: u64,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct JobLine {
    pub(super) job: Job,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) arguments: Vec<String>,
    #[serde(default)]
    pub(super) traceparent: Option<String>,
    pub(super) input: PayloadLine,
    pub(super) output: Option<PayloadLine>,
    pub(super) artifacts: Vec<ArtifactLine>,
    pub(super) checkpoint: Option<CheckpointLine>,
    /// What its input names.
    #[serde(default)]
    pub(super) blobs: Vec<PayloadLine>,
    /// Reports written in all; the newest follow.
    pub(super) usages: u32,
    pub(super) usage: Vec<Usage>,
    pub(super) content_gone: bool,
    pub(super) suspect: bool,
    #[serde(default)]
    pub(super) webhook: Option<Webhook>,
    /// Left out by the first versions.
    #[serde(default)]
    pub(super) owner: Option<Owner>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PayloadLine {
    pub(super) media_type: String,
    pub(super) size: u64,
    /// The address of a large content, which stands in lines of its own before.
    pub(super) blob: Option<String>,
    /// A small content, in base 64.
    pub(super) data: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CheckpointLine {
    pub(super) plugin_sha256: String,
    pub(super) payload: PayloadLine,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ArtifactLine {
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) payload: PayloadLine,
}
