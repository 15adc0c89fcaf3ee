//! What can go wrong with a job, whose doing it was, and whether trying again can help.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whose doing a failure was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The client's request.
    Job,
    /// The plugin's code.
    Plugin,
    /// The host, or something it depends on.
    Host,
}

/// Why an attempt or a job failed. The names are part of the HTTP contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The plugin refused the input or the parameters.
    InvalidInput,
    /// The plugin's permanent error, or a non-zero exit.
    PluginError,
    /// The plugin asked to be tried again later.
    Transient,
    /// The guest trapped: a panic, an abort, an illegal instruction, a stack overflow.
    Trap,
    /// The fuel budget is used up.
    OutOfFuel,
    /// The attempt's time is over.
    DeadlineExceeded,
    /// The guest asked for more memory than granted.
    MemoryExceeded,
    /// Result and artifacts together are larger than granted.
    OutputTooLarge,
    /// The guest needed something that was not granted.
    Denied,
    /// No plugin of that kind.
    PluginMissing,
    /// The plugin cannot be run.
    PluginInvalid,
    /// The job brought the host process down.
    HostCrash,
    /// A job this one depends on did not succeed.
    ParentFailed,
    /// It was not started before `expires_in` was over.
    Expired,
    /// Anything unrecognised. A host failure, never a success.
    Internal,
}

impl Code {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidInput => "invalid_input",
            Code::PluginError => "plugin_error",
            Code::Transient => "transient",
            Code::Trap => "trap",
            Code::OutOfFuel => "out_of_fuel",
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::MemoryExceeded => "memory_exceeded",
            Code::OutputTooLarge => "output_too_large",
            Code::Denied => "denied",
            Code::PluginMissing => "plugin_missing",
            Code::PluginInvalid => "plugin_invalid",
            Code::HostCrash => "host_crash",
            Code::ParentFailed => "parent_failed",
            Code::Expired => "expired",
            Code::Internal => "internal",
        }
    }

    fn fault(self) -> Fault {
        match self {
            Code::InvalidInput | Code::ParentFailed | Code::Expired => Fault::Job,
            Code::PluginMissing | Code::Internal => Fault::Host,
            _ => Fault::Plugin,
        }
    }

    /// Whether the host tries again by itself. A kind's settings may add more.
    fn retryable(self) -> bool {
        matches!(self, Code::Transient | Code::Internal)
    }
}

/// Why a job failed, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, for people. At most 1,024 bytes.
    pub message: String,
    /// Whose doing it was.
    pub fault: Fault,
    /// Whether the host tries such a failure again while attempts are left.
    pub retryable: bool,
}

impl Failure {
    /// Longer messages are cut, visibly. A message may have several lines, and no other control characters.
    pub const MESSAGE_BYTES_MAX: usize = 1024;

    /// Stands in a message before what the guest wrote last, if that is told.
    pub const LAST_WORDS: &str = "; it wrote last:\n";

    /// A failure whose fault and retryability follow from its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: printable(message.into(), "\n", Self::MESSAGE_BYTES_MAX),
            fault: code.fault(),
            retryable: code.retryable(),
        }
    }

    /// Adds something to the message, before the guest's last words.
    pub fn add(&mut self, more: &str) {
        let at = self.message.find(Self::LAST_WORDS).unwrap_or(self.message.len());
        self.message.insert_str(at, more);
        self.message = shorten(std::mem::take(&mut self.message), Self::MESSAGE_BYTES_MAX);
    }
}

/// A text of a guest for people to read: cut like [`shorten`], and without control characters, which steer a terminal, but
/// for tabs and those `allowed`.
pub fn printable(text: String, allowed: &str, bytes_max: usize) -> String {
    // Cut first: it may have many megabytes.
    let text = shorten(text, bytes_max);
    let is_hostile = |c: char| c.is_control() && c != '\t' && !allowed.contains(c);
    if text.contains(is_hostile) { shorten(text.replace(is_hostile, "\u{fffd}"), bytes_max) } else { text }
}

/// Cuts a text at a character boundary so that it fits into `bytes_max`, and marks the cut.
pub fn shorten(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub('…'.len_utf8())));
        text.push('…');
        // A guest's message may have been many megabytes.
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_steer_a_terminal() {
        let failure = Failure::new(Code::PluginError, "line 3:\n\tno \u{1b}[31mpage\u{9b}\r\0");
        assert_eq!(failure.message, "line 3:\n\tno \u{fffd}[31mpage\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn long_messages_are_cut_visibly_between_characters() {
        let cut = shorten("ü".repeat(600), 1024);
        assert!(cut.len() <= 1024 && cut.ends_with('…'));
    }
}
