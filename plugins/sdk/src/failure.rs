//! How a job ends badly, in a word.

use std::fmt::Display;
use std::time::Duration;

use crate::Failure;
use crate::bindings::dropforge::job::host::ArtifactError;
use crate::bindings::dropforge::job::types::{InputError, Transient};

/// The client's input or parameters are wrong, and sending the same again cannot work. Say what is wrong and where.
pub fn invalid_input(message: impl Display) -> Failure {
    Failure::InvalidInput(message.to_string())
}

/// The job cannot succeed for any other reason, and trying again is useless.
pub fn permanent(message: impl Display) -> Failure {
    Failure::Permanent(message.to_string())
}

/// It did not work this time but may later: after this time at the earliest, if that is known.
pub fn transient(message: impl Display, retry_after: Option<Duration>) -> Failure {
    let retry_after_ms = retry_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    Failure::Transient(Transient { message: message.to_string(), retry_after_ms })
}

/// Whatever a job reads and writes through the host lies on the host's disk, which may be better next time.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        transient(error, None)
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        match error {
            InputError::TooLarge(size) => invalid_input(format!("the input has {size} bytes, at most 1 MiB is read")),
            InputError::NotFound => permanent("the host does not have what was to be read"),
            InputError::Unavailable(reason) => transient(format!("the host could not read: {reason}"), None),
        }
    }
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::InvalidName(reason) => permanent(format!("no name of an artifact: {reason}")),
            ArtifactError::AlreadyExists => permanent("there is an artifact of this name already"),
            ArtifactError::TooMany => permanent("the job has as many artifacts as it may have"),
            ArtifactError::Unavailable(reason) => transient(format!("the host could not write: {reason}"), None),
        }
    }
}
