//! Why the store did not do what it was asked.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::uploads::Share;
use crate::job::State;
use crate::time::Time;

/// Why the store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// No such job.
    NotFound,
    /// The claim is no longer valid: somebody else ended the job, or has it now.
    Fenced,
    /// As many unfinished jobs of the kind as allowed.
    QueueFull {
        /// How many that is.
        queue_max: u64,
    },
    /// As many webhooks to one receiver are still to be delivered as may be.
    TooManyWebhooks {
        /// Its scheme, host and port.
        receiver: String,
        /// How many that is.
        open_max: usize,
    },
    /// As many uploads are kept as may be.
    TooManyUploads,
    /// Whoever uploads keeps as much as one may.
    ShareFull {
        /// How much that is.
        share: Share,
        /// When the first of these uploads goes, if it helps to wait for that, and no job names it then.
        frees_at: Option<Time>,
    },
    /// The request cannot be stored as it is.
    Refused(String),
    /// Something on disk is not what was written.
    Damaged(String),
    /// The idempotency key came with another request before.
    KeyReused,
    /// Retention has taken the job's content away.
    Gone,
    /// Not possible for a job in this state.
    WrongState(State),
    /// The disk has no room for new jobs.
    DiskFull,
    /// Another process has the folder.
    Locked(PathBuf),
    /// The disk failed. What was being written is not acknowledged.
    Disk(io::Error),
    /// An earlier commit failed, or the store is closing; nothing is accepted any more.
    Closed,
}

impl StoreError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NotFound => f.write_str("no such job"),
            StoreError::Fenced => f.write_str("the claim is no longer valid"),
            StoreError::QueueFull { queue_max } => write!(f, "the queue holds {queue_max} unfinished jobs already"),
            StoreError::TooManyWebhooks { receiver, open_max } => {
                write!(f, "{open_max} webhooks to {receiver} are still to be delivered")
            }
            StoreError::TooManyUploads => f.write_str("as many uploads are kept as may be"),
            StoreError::ShareFull { .. } => f.write_str("whoever uploads keeps as much as one may"),
            StoreError::Refused(why) => f.write_str(why),
            StoreError::KeyReused => f.write_str("the idempotency key came with another request before"),
            StoreError::Gone => f.write_str("the job's content is no longer kept"),
            StoreError::WrongState(state) => write!(f, "not possible for a job that is {}", state.as_str()),
            StoreError::DiskFull => f.write_str("the disk has no room for new jobs"),
            StoreError::Damaged(what) => write!(f, "the data folder is damaged: {what}"),
            StoreError::Locked(path) => {
                write!(f, "{} is in use by another dropforge process; stop it or choose another --data", path.display())
            }
            StoreError::Disk(error) if error.kind() == io::ErrorKind::StorageFull => {
                write!(f, "the disk is full, make room there: {error}")
            }
            StoreError::Disk(error) => write!(f, "the disk failed: {error}"),
            StoreError::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Disk(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}
