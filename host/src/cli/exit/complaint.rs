//! What the command line itself finds wrong, before or beside a host.

use std::fmt;

use super::Exit;
use crate::client::Refusal;

/// Something that cannot be done as it was typed.
#[derive(Debug)]
pub(in crate::cli) struct Complaint {
    /// How the command ends.
    pub(in crate::cli) exit: Exit,
    /// Stable word for programs.
    pub(in crate::cli) code: &'static str,
    /// The same in a few words for people.
    pub(in crate::cli) title: &'static str,
    /// What exactly.
    pub(in crate::cli) detail: String,
    /// What to try.
    pub(in crate::cli) advice: Option<String>,
}

impl Complaint {
    /// What was typed makes no sense.
    pub(in crate::cli) fn usage(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            code: "usage",
            title: "Wrong usage",
            detail: detail.into(),
            advice: Some(advice.into()),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Complaint {}

/// The refusal of a job that no host was asked to take, in the words of one.
#[derive(Debug)]
pub(in crate::cli) struct NotTaken(pub(in crate::cli) Box<Refusal>);

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.title, self.0.detail)
    }
}

impl std::error::Error for NotTaken {}
