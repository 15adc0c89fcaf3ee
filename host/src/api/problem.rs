//! Every refusal as RFC 9457 problem+json. The only place where errors become HTTP statuses.

use std::io::ErrorKind;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::events::TooMany;
use crate::job::{Failure, Job, State};
use crate::plugins::Violation;
use crate::rate::Rate;
use crate::store::{Share, StoreError};
use crate::time::Time;

/// Nobody is told to wait for longer, in seconds: more may have changed by then.
const RETRY_MAX: u32 = 3600;
/// A place is free again once a receiver takes what it is told, or a job is deleted. Both are up to others, so this is no estimate but
/// how often, in seconds, it is worth a look.
const LOOK_AGAIN_AT_RECEIVER: u32 = 60;

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

    /// The request cannot be understood.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request is malformed", detail)
    }

    /// The request is understood, but a value in it cannot be accepted.
    pub(super) fn invalid_option(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_option", "A value cannot be accepted", detail)
    }

    /// Input or parameters do not fit what the kind reads.
    pub(super) fn invalid_input(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_input", "The input does not fit the kind", detail)
    }

    /// No plugin serves the kind.
    pub(super) fn unknown_kind(kind: &str) -> Self {
        Self::unknown_kind_but(kind, "GET /v1/kinds lists those that can be used")
    }

    /// The same, with what may help whoever asked.
    pub(super) fn unknown_kind_but(kind: &str, help: &str) -> Self {
        let detail = format!("no plugin serves the kind {kind:?}; {help}");
        Self::new(StatusCode::NOT_FOUND, "unknown_kind", "No such kind", detail)
    }

    /// The kind may be there in a moment.
    pub(super) fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready yet", detail).retry_after(1)
    }

    /// Whoever asks has not shown a token, or none that is known.
    pub(super) fn unauthorized(shown: bool) -> Self {
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
    pub(super) fn too_many_requests(rate: Rate, wait: Duration) -> Self {
        let detail = format!("more than {rate} are not answered; the Retry-After field says when the next one is");
        let seconds = u32::try_from(wait.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX).max(1);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail).retry_after(seconds)
    }

    /// A page of another origin tries to use this host.
    pub(super) fn foreign_origin() -> Self {
        let detail = "a page of this origin may not use this host; its operator can allow it by cors_origins";
        Self::new(StatusCode::FORBIDDEN, "foreign_origin", "Not from this page", detail).in_parameter("Origin", detail)
    }

    /// It was asked under a name that is not known to be this host's.
    pub(super) fn foreign_host() -> Self {
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
    pub(super) fn missing_scope(scope: &'static str) -> Self {
        let detail =
            format!("the token lacks the scope {scope}; `dropforge token new --scope {scope}` makes one that has it");
        let mut problem = Self::new(StatusCode::FORBIDDEN, "missing_scope", "The token is not for this", detail);
        let challenge = format!("Bearer realm=\"dropforge\", error=\"insufficient_scope\", scope=\"{scope}\"");
        let challenge = HeaderValue::try_from(challenge).expect("a scope is a word");
        problem.0.headers.push((header::WWW_AUTHENTICATE, challenge));
        problem.with("scope", json!(scope))
    }

    /// The token is for other kinds.
    pub(super) fn foreign_kind(kind: &str) -> Self {
        let detail = format!("the token is not for the kind {kind:?}; GET /v1/kinds lists those it is for");
        Self::new(StatusCode::FORBIDDEN, "foreign_kind", "The token is for other kinds", detail)
            .with("kind", json!(kind))
    }

    /// No such job.
    pub(super) fn unknown_job() -> Self {
        let detail = "there is no job with this id: it never existed here, or it was deleted";
        Self::new(StatusCode::NOT_FOUND, "unknown_job", "No such job", detail)
    }

    /// The job has no artifact of that name.
    pub(super) fn unknown_artifact(name: &str) -> Self {
        let detail = format!("the job has no artifact {name:?}; its artifacts are listed one level up");
        Self::new(StatusCode::NOT_FOUND, "unknown_artifact", "No such artifact", detail)
    }

    /// No such blob.
    pub(super) fn unknown_blob() -> Self {
        let detail = "no blob with this address is kept here; POST /v1/blobs keeps one";
        Self::new(StatusCode::NOT_FOUND, "unknown_blob", "No such blob", detail)
    }

    /// No such path.
    pub(super) fn not_found(path: &str) -> Self {
        let detail = format!("there is nothing at {path}; the API begins at /v1/kinds");
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// The path is there, the method is not.
    pub(super) fn method_not_allowed(method: &str, path: &str) -> Self {
        let detail = format!("{method} is not offered at {path}; the Allow field names what is");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
    }

    /// The body is larger than accepted.
    pub(super) fn too_large(limit: u64, advice: &str) -> Self {
        let detail = format!("the body is larger than {limit} bytes, the most that is accepted here{advice}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large", detail)
    }

    /// The client wants other bytes than there are.
    pub(super) fn precondition_failed() -> Self {
        let detail = "what is stored here has another entity tag than If-Match names; GET it again without that field";
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "Not what was expected", detail)
            .in_parameter("If-Match", detail)
    }

    /// The range begins beyond the end.
    pub(super) fn range_not_satisfiable(size: u64) -> Self {
        let detail = format!("there are {size} bytes here, and the Range field asks for none of them");
        let mut problem =
            Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "Beyond the end", detail.clone());
        let range = HeaderValue::try_from(format!("bytes */{size}")).expect("digits can stand in a header");
        problem.0.headers.push((header::CONTENT_RANGE, range));
        problem.in_parameter("Range", detail)
    }

    /// The client's patience ended before the job did, and it asked to cancel then.
    pub(super) fn wait_timeout(job: &Job) -> Self {
        let detail =
            "the job did not end in the time given by Prefer: wait and was cancelled, as on_timeout=cancel asks";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "wait_timeout", "The job took too long", detail).about(job)
    }

    /// The job ended without a result.
    pub(super) fn no_result(job: &Job) -> Self {
        let problem = match (&job.failure, job.state) {
            (Some(failure), State::Failed) => Self::failed(failure),
            _ => Self::new(
                StatusCode::CONFLICT,
                "cancelled",
                "The job was cancelled",
                "the job was cancelled and has no result",
            ),
        };
        problem.about(job)
    }

    fn failed(failure: &Failure) -> Self {
        let code = failure.code.as_str();
        Self::new(StatusCode::CONFLICT, code, "The job failed", failure.message.clone()).with("failure", json!(failure))
    }

    /// Not `413`: the next upload may be smaller and still not fit, until something goes.
    fn share_full(share: Share, frees_at: Option<Time>) -> Self {
        let Share { uploads_max, bytes_max } = share;
        let detail = format!(
            "one token keeps at most {uploads_max} uploads (uploads_max) of {bytes_max} bytes together (upload_bytes_max), as do all \
             clients without a token; an upload goes when keep_uploads is over and no job names it, so delete jobs that name one, wait, \
             or ask the operator for more"
        );
        let problem =
            Self::new(StatusCode::INSUFFICIENT_STORAGE, "uploads_full", "The share of uploads is used up", detail);
        match frees_at {
            Some(at) => problem
                .retry_after(u32::try_from(at.since(Time::now()).as_secs() + 1).unwrap_or(RETRY_MAX).min(RETRY_MAX)),
            // It fits into no share, however long one waits.
            None => problem,
        }
    }

    fn disk_full() -> Self {
        let detail = "the host's disk has no room for new jobs; what was accepted goes on, try again later";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "The disk is full", detail).retry_after(30)
    }

    /// The request does not begin a WebSocket.
    pub(super) fn no_websocket(why: &str) -> Self {
        let detail = format!(
            "this is a WebSocket, version 13, over HTTP/1.1 or HTTP/2, and the request does not begin one: {why}"
        );
        Self::new(StatusCode::BAD_REQUEST, "no_websocket", "Not a WebSocket", detail)
    }

    /// One client follows as much as it may.
    pub(super) fn follows_too_much(most: usize) -> Self {
        let detail = format!(
            "{most} jobs and kinds are followed over this connection, the most there may be; unsubscribe, or open another"
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "follows_too_much", "Too much is followed", detail)
    }

    fn too_many_listeners() -> Self {
        let detail = "as many clients follow events here as may at a time (listeners_max); try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", "Too many listeners", detail).retry_after(5)
    }

    /// Something went wrong that the client cannot mend. The cause is in the log.
    pub(super) fn internal(detail: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The host failed", detail)
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
}

