//! Input that has to be JSON: where it is not, and what was probably meant.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use serde::de::IgnoredAny;
use tokio::io::AsyncReadExt;

use crate::cli::exit::{Complaint, Exit};

/// How a host says that an input is no JSON.
pub(super) const WANTED: &str = " reads JSON, and the input is not: ";
/// What is named in advice is no longer than a command line.
const NAME_BYTES_MAX: usize = 200;

/// JSON as it was typed, or as standard input has it.
pub(super) async fn typed(typed: &str) -> anyhow::Result<String> {
    let (mut text, mut place) = (typed.to_owned(), "--input");
    if typed == "-" {
        (text, place) = (String::new(), "standard input");
        let reading = tokio::io::stdin().read_to_string(&mut text).await;
        reading.context("cannot read the input from standard input")?;
    }
    if text.trim().is_empty() {
        let detail = format!("there is no input: {place} is empty");
        return Err(Complaint::usage(detail, "JSON belongs there, such as --input '{}' or --input null").into());
    }
    match check(place, text.as_bytes()) {
        Ok(()) => Ok(text),
        Err(complaint) if typed == "-" => Err(complaint.into()),
        Err(complaint) => Err(Complaint { advice: Some(meant(typed)), ..complaint }.into()),
    }
}

/// Says where this is no JSON.
pub(super) fn check(place: &str, text: &[u8]) -> Result<(), Complaint> {
    serde_json::from_slice::<IgnoredAny>(text).map(|_| ()).map_err(|error| complaint(place, &error))
}

/// The same of a file of any size, if it can be read once more: what came through a pipe is gone.
pub(super) async fn check_file(path: &Path) -> anyhow::Result<Option<Complaint>> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        if !std::fs::metadata(&owned)?.is_file() {
            return Ok(None);
        }
        let file = BufReader::new(File::open(&owned)?);
        Ok::<_, std::io::Error>(serde_json::from_reader::<_, IgnoredAny>(file).err())
    });
    let error = read.await??.filter(|error| !error.is_io());
    Ok(error.map(|error| complaint(&path.display().to_string(), &error)))
}

fn complaint(place: &str, error: &serde_json::Error) -> Complaint {
    let (line, column) = (error.line(), error.column());
    let whole = error.to_string();
    let why = whole.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&whole);
    Complaint {
        exit: Exit::Usage,
        code: "invalid_json",
        title: "The input is not JSON",
        detail: format!("the input is not JSON: {place}, line {line}, column {column}: {why}"),
        advice: Some("mend the JSON there; --file takes any file, for kinds that read others".to_owned()),
    }
}

/// What people type where JSON belongs.
fn meant(typed: &str) -> String {
    let name = typed.strip_prefix('@').unwrap_or(typed);
    if name.len() <= NAME_BYTES_MAX && !name.contains(char::is_whitespace) {
        if typed.starts_with('@') || Path::new(name).is_file() || name.ends_with(".json") {
            return format!("--input takes the JSON itself; --file {name} takes a file, and so does its name alone");
        }
        if !name.contains(['{', '[', '"', '\'']) {
            return format!(
                "a text is JSON between double quotes: --input '\"{name}\"'; --file takes a file of any type"
            );
        }
    }
    "in a shell, put JSON between single quotes, and its names and texts in double ones: --input '{\"a\": 1}'; --file takes a file of any type"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_its_line_and_column() {
        let complaint = check("in.json", b"{\n  \"a\": ,\n}").expect_err("it is none");
        assert!(complaint.detail.contains("in.json, line 2, column 8: expected value"), "{}", complaint.detail);
        assert!(check("x", b" [1, {\"a\": null}] ").is_ok());
    }

    #[test]
    fn what_was_meant_is_guessed() {
        for (typed, hint) in [
            ("@in.json", "--file in.json"),
            ("absent.json", "--file absent.json"),
            ("hello", "'\"hello\"'"),
            ("{a: 1}", "single quotes"),
            ("{a:1}", "single quotes"),
        ] {
            assert!(meant(typed).contains(hint), "{typed}: {}", meant(typed));
        }
    }
}
