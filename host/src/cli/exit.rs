//! How a command ends: the code for programs, and an error in words that say what to try.

use std::fmt;
use std::io::{ErrorKind, Write, stderr};
use std::process::ExitCode;

use console::style;
use serde_json::json;

use super::text::printable;
use crate::client::{ClientError, Refusal};

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Something went wrong that has no code of its own.
    Failure = 1,
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
}

/// The codes, for `--help`. Wrong usage is 2, as everywhere.
pub(super) const CODES: &str = "Exit codes:\n  \
    0  done                          6  no such job, kind or file\n  \
    1  anything without a code       7  the host refused the request\n  \
    2  wrong usage                   8  the token is missing or may not do this\n  \
    3  the job failed                9  the host is busy or full: try later\n  \
    4  the job was cancelled        10  no host answers\n  \
    5  the job has not ended yet";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
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
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Unreachable(..)) => Self::Unreachable,
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
            _ => Self::Failure,
        }
    }
}

/// The refusal of a job that no host was asked to take, in the words of one.
#[derive(Debug)]
pub(super) struct NotTaken(pub(super) Box<Refusal>);

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.title, self.0.detail)
    }
}

impl std::error::Error for NotTaken {}

/// Says on standard error what went wrong.
pub fn tell(error: &anyhow::Error, as_json: bool) {
    if is_closed_pipe(error) {
        return;
    }
    let text = if as_json { as_document(error) } else { as_text(error) };
    // Where standard error is closed there is nobody to tell.
    let _ = stderr().write_all(text.as_bytes());
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

/// The host's own document, or one of the same form.
fn as_document(error: &anyhow::Error) -> String {
    if let Some(NotTaken(refusal)) = error.downcast_ref() {
        return format!("{}\n", refusal.document.trim_end());
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(refusal)) => format!("{}\n", refusal.document.trim_end()),
        Some(ClientError::Unreachable(..)) => {
            format!("{}\n", json!({"code": "unreachable", "title": "No host answers", "detail": error.to_string()}))
        }
        _ => format!("{}\n", json!({"code": "error", "title": "The command failed", "detail": format!("{error:#}")})),
    }
}

fn as_text(error: &anyhow::Error) -> String {
    let label = style("error:").red().bold().for_stderr();
    let mut lines = Vec::new();
    let refused = |lines: &mut Vec<String>, refusal: &Refusal| {
        lines.push(format!("{label} {}", printable(&refusal.title)));
        lines.push(format!("  {}", printable(&refusal.detail)));
        lines.extend(mistakes(refusal));
    };
    let advice = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(refusal)) => {
            refused(&mut lines, refusal);
            advice_for(refusal)
        }
        _ if let Some(NotTaken(refusal)) = error.downcast_ref() => {
            refused(&mut lines, refusal);
            None
        }
        Some(ClientError::Unreachable(..)) => {
            lines.push(format!("{label} {}", printable(&error.to_string())));
            Some("start a host with `dropforge serve`, or name another with --url or DROPFORGE_URL".to_owned())
        }
        Some(ClientError::NotUnderstood(..)) => {
            lines.push(format!("{label} {}", printable(&error.to_string())));
            Some("check that --url or DROPFORGE_URL is the address of a Dropforge host".to_owned())
        }
        _ => {
            lines.push(format!("{label} {}", printable(&format!("{error:#}"))));
            None
        }
    };
    if let Some(advice) = advice {
        lines.push(format!("{} {advice}", style("  try:").cyan().for_stderr()));
    }
    lines.join("\n") + "\n"
}

/// Where each mistake is. One in the whole is in the detail already.
fn mistakes(refusal: &Refusal) -> impl Iterator<Item = String> {
    refusal.errors.iter().filter_map(|mistake| {
        let place = mistake.pointer.as_ref().or(mistake.parameter.as_ref()).filter(|place| !place.is_empty())?;
        Some(format!("  {}: {}", printable(place), printable(&mistake.detail)))
    })
}

fn advice_for(refusal: &Refusal) -> Option<String> {
    let advice = match (refusal.status, refusal.code.as_str()) {
        (_, "unknown_kind") => "`dropforge kinds` lists the kinds, `dropforge plugins` says what became of each file",
        (_, "unknown_job") => "`dropforge list` shows the newest jobs",
        (422, "invalid_input") => "`dropforge kinds KIND` shows what it reads, with an example",
        (422, "invalid_option") => "`dropforge submit --help` says what each option takes",
        (409, "cancelled") => "`dropforge retry ID` runs it again",
        (409, "wrong_state") => "`dropforge status ID` shows where the job stands",
        (409, _) => {
            "`dropforge logs ID` shows what it wrote, `dropforge status ID` what it used; `dropforge retry ID` runs it again"
        }
        (410, _) => "submit the job again; the host's setting `keep` says how long results are kept",
        (413, _) => "send large inputs with --file, to a kind that reads files; the host sets `body_bytes_max`",
        (401, _) => {
            "give a token with --token or DROPFORGE_TOKEN; `dropforge token new` makes one on the host's machine"
        }
        (403, _) => "use a token that may do this; `dropforge token list` on the host's machine shows what each may",
        _ => return refusal.retry_after.map(|seconds| format!("the same again in {seconds} s")),
    };
    Some(advice.to_owned())
}