/// What is written to a connection that is one too many: an answer to whatever is asked on it, in HTTP/1.1.
pub fn refusal_of_a_connection() -> Vec<u8> {
    let Problem(members) = Problem::too_many_connections();
    let body = serde_json::to_string(&members).unwrap_or_default();
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n";
    format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Problem {
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

impl From<TooMany> for Problem {
    fn from(_: TooMany) -> Self {
        Self::too_many_listeners()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::unknown_job(),
            StoreError::Refused(why) => Self::invalid_option(why),
            StoreError::QueueFull { queue_max } => {
                let detail = format!(
                    "{queue_max} jobs of this kind are unfinished already, the most this host keeps; try again later"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue_full", "The queue is full", detail).retry_after(5)
            }
            StoreError::TooManyWebhooks { .. } => {
                let detail = format!(
                    "{error}, the most one token may have there, as may all clients without one together (webhooks_max); submit without \
                     webhook, or try again later"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_webhooks", "Too many webhooks", detail)
                    .retry_after(LOOK_AGAIN_AT_RECEIVER)
            }
            StoreError::TooManyUploads => {
                let detail = "as many uploads are kept here as may be; those that no job names go after a while";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_uploads", "Too many uploads", detail)
                    .retry_after(600)
            }
            StoreError::ShareFull { share, frees_at } => Self::share_full(share, frees_at),
            StoreError::KeyReused => {
                let detail = "this Idempotency-Key came with another request before; take a new key for a new request";
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency_key_reused",
                    "The key stands for another request",
                    detail,
                )
                .in_parameter("Idempotency-Key", detail)
            }
            StoreError::Gone => {
                let detail = "the job has ended, and what it left is no longer kept";
                Self::new(StatusCode::GONE, "expired", "No longer kept", detail)
            }
            StoreError::WrongState(state) => {
                let detail = format!("this is not possible for a job that is {}", state.as_str());
                Self::new(StatusCode::CONFLICT, "wrong_state", "Not possible in this state", detail)
            }
            StoreError::DiskFull => Self::disk_full(),
            StoreError::Disk(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Self::disk_full()
            }
            error @ (StoreError::Closed | StoreError::Fenced) => {
                tracing::error!(%error, "a request could not be served");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "stopping",
                    "The host is stopping",
                    "the host is stopping; try again in a moment",
                )
                .retry_after(1)
            }
            error @ (StoreError::Damaged(_) | StoreError::Disk(_) | StoreError::Locked(_)) => {
                tracing::error!(%error, "a request could not be served");
                Self::internal("the host could not read or write its data; its log says more")
            }
        }
    }
}
