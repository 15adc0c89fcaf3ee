//! What goes into the store and what comes out of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::blobs::Content;
use super::checkpoint::Checkpoint;
use super::error::StoreError;
use super::index::Token;
use super::inflight::Mark;
use super::webhooks::NewWebhook;
use crate::job::{Backoff, Ended, Job, JobId, Kind, Progress, Sight, State, Usage};
use crate::time::Time;

/// Encoded parameters and arguments of one job.
const OPTIONS_BYTES_MAX: usize = 64 * 1024;

/// What a store has to know of its host.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Jobs in workers' hands at a time.
    pub claims_max: usize,
    /// Room on the disk that is kept for the outcomes of accepted jobs.
    pub reserve_bytes: u64,
}

/// Under what conditions a job is accepted.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Unfinished jobs its kind may have, this one included.
    pub queue_max: u64,
    /// If the client gave one: the same key and request is the same job.
    pub key: Option<IdempotencyKey>,
    /// Whom to wake when the job may be claimed. With nobody to wake that is once it is durable. With somebody it may be before: what
    /// the attempt does must then stay in the host until [`Store::settle`](super::Store::settle) has returned.
    pub workers: Option<Arc<Notify>>,
}

/// A client's idempotency key, as digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Of the key's scope and text.
    pub name: [u8; 32],
    /// Of everything the request asks for.
    pub request: [u8; 32],
    /// Now, and until when the key is remembered.
    pub now: Time,
    /// See `now`.
    pub kept_until: Time,
}

/// Bytes and what they are.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Such as `application/json`; at most 255 bytes.
    pub media_type: String,
    /// The bytes.
    pub content: Content,
}

/// A file a job wrote.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Unique within the job.
    pub name: String,
    /// Address of the content.
    pub sha256: [u8; 32],
    /// The file.
    pub payload: Payload,
}

/// What a file a job wrote is, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactEntry {
    /// Unique within the job.
    pub name: String,
    /// As the plugin said.
    pub media_type: String,
    /// In bytes.
    pub size: u64,
    /// Address of the content.
    pub sha256: [u8; 32],
}

/// What a client passes to the plugin besides the input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Names and values, in the client's order.
    pub parameters: Vec<(String, String)>,
    /// Extra command-line arguments.
    pub arguments: Vec<String>,
    /// The `traceparent` of the request (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl Options {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        let bytes = postcard::to_stdvec(self).map_err(|error| StoreError::Refused(error.to_string()))?;
        if bytes.len() > OPTIONS_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "parameters and arguments take {} bytes; {OPTIONS_BYTES_MAX} is the most",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        // Before there was a `traceparent` the bytes ended where it stands now, and no whole form ends there.
        let options = postcard::from_bytes(bytes).or_else(|error| match error {
            postcard::Error::DeserializeUnexpectedEnd => {
                let (parameters, arguments) = postcard::from_bytes(bytes)?;
                Ok(Self { parameters, arguments, traceparent: None })
            }
            error => Err(error),
        });
        options.map_err(|error| StoreError::damaged(format!("a job's options: {error}")))
    }
}

/// A job to be accepted. Its `state` says whether it is queued or scheduled.
#[derive(Debug)]
pub struct NewJob {
    /// The record as clients will see it.
    pub job: Job,
    /// What the plugin will read.
    pub input: Payload,
    /// What else the plugin is told.
    pub options: Options,
    /// The blobs its input names, each once.
    pub blobs: Vec<Payload>,
    /// Who is to be told how it ended.
    pub webhook: Option<NewWebhook>,
}

/// What became of a job that was submitted with others: it, or the one that came with the same key before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The job.
    pub id: JobId,
    /// Where it stands.
    pub state: State,
}

/// A job handed to a worker.
#[derive(Debug)]
pub struct Claimed {
    /// The job, in state running.
    pub job: Job,
    /// Needed to finish it.
    pub token: Token,
    /// What the plugin reads and is told besides, or why the disk does not give it back.
    pub input: Result<(Payload, Options), StoreError>,
    /// The blobs its input names.
    pub blobs: Vec<Content>,
    /// Whether its submit is not durable yet: nothing may leave the host for it before [`Store::settle`](super::Store::settle) has returned.
    pub is_early: bool,
    /// What an earlier attempt left for this one, or why the disk does not give it back.
    pub checkpoint: Result<Option<Checkpoint>, StoreError>,
    /// To be set whenever its guest is about to run, so that a crash finds the guilty.
    pub mark: Mark,
}

/// How an attempt ended, with everything needed to decide and record what comes next.
#[derive(Debug)]
pub struct Attempt {
    /// How it ended.
    pub ended: Ended,
    /// What it used.
    pub usage: Usage,
    /// Its newest progress.
    pub progress: Progress,
    /// Its result; kept if it succeeded.
    pub output: Option<Payload>,
    /// Its files; kept if it succeeded.
    pub artifacts: Vec<Artifact>,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub now: Time,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// From 0.0 to 1.0, different for every attempt.
    pub jitter: f64,
}

/// Which jobs a list is about. Empty means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// Only what whoever asks may see.
    pub sight: Sight,
}

impl Filter {
    pub(super) fn admits(&self, job: &Job) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == job.kind)
            && self.state.is_none_or(|state| state == job.state)
            && self.sight.covers_job(job)
            && self.tag.as_ref().is_none_or(|tag| job.tags.contains(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_written_before_there_were_traces_are_read() {
        let parameters = vec![("dpi".to_owned(), "200".to_owned())];
        let arguments = vec!["-v".to_owned()];
        let before = postcard::to_stdvec(&(&parameters, &arguments)).expect("they can be written");
        let options = Options { parameters, arguments, traceparent: None };
        assert_eq!(Options::decode(&before).expect("they are read"), options);
        let now = options.encode().expect("they can be written");
        assert_eq!(Options::decode(&now).expect("they are read"), options);
        assert!(Options::decode(&before[..before.len() - 1]).is_err(), "half of it is none");
    }
}
