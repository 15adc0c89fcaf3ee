//! Words as they are typed: what they cannot be is told at once, not by a host that is asked for something else.

use std::path::Path;

use anyhow::{Context, bail};

/// A whole number, not below zero.
pub(super) fn whole_number(text: &str) -> anyhow::Result<usize> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("a whole number is expected, such as 20"),
    }
}

/// The id of a job, also where its path was given, as `Location` has it.
pub(super) fn id(text: &str) -> anyhow::Result<String> {
    // It may name another host than the one that will be asked.
    if text.contains("://") {
        bail!("it is an address; give the id alone, and the host with --url");
    }
    name(text.strip_prefix("/v1/jobs/").map_or(text, |id| id.trim_end_matches('/')))
}

/// A name that can be a segment of a path.
pub(super) fn name(text: &str) -> anyhow::Result<String> {
    match text {
        "" => bail!("it is empty"),
        // A path with them would be that of something else.
        "." | ".." => bail!("it is no name"),
        _ => Ok(text.to_owned()),
    }
}

/// Looks whether something that was named is there, before anything else is done.
pub(super) fn must_be_there(what: &str, path: &Path) -> anyhow::Result<()> {
    std::fs::metadata(path).map(drop).with_context(|| format!("cannot read {what} {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_job_is_its_id() {
        for text in ["01a-b", "/v1/jobs/01a-b", "/v1/jobs/01a-b/"] {
            assert_eq!(id(text).expect("an id"), "01a-b");
        }
        for text in ["", "..", "/v1/jobs/", "/v1/jobs/..", "http://127.0.0.1:8080/v1/jobs/01a-b"] {
            assert!(id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_is_whole() {
        assert_eq!(whole_number("0").expect("a number"), 0);
        for text in ["", "x", "-1", "1.5"] {
            assert!(whole_number(text).is_err(), "{text}");
        }
    }
}
