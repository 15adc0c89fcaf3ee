//! What is said in passing, on standard error: where results go there is nothing but the result.

use std::io::{Write, stderr};
use std::time::Duration;

use console::style;
use serde_json::json;

use super::text::{duration, printable};

/// A word for programs and a sentence for people.
pub(super) struct Note {
    code: &'static str,
    sentence: String,
}

impl Note {
    pub(super) fn new(code: &'static str, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }

    /// As one line.
    pub(super) fn line(&self, as_json: bool) -> String {
        if as_json {
            return json!({"note": self.code, "detail": self.sentence}).to_string();
        }
        style(printable(&self.sentence)).dim().for_stderr().to_string()
    }
}

/// Says it where there is no bar in the way.
pub(super) fn tell(as_json: bool, note: &Note) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(stderr(), "{}", note.line(as_json));
}

/// The host is gone.
pub(super) fn away(patience: Duration) -> Note {
    let most = duration(patience);
    Note::new("host_away", format!("the host went away; its jobs are kept. Trying for up to {most} to reach it again"))
}

/// The host is there again.
pub(super) fn back() -> Note {
    Note::new("host_back", "the host is back")
}
