//! Where each record lies: the keys of the database.
//!
//! One sled tree holds everything, so that one commit can change all of it at once. The first byte of a key says what it
//! is; the job's id follows, so everything of a job can be found from its id, and job records sort by time.

use crate::job::{JobId, Kind};

/// Number of the newest commit, written with it and never before the rest of it.
pub(super) const COMMIT_KEY: &[u8] = b"m/commit";
/// How often this folder was opened; the upper half of every fencing token.
pub(super) const OPENS_KEY: &[u8] = b"m/opens";
/// All job records.
pub(super) const JOB_PREFIX: &[u8] = b"j";
/// All records of artifacts.
pub(super) const ARTIFACT_PREFIX: &[u8] = b"a";

/// All checkpoints.
pub(super) const CHECKPOINT_PREFIX: &[u8] = b"c";
/// All idempotency keys.
pub(super) const KEY_PREFIX: &[u8] = b"i";
/// The open whose in-flight record was last judged.
pub(super) const JUDGED_KEY: &[u8] = b"m/judged";

/// All uploads.
pub(super) const UPLOAD_PREFIX: &[u8] = b"b";
/// All uses of blobs by jobs' inputs.
pub(super) const USE_PREFIX: &[u8] = b"r";

/// An upload, by its address and whoever uploaded it.
pub(super) fn upload_key(sha256: &[u8; 32], owner: &str) -> Vec<u8> {
    [UPLOAD_PREFIX, sha256, owner.as_bytes()].concat()
}

/// The blobs a job's input names.
pub(super) fn use_prefix(id: JobId) -> Vec<u8> {
    [USE_PREFIX, id.as_bytes()].concat()
}

/// A blob a job's input names.
pub(super) fn use_key(id: JobId, sha256: &[u8; 32]) -> Vec<u8> {
    [USE_PREFIX, id.as_bytes(), sha256].concat()
}

/// All kinds that are paused.
pub(super) const PAUSED_PREFIX: &[u8] = b"m/paused/";

/// A kind that is paused.
pub(super) fn paused_key(kind: &Kind) -> Vec<u8> {
    [PAUSED_PREFIX, kind.as_str().as_bytes()].concat()
}

/// An idempotency key, by the digest of its scope and text.
pub(super) fn idempotency_key(name: &[u8; 32]) -> [u8; 33] {
    let mut key = [b'i'; 33];
    key[1..].copy_from_slice(name);
    key
}

/// A job's record.
pub(super) fn job_key(id: JobId) -> [u8; 17] {
    let mut key = [b'j'; 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

/// The record of a job's checkpoint.
pub(super) fn checkpoint_key(id: JobId) -> [u8; 17] {
    let mut key = [b'c'; 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

/// All webhooks.
pub(super) const WEBHOOK_PREFIX: &[u8] = b"w";

/// A job's webhook.
pub(super) fn webhook_key(id: JobId) -> [u8; 17] {
    let mut key = [b'w'; 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

/// The id in the key of a webhook.
pub(super) fn webhook_id(key: &[u8]) -> Option<JobId> {
    key.strip_prefix(WEBHOOK_PREFIX).and_then(|id| JobId::from_slice(id).ok())
}

/// The id in the key of a checkpoint's record.
pub(super) fn checkpoint_id(key: &[u8]) -> Option<JobId> {
    key.strip_prefix(CHECKPOINT_PREFIX).and_then(|id| JobId::from_slice(id).ok())
}

/// The id in a job record's key.
pub(super) fn job_id(key: &[u8]) -> Option<JobId> {
    key.strip_prefix(JOB_PREFIX).and_then(|id| JobId::from_slice(id).ok())
}

/// Which of a job's payloads a chunk belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Input,
    Options,
    Output,
    /// The artifact with this number.
    Artifact(u32),
    Checkpoint,
}

/// A piece of a payload.
pub(super) fn chunk_key(id: JobId, part: Part, sequence: u32) -> [u8; 26] {
    let (tag, number) = match part {
        Part::Input => (0, 0),
        Part::Options => (1, 0),
        Part::Output => (2, 0),
        Part::Artifact(number) => (3, number),
        Part::Checkpoint => (4, 0),
    };
    let mut key = [b'p'; 26];
    key[1..17].copy_from_slice(id.as_bytes());
    key[17] = tag;
    key[18..22].copy_from_slice(&number.to_be_bytes());
    key[22..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// The usage report of an attempt.
pub(super) fn usage_key(id: JobId, number: u32) -> [u8; 21] {
    numbered(b'u', id, number)
}

/// The record of an artifact.
pub(super) fn artifact_key(id: JobId, number: u32) -> [u8; 21] {
    numbered(b'a', id, number)
}

fn numbered(prefix: u8, id: JobId, number: u32) -> [u8; 21] {
    let mut key = [prefix; 21];
    key[1..17].copy_from_slice(id.as_bytes());
    key[17..].copy_from_slice(&number.to_be_bytes());
    key
}
