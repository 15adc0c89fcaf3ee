//! How a command ends: the code for programs. What is said about an error is in `told`, what to try in `advice`.

mod advice;
mod complaint;
mod places;
mod told;
mod usage;

use std::io::ErrorKind;
use std::process::ExitCode;

pub(super) use self::complaint::{Complaint, NotTaken};
pub use self::told::tell;
pub(super) use self::told::{advice, tell_of};
pub(super) use self::usage::tell_usage;
use crate::client::ClientError;
use crate::config::ConfigError;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Something went wrong that has no code of its own.
    Failure = 1,
    /// What was typed makes no sense.
    Usage = 2,
    /// The job that was waited for, or whose result was wanted, failed.
    JobFailed = 3,
    /// It was cancelled.
    JobCancelled = 4,
    /// It has not ended yet.
    NotFinished = 5,
    /// There is no such job, kind or file, or no longer.
    NotFound = 6,
    /// The host does not accept the request as it is.
    Refused = 7,
    /// The token is missing or may not do this.
    Denied = 8,
    /// The host cannot now, but may later.
    TryLater = 9,
    /// No host answers.
    Unreachable = 10,
    /// Ctrl-C, as shells have it.
    Interrupted = 130,
}

/// The codes, for `--help`.
pub(super) const CODES: &str = "Exit codes:\n  \
    0  done                          6  no such job, kind or file\n  \
    1  anything without a code       7  the host refused the request\n  \
    2  wrong usage                   8  the token is missing or may not do this\n  \
    3  the job failed                9  the host is busy or not ready: try later\n  \
    4  the job was cancelled        10  no host answers\n  \
    5  the job has not ended yet   130  interrupted; a host's job goes on";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The code of what came to its end, or was interrupted before.
    pub(super) fn unless_interrupted(ended: bool) -> Self {
        if ended { Self::Success } else { Self::Interrupted }
    }

    /// The code of a job that has ended, or has not.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "succeeded" => Self::Success,
            "failed" => Self::JobFailed,
            "cancelled" => Self::JobCancelled,
            _ => Self::NotFinished,
        }
    }

    /// The code of an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(complaint) = error.downcast_ref::<Complaint>() {
            return complaint.exit;
        }
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Address(..)) => Self::Usage,
            Some(ClientError::Unreachable(..)) => Self::Unreachable,
            Some(ClientError::File(_, error)) if error.kind() == ErrorKind::NotFound => Self::NotFound,
            Some(ClientError::Refused(refusal)) => match refusal.status {
                401 | 403 => Self::Denied,
                404 | 410 => Self::NotFound,
                429 | 503 | 504 | 507 => Self::TryLater,
                409 if refusal.code == "cancelled" => Self::JobCancelled,
                409 if refusal.code != "wrong_state" => Self::JobFailed,
                _ => Self::Refused,
            },
            _ if error.is::<NotTaken>() => Self::Refused,
            _ if is_closed_pipe(error) => Self::Success,
            _ if is_missing_file(error) => Self::NotFound,
            _ if matches!(error.downcast_ref(), Some(ConfigError::Missing(_))) => Self::NotFound,
            _ => Self::Failure,
        }
    }
}

/// `dropforge list | head` is nobody's mistake.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
            || matches!(cause.downcast_ref(), Some(ClientError::File(_, error)) if error.kind() == ErrorKind::BrokenPipe)
    })
}

/// What was named is not there. Whatever else looks for files has reported that in its own words.
fn is_missing_file(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound))
}
