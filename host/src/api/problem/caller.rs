//! Who may not ask, here or this often.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::Problem;
use crate::events::TooMany;
use crate::rate::Rate;

impl Problem {
    /// Whoever asks has not shown a token, or none that is known.
    pub(in crate::api) fn unauthorized(shown: bool) -> Self {
        let (detail, challenge) = if shown {
            (
                "the token in the Authorization field is not known here: it was revoked, or is cut short",
                "Bearer realm=\"dropforge\", error=\"invalid_token\"",
            )
        } else {
            ("send a token of this host as Authorization: Bearer dfk_…", "Bearer realm=\"dropforge\"")
        };
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail);
        problem.0.headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        problem.in_parameter("Authorization", detail)
    }

    /// This client has asked more often than it may.
    pub(in crate::api) fn too_many_requests(rate: Rate, wait: Duration) -> Self {
        let detail = format!("more than {rate} are not answered; the Retry-After field says when the next one is");
        let seconds = u32::try_from(wait.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX).max(1);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail).retry_after(seconds)
    }

    /// A page of another origin tries to use this host.
    pub(in crate::api) fn foreign_origin() -> Self {
        let detail = "a page of this origin may not use this host; its operator can allow it by cors_origins";
        Self::new(StatusCode::FORBIDDEN, "foreign_origin", "Not from this page", detail).in_parameter("Origin", detail)
    }

    /// It was asked under a name that is not known to be this host's.
    pub(in crate::api) fn foreign_host() -> Self {
        let detail = "this host asks for no token, and so answers to addresses, names without a dot and the names in its setting hosts \
                      alone: any page could have another name lead here; its operator can add the name to hosts, or make a token";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", "Not a name of this host", detail)
            .in_parameter("Host", detail)
    }

    fn too_many_connections() -> Self {
        let detail = "as many connections are open as may be (connections_max); try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", "Too many connections", detail)
            .retry_after(1)
    }

    /// The token is not for this.
    pub(in crate::api) fn missing_scope(scope: &'static str) -> Self {
        let detail =
            format!("the token lacks the scope {scope}; `dropforge token new --scope {scope}` makes one that has it");
        let mut problem = Self::new(StatusCode::FORBIDDEN, "missing_scope", "The token is not for this", detail);
        let challenge = format!("Bearer realm=\"dropforge\", error=\"insufficient_scope\", scope=\"{scope}\"");
        let challenge = HeaderValue::try_from(challenge).expect("a scope is a word");
        problem.0.headers.push((header::WWW_AUTHENTICATE, challenge));
        problem.with("scope", json!(scope))
    }

    /// The token is for other kinds.
    pub(in crate::api) fn foreign_kind(kind: &str) -> Self {
        let detail = format!("the token is not for the kind {kind:?}; GET /v1/kinds lists those it is for");
        Self::new(StatusCode::FORBIDDEN, "foreign_kind", "The token is for other kinds", detail)
            .with("kind", json!(kind))
    }

    fn too_many_listeners() -> Self {
        let detail = "as many clients follow events here as may at a time (listeners_max); try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", "Too many listeners", detail).retry_after(5)
    }
}

impl From<TooMany> for Problem {
    fn from(_: TooMany) -> Self {
        Self::too_many_listeners()
    }
}

/// What is written to a connection that is one too many: an answer to whatever is asked on it, in HTTP/1.1.
pub fn refusal_of_a_connection() -> Vec<u8> {
    let Problem(members) = Problem::too_many_connections();
    let body = serde_json::to_string(&members).unwrap_or_default();
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n";
    format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
