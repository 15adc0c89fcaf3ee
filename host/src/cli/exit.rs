//! How a command ends: the code for programs, and an error in words that say what to try.

use std::fmt;
use std::io::{ErrorKind, Write, stderr};
use std::process::ExitCode;

use console::style;
use serde_json::json;

use super::text::{paragraph, printable};
use crate::client::{ClientError, Refusal};

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
    let whole = |text: &str| vec![format!("{label} {}", paragraph(text, "  "))];
    let (mut lines, advised) = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(refusal)) => (refused(refusal), advice_for(refusal)),
        Some(error @ ClientError::Unreachable(url, _)) => {
            (whole(&error.to_string()), Some(advice_to_reach(url, error)))
        }
        Some(error @ ClientError::NotUnderstood(..)) => {
            let advice = "check that --url or DROPFORGE_URL is the address of a Dropforge host";
            (whole(&error.to_string()), Some(advice.to_owned()))
        }
        _ => match error.downcast_ref() {
            Some(NotTaken(refusal)) => (refused(refusal), None),
            None => (whole(&format!("{error:#}")), None),
        },
    };
    lines.extend(advised.as_deref().map(advice));
    lines.join("\n") + "\n"
}

/// A refusal: what it is called, what is wrong, and where.
fn refused(refusal: &Refusal) -> Vec<String> {
    let label = style("error:").red().bold().for_stderr();
    let mut lines = vec![format!("{label} {}", printable(&refusal.title))];
    lines.push(format!("  {}", paragraph(&refusal.detail, "  ")));
    lines.extend(mistakes(refusal));
    lines
}

/// What to try, as a line of its own.
pub(super) fn advice(what: &str) -> String {
    format!("{} {what}", style("  try:").cyan().for_stderr())
}

/// Where each mistake is, unless the detail says it already.
fn mistakes(refusal: &Refusal) -> impl Iterator<Item = String> {
    refusal.errors.iter().filter_map(|mistake| {
        let place = mistake.pointer.as_ref().or(mistake.parameter.as_ref()).filter(|place| !place.is_empty())?;
        let is_said = refusal.detail.contains(&mistake.detail);
        (!is_said).then(|| format!("  {}: {}", printable(place), paragraph(&mistake.detail, "    ")))
    })
}

fn advice_to_reach(url: &str, error: &ClientError) -> String {
    match url.strip_prefix("https://") {
        Some(rest) if error.speaks_no_tls() => format!("--url http://{}", printable(rest)),
        _ => "start a host with `dropforge serve`, or name another with --url or DROPFORGE_URL".to_owned(),
    }
}

fn advice_for(refusal: &Refusal) -> Option<String> {
    // What the request was about, as far as it said so itself.
    let about = |what: &str| match refusal.path.as_slice() {
        [first, name, ..] if first == what => Some(printable(name).into_owned()),
        _ => None,
    };
    let id = about("jobs").unwrap_or_else(|| "ID".to_owned());
    let kind = about("kinds").unwrap_or_else(|| "KIND".to_owned());
    Some(match (refusal.status, refusal.code.as_str()) {
        (_, "unknown_kind") => {
            "`dropforge kinds` lists the kinds, `dropforge plugins` says what became of each file".to_owned()
        }
        (_, "unknown_job") => "`dropforge list` shows the newest jobs".to_owned(),
        (422, "invalid_input") => format!(
            "`dropforge kinds {kind}` shows what it reads, with an example; --input JSON or --file FILE gives it"
        ),
        (422, "invalid_option") => "`dropforge submit --help` says what each option takes".to_owned(),
        (409, "cancelled") => format!("`dropforge retry {id}` runs it again"),
        (409, "wrong_state") => format!("`dropforge status {id}` shows where the job stands"),
        (409, _) => format!(
            "`dropforge logs {id}` shows what it wrote, `dropforge status {id}` what it used; `dropforge retry {id}` runs it again"
        ),
        (410, _) => "submit the job again; the host's setting `keep` says how long results are kept".to_owned(),
        (413, _) => {
            "send large inputs with --file, to a kind that reads files; the host sets `body_bytes_max`".to_owned()
        }
        (401, _) => {
            "give a token with --token or DROPFORGE_TOKEN; `dropforge token new` makes one on the host's machine"
                .to_owned()
        }
        (403, _) => {
            "use a token that may do this; `dropforge token list` on the host's machine shows what each may".to_owned()
        }
        _ => return refusal.retry_after.map(|seconds| format!("the same again in {seconds} s")),
    })
}
