//! Under what conditions a client wants the bytes: what it has already, and what it must have (RFC 9110, section 13).

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::protect;
use super::range::{Part, parse_range};
use crate::api::problem::Problem;

/// The fields [`Wanted`] reads, one by one.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(in crate::api) struct Conditions {
    /// Entity tags of what the client has already, or `*`: then 304.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
    /// Entity tags one of which it must have, or `*`: else 412.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// Under what conditions a client wants the bytes, and which of them.
#[derive(Debug, Default)]
pub(in crate::api) struct Wanted {
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_range: Option<String>,
    range: Option<String>,
}

impl Wanted {
    /// What a `GET` or `HEAD` says. A range means something with `GET` alone.
    pub(in crate::api) fn by(method: &Method, headers: &HeaderMap) -> Self {
        let all = |name| {
            let lines = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            lines.reduce(|before, line| before + ", " + line).map(String::from)
        };
        Self {
            if_match: all(header::IF_MATCH),
            if_none_match: all(header::IF_NONE_MATCH),
            if_range: all(header::IF_RANGE),
            range: all(header::RANGE).filter(|_| method == Method::GET),
        }
    }

    /// `304` if the client has these bytes already, `412` if it wants others; nothing if it is to get them.
    pub(in crate::api) fn precondition(&self, tag: &str) -> Result<Option<Response>, Problem> {
        if let Some(tags) = &self.if_match
            && !names(tags, tag, false)
        {
            return Err(Problem::precondition_failed());
        }
        if self.if_none_match.as_ref().is_some_and(|tags| names(tags, tag, true)) {
            let mut unchanged = StatusCode::NOT_MODIFIED.into_response();
            // What is kept is kept under the same terms.
            protect(unchanged.headers_mut(), tag);
            return Ok(Some(unchanged));
        }
        Ok(None)
    }

    pub(super) fn part_of(&self, tag: &str, size: u64) -> Part {
        match &self.range {
            // Other bytes than the client has the beginning of: it gets all of them. A date never matches, as there is none.
            Some(_) if self.if_range.as_ref().is_some_and(|known| known.trim() != tag) => Part::Whole,
            Some(range) => parse_range(range, size),
            None => Part::Whole,
        }
    }
}

/// Whether a list of entity tags, or `*`, names this one.
fn names(tags: &str, tag: &str, weakly: bool) -> bool {
    // A tag of ours has no comma in it, so one that is cut at a comma is not ours.
    tags.split(',').map(str::trim).any(|given| {
        let given = if weakly { given.strip_prefix("W/").unwrap_or(given) } else { given };
        given == "*" || given == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_strongly_or_weakly() {
        let tag = "\"a\"";
        for (tags, weakly, strongly) in [
            ("\"a\"", true, true),
            ("\"b\" , \"a\"", true, true),
            ("*", true, true),
            ("W/\"a\"", true, false),
            ("a", false, false),
            ("\"b\"", false, false),
        ] {
            assert_eq!((names(tags, tag, true), names(tags, tag, false)), (weakly, strongly), "{tags}");
        }
    }
}
