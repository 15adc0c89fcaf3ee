//! A job comes in: what a client wants becomes a job, and is on disk before it is answered.

use std::time::Duration;

use super::Queue;
use super::ids::new_id;
use crate::job::{Job, Kind, Owner, State};
use crate::store::{Admission, IdempotencyKey, NewJob, NewWebhook, Options, Payload, StoreError};
use crate::time::Time;

/// A job as a client wants it, checked.
#[derive(Debug)]
pub struct Submission {
    /// What it is for.
    pub kind: Kind,
    /// What the plugin reads.
    pub input: Payload,
    /// What else the plugin is told.
    pub options: Options,
    /// The blobs the input names, each once.
    pub blobs: Vec<Payload>,
    /// Who is to be told how it ended.
    pub webhook: Option<NewWebhook>,
    /// 0 to 9.
    pub priority: u8,
    /// The most attempts.
    pub max_attempts: u32,
    /// Not before this moment.
    pub run_at: Option<Time>,
    /// Limit of one attempt, if it differs from the kind's.
    pub timeout: Option<Duration>,
    /// Not started by then: failed.
    pub expires_in: Option<Duration>,
    /// Labels.
    pub tags: Vec<String>,
    /// Unfinished jobs of its kind, if not as many as the host allows.
    pub queue_max: Option<u64>,
    /// Who submits it.
    pub owner: Option<Owner>,
    /// The digests of the client's idempotency key and of its request, if it gave a key.
    pub key: Option<([u8; 32], [u8; 32])>,
}

impl Queue {
    /// Accepts a job. When this returns it will survive anything but the loss of the disk.
    pub async fn submit(&self, wanted: Submission) -> Result<Job, StoreError> {
        let now = Time::now();
        let job = Job {
            state: if wanted.run_at.is_some_and(|at| at > now) { State::Scheduled } else { State::Queued },
            priority: wanted.priority,
            max_attempts: wanted.max_attempts,
            tags: wanted.tags,
            run_at: wanted.run_at.filter(|at| *at > now),
            timeout_ms: wanted.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            expires_at: wanted.expires_in.map(|span| now.after(span)),
            owner: wanted.owner,
            ..Job::new(new_id(), wanted.kind, now)
        };
        let Submission { input, options, blobs, webhook, .. } = wanted;
        let new = NewJob { job, input, options, blobs, webhook };
        let kept_until = now.after(self.settings.keys_kept);
        let key = wanted.key.map(|(name, request)| IdempotencyKey { name, request, now, kept_until });
        let queue_max = wanted.queue_max.unwrap_or(self.settings.queue_max);
        let job = self.store.submit(new, Admission { queue_max, key }).await?;
        self.announce(job.state);
        Ok(job)
    }
}
