//! An error in words: what is wrong, where, and what to try; or as one JSON document for programs.

use std::io::{Write, stderr};

use console::style;
use serde_json::json;

use super::advice::advised;
use super::places::described;
use super::{Complaint, NotTaken, is_closed_pipe};
use crate::cli::text::{paragraph, printable};
use crate::client::{ClientError, Refusal};

/// What most terminals have room for behind `try:`.
const ADVICE_WIDTH: usize = 73;

/// Says on standard error what went wrong.
pub fn tell(error: &anyhow::Error, as_json: bool) {
    tell_it(error, None, as_json);
}

/// The same of one of several jobs that a command is about.
pub(in crate::cli) fn tell_of(about: &str, error: &anyhow::Error, as_json: bool) {
    tell_it(error, Some(about), as_json);
}

fn tell_it(error: &anyhow::Error, about: Option<&str>, as_json: bool) {
    if is_closed_pipe(error) {
        return;
    }
    let text = if as_json { as_document(error, about) } else { as_text(error, about) };
    // Where standard error is closed there is nobody to tell.
    let _ = stderr().write_all(text.as_bytes());
}

/// What to try, as a line of its own. Several commands that would not fit beside each other have a line each.
pub(in crate::cli) fn advice(what: &str) -> String {
    let label = style("  try:").cyan().for_stderr();
    if what.chars().count() <= ADVICE_WIDTH {
        return format!("{label} {what}");
    }
    let lines = what.replace(", `dropforge ", "\n       `dropforge ").replace("; `dropforge ", "\n       `dropforge ");
    format!("{label} {lines}")
}

/// What a host or its like has refused, if that is the error.
fn refusal(error: &anyhow::Error) -> Option<&Refusal> {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(NotTaken(refusal)), _) | (_, Some(ClientError::Refused(refusal))) => Some(refusal),
        _ => None,
    }
}

/// The host's own document, or one of the same form; with what it is about and what to try behind all else.
fn as_document(error: &anyhow::Error, about: Option<&str>) -> String {
    let document = match (refusal(error), error.downcast_ref()) {
        (Some(refusal), _) => refusal.document.trim_end().to_owned(),
        (None, Some(Complaint { code, title, detail, .. })) => {
            json!({"code": code, "title": title, "detail": detail}).to_string()
        }
        (None, None) => match error.downcast_ref() {
            Some(ClientError::Unreachable(..)) => {
                json!({"code": "unreachable", "title": "No host answers", "detail": error.to_string()}).to_string()
            }
            _ => json!({"code": "error", "title": "The command failed", "detail": format!("{error:#}")}).to_string(),
        },
    };
    let more = [("id", about.map(str::to_owned)), ("try", advised(error))];
    let more = more.into_iter().filter_map(|(name, value)| Some((name, value?)));
    more.fold(document, |document, (name, value)| with_member(&document, name, &value)) + "\n"
}

/// Text of one object with another member at its end. All else stays as it came.
fn with_member(object: &str, name: &str, value: &str) -> String {
    match object.strip_suffix('}') {
        Some(members) if !members.trim_end().ends_with('{') => format!("{members},{}:{}}}", json!(name), json!(value)),
        _ => object.to_owned(),
    }
}

fn as_text(error: &anyhow::Error, about: Option<&str>) -> String {
    let label = style("error:").red().bold().for_stderr();
    let about = about.map(|about| format!("{}: ", printable(about))).unwrap_or_default();
    let mut lines = match refusal(error) {
        Some(refusal) => {
            let title = format!("{label} {about}{}", printable(&refusal.title));
            std::iter::once(title).chain(described(refusal)).collect()
        }
        None => vec![format!("{label} {about}{}", paragraph(&format!("{error:#}"), "  "))],
    };
    lines.extend(advised(error).as_deref().map(advice));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_try_are_a_line_each_where_they_would_not_fit_in_one() {
        let advice = |what: &str| console::strip_ansi_codes(&super::advice(what)).into_owned();
        assert_eq!(
            advice("`dropforge kinds` lists them, `dropforge x` too"),
            "  try: `dropforge kinds` lists them, `dropforge x` too"
        );
        let id = "01a20018-6e65-71ec-acc1-066f1a3a0b2f";
        assert_eq!(
            advice(&format!(
                "`dropforge logs {id}` shows its log, `dropforge status {id}` more; `dropforge retry {id}` runs it"
            )),
            format!(
                "  try: `dropforge logs {id}` shows its log\n       `dropforge status {id}` more\n       `dropforge retry {id}` runs it"
            )
        );
    }

    #[test]
    fn a_document_of_the_host_keeps_its_own_words() {
        assert_eq!(with_member("{\"b\": 1, \"a\":2}", "try", "\"it\""), "{\"b\": 1, \"a\":2,\"try\":\"\\\"it\\\"\"}");
        assert_eq!(with_member("{}", "try", "it"), "{}");
        assert_eq!(with_member("no object", "try", "it"), "no object");
    }
}
