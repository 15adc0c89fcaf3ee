//! Every refusal as RFC 9457 problem+json. The only place where errors become HTTP statuses.
//!
//! Here is what a refusal is made of and how it travels. Which refusals there are stands beside it: `request` for what is wrong with
//! what was asked, `caller` for who asked and how often, `subject` for what it was asked of, `store` for what the store refuses.

mod caller;
mod request;
mod store;
mod subject;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

pub use self::caller::refusal_of_a_connection;
use crate::job::Job;
use crate::plugins::Violation;

/// A refusal: what was wrong, for programs (`code`, the end of `type`) and for people (`detail`, with what to do).
#[derive(Debug)]
pub(super) struct Problem(Box<Members>);

/// Why a request was refused (RFC 9457). More members may follow, such as `failure` and `job`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Members {
    /// `urn:dropforge:problem:` and the code.
    r#type: String,
    title: &'static str,
    /// As in the answer's status line.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong, and what to do.
    detail: String,
    /// What was wrong, for programs.
    code: &'static str,
    /// Each mistake and its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Place>,
    #[serde(flatten)]
    more: Map<String, Value>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One mistake and where it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProblemPlace)]
struct Place {
    /// JSON Pointer into the request's body, or empty for the whole; below `/parameters` also where they stand in the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// Name of the query parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What is wrong there.
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Members {
            r#type: format!("urn:dropforge:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
            more: Map::new(),
            headers: Vec::new(),
        }))
    }

    /// Says where in the body the mistake is.
    pub(super) fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.0.errors.push(Place { pointer: Some(pointer.into()), parameter: None, detail: detail.into() });
        self
    }

    /// Says which query parameter or header is wrong.
    pub(super) fn in_parameter(mut self, name: impl Into<String>, detail: impl Into<String>) -> Self {
        self.0.errors.push(Place { pointer: None, parameter: Some(name.into()), detail: detail.into() });
        self
    }

    /// Adds what the schema of the parameters found wrong in a query: where it would stand in a document, and its name here. What is
    /// about none of them but all has no name: one is missing, or not known.
    pub(super) fn violations_in_query(mut self, violations: Vec<Violation>) -> Self {
        self.0.errors.extend(violations.into_iter().map(|Violation { pointer, detail }| Place {
            parameter: pointer.split('/').nth(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")),
            pointer: Some(format!("/parameters{pointer}")),
            detail,
        }));
        self
    }

    /// Adds what a schema found wrong below `prefix` in the body.
    pub(super) fn violations(mut self, prefix: &str, violations: Vec<Violation>) -> Self {
        for Violation { pointer, detail } in violations {
            self = self.at(format!("{prefix}{pointer}"), detail);
        }
        self
    }

    /// The status it is answered with.
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    /// What would be the body, for an answer that holds it.
    pub(super) fn into_members(self) -> Members {
        *self.0
    }

    fn about(self, job: &Job) -> Self {
        let mut problem = self.with("job", json!(format!("/v1/jobs/{}", job.id)));
        problem.0.headers.push((header::LOCATION, super::submit::location(job)));
        problem
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0.more.insert(name.to_owned(), value);
        self
    }

    /// Says when to try again, if that is known better than by the refusal itself.
    pub(super) fn or_retry_after(mut self, seconds: Option<u32>) -> Self {
        if let Some(seconds) = seconds {
            self.0.headers.retain(|(name, _)| *name != header::RETRY_AFTER);
            self = self.retry_after(seconds);
        }
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.0.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    /// The document as it travels.
    pub(super) fn document(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_else(|_| b"{}".to_vec())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = self.document();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.0.headers);
        response
    }
}
