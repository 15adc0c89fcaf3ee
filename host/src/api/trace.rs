//! Where a request comes from and what becomes of it: W3C Trace Context, kept with the job and handed on, and the span that
//! the log shows what happens in a request under.

use axum::extract::Request;
use axum::http::HeaderMap;
use tracing::Span;
use tracing::field::display;
use utoipa::IntoParams;

use crate::job::{JobId, Kind};

/// The field [`parent`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(super) struct Traced {
    /// Where the request comes from (W3C Trace Context), kept with the job and handed on; one that is malformed counts as none.
    traceparent: Option<String>,
}

/// The `traceparent` field. One that is not well-formed counts as none, as the standard wants.
pub(super) fn parent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let text = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    well_formed(text)
}

/// A `traceparent`, unless it is none.
pub(super) fn well_formed(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| is_well_formed(text)).map(str::to_owned)
}

/// Puts a request under a span of its own: method and route, never what a client has written besides, and the job's id if
/// that stands in its path.
pub(super) fn span(request: &Request, route: Option<&'static str>) -> Span {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return Span::none();
    }
    let route = route.unwrap_or_default();
    let id = route.starts_with("/v1/jobs/{id}").then(|| request.uri().path().split('/').nth(3)).flatten();
    let id = id.and_then(|id| JobId::parse_str(id).ok()).map(display);
    let method = request.method().as_str();
    tracing::debug_span!("request", method, route, job.id = id, traceparent = parent(request.headers()))
}

/// Tells the log that a job was taken in: from here on its id leads on.
pub(super) fn accepted(id: JobId, kind: &Kind, traceparent: Option<&str>) {
    // Many jobs may come in one request, so the line says itself which it is about.
    tracing::debug!(job.id = %id, job.kind = %kind, traceparent, "job accepted");
}

fn is_well_formed(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return false };
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_something = |part: &str| part.bytes().any(|byte| byte != b'0');
    is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_something(trace)
        && is_hex(span, 16)
        && is_something(span)
        && is_hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_allows_is_taken() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_well_formed(good));
        for wrong in [
            "",
            "00",
            &good[..54],
            &format!("{good}0"),
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            &good.replace("b7ad6b7169203331", "0000000000000000"),
            &good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        ] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }
}
