//! What is wrong with a request itself, whoever sent it.

use axum::http::{HeaderValue, StatusCode, header};

use super::Problem;

impl Problem {
    /// The request cannot be understood.
    pub(in crate::api) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request is malformed", detail)
    }

    /// The request is understood, but a value in it cannot be accepted.
    pub(in crate::api) fn invalid_option(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_option", "A value cannot be accepted", detail)
    }

    /// Input or parameters do not fit what the kind reads.
    pub(in crate::api) fn invalid_input(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_input", "The input does not fit the kind", detail)
    }

    /// No such path.
    pub(in crate::api) fn not_found(path: &str) -> Self {
        let detail = format!("there is nothing at {path}; the API begins at /v1/kinds");
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// The path is there, the method is not.
    pub(in crate::api) fn method_not_allowed(method: &str, path: &str) -> Self {
        let detail = format!("{method} is not offered at {path}; the Allow field names what is");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
    }

    /// The body is larger than accepted.
    pub(in crate::api) fn too_large(limit: u64, advice: &str) -> Self {
        let detail = format!("the body is larger than {limit} bytes, the most that is accepted here{advice}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large", detail)
    }

    /// The client wants other bytes than there are.
    pub(in crate::api) fn precondition_failed() -> Self {
        let detail = "what is stored here has another entity tag than If-Match names; GET it again without that field";
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "Not what was expected", detail)
            .in_parameter("If-Match", detail)
    }

    /// The range begins beyond the end.
    pub(in crate::api) fn range_not_satisfiable(size: u64) -> Self {
        let detail = format!("there are {size} bytes here, and the Range field asks for none of them");
        let mut problem =
            Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "Beyond the end", detail.clone());
        let range = HeaderValue::try_from(format!("bytes */{size}")).expect("digits can stand in a header");
        problem.0.headers.push((header::CONTENT_RANGE, range));
        problem.in_parameter("Range", detail)
    }

    /// The request does not begin a WebSocket.
    pub(in crate::api) fn no_websocket(why: &str) -> Self {
        let detail = format!(
            "this is a WebSocket, version 13, over HTTP/1.1 or HTTP/2, and the request does not begin one: {why}"
        );
        Self::new(StatusCode::BAD_REQUEST, "no_websocket", "Not a WebSocket", detail)
    }

    /// One client follows as much as it may.
    pub(in crate::api) fn follows_too_much(most: usize) -> Self {
        let detail = format!(
            "{most} jobs and kinds are followed over this connection, the most there may be; unsubscribe, or open another"
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "follows_too_much", "Too much is followed", detail)
    }
}
