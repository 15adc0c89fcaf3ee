//! What the store refuses, as clients are told. A cause that they cannot mend goes into the log, and only there.

use std::io::ErrorKind;

use axum::http::StatusCode;

use super::Problem;
use crate::store::{Share, StoreError};
use crate::time::Time;

/// Nobody is told to wait for longer, in seconds: more may have changed by then.
const RETRY_MAX: u32 = 3600;
/// A place is free again once a receiver takes what it is told, or a job is deleted. Both are up to others, so this is no estimate but
/// how often, in seconds, it is worth a look.
const LOOK_AGAIN_AT_RECEIVER: u32 = 60;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::unknown_job(),
            StoreError::Refused(why) => Self::invalid_option(why),
            StoreError::QueueFull { queue_max } => {
                let detail = format!(
                    "{queue_max} jobs of this kind are unfinished already, the most this host keeps; try again later"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue_full", "The queue is full", detail).retry_after(5)
            }
            StoreError::TooManyWebhooks { .. } => {
                let detail = format!(
                    "{error}, the most one token may have there, as may all clients without one together (webhooks_max); submit without \
                     webhook, or try again later"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_webhooks", "Too many webhooks", detail)
                    .retry_after(LOOK_AGAIN_AT_RECEIVER)
            }
            StoreError::TooManyUploads => {
                let detail = "as many uploads are kept here as may be; those that no job names go after a while";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_uploads", "Too many uploads", detail)
                    .retry_after(600)
            }
            StoreError::ShareFull { share, frees_at } => Self::share_full(share, frees_at),
            StoreError::KeyReused => {
                let detail = "this Idempotency-Key came with another request before; take a new key for a new request";
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency_key_reused",
                    "The key stands for another request",
                    detail,
                )
                .in_parameter("Idempotency-Key", detail)
            }
            StoreError::Gone => {
                let detail = "the job has ended, and what it left is no longer kept";
                Self::new(StatusCode::GONE, "expired", "No longer kept", detail)
            }
            StoreError::WrongState(state) => {
                let detail = format!("this is not possible for a job that is {}", state.as_str());
                Self::new(StatusCode::CONFLICT, "wrong_state", "Not possible in this state", detail)
            }
            StoreError::DiskFull => Self::disk_full(),
            StoreError::Disk(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Self::disk_full()
            }
            error @ (StoreError::Closed | StoreError::Fenced) => {
                tracing::error!(%error, "a request could not be served");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "stopping",
                    "The host is stopping",
                    "the host is stopping; try again in a moment",
                )
                .retry_after(1)
            }
            error @ (StoreError::Damaged(_) | StoreError::Disk(_) | StoreError::Locked(_)) => {
                tracing::error!(%error, "a request could not be served");
                Self::internal("the host could not read or write its data; its log says more")
            }
        }
    }
}

impl Problem {
    /// Not `413`: the next upload may be smaller and still not fit, until something goes.
    fn share_full(share: Share, frees_at: Option<Time>) -> Self {
        let Share { uploads_max, bytes_max } = share;
        let detail = format!(
            "one token keeps at most {uploads_max} uploads (uploads_max) of {bytes_max} bytes together (upload_bytes_max), as do all \
             clients without a token; an upload goes when keep_uploads is over and no job names it, so delete jobs that name one, wait, \
             or ask the operator for more"
        );
        let problem =
            Self::new(StatusCode::INSUFFICIENT_STORAGE, "uploads_full", "The share of uploads is used up", detail);
        match frees_at {
            Some(at) => problem
                .retry_after(u32::try_from(at.since(Time::now()).as_secs() + 1).unwrap_or(RETRY_MAX).min(RETRY_MAX)),
            // It fits into no share, however long one waits.
            None => problem,
        }
    }

    fn disk_full() -> Self {
        let detail = "the host's disk has no room for new jobs; what was accepted goes on, try again later";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "The disk is full", detail).retry_after(30)
    }
}
