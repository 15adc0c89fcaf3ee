//! What is asked for is not there, not ready, or has come to nothing.

use axum::http::StatusCode;
use serde_json::json;

use super::Problem;
use crate::job::{Failure, Job, State};

impl Problem {
    /// No plugin serves the kind.
    pub(in crate::api) fn unknown_kind(kind: &str) -> Self {
        Self::unknown_kind_but(kind, "GET /v1/kinds lists those that can be used")
    }

    /// The same, with what may help whoever asked.
    pub(in crate::api) fn unknown_kind_but(kind: &str, help: &str) -> Self {
        let detail = format!("no plugin serves the kind {kind:?}; {help}");
        Self::new(StatusCode::NOT_FOUND, "unknown_kind", "No such kind", detail)
    }

    /// The kind may be there in a moment.
    pub(in crate::api) fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready yet", detail).retry_after(1)
    }

    /// No such job.
    pub(in crate::api) fn unknown_job() -> Self {
        let detail = "there is no job with this id: it never existed here, or it was deleted";
        Self::new(StatusCode::NOT_FOUND, "unknown_job", "No such job", detail)
    }

    /// The job has no artifact of that name.
    pub(in crate::api) fn unknown_artifact(name: &str) -> Self {
        let detail = format!("the job has no artifact {name:?}; its artifacts are listed one level up");
        Self::new(StatusCode::NOT_FOUND, "unknown_artifact", "No such artifact", detail)
    }

    /// No such blob.
    pub(in crate::api) fn unknown_blob() -> Self {
        let detail = "no blob with this address is kept here; POST /v1/blobs keeps one";
        Self::new(StatusCode::NOT_FOUND, "unknown_blob", "No such blob", detail)
    }

    /// The client's patience ended before the job did, and it asked to cancel then.
    pub(in crate::api) fn wait_timeout(job: &Job) -> Self {
        let detail =
            "the job did not end in the time given by Prefer: wait and was cancelled, as on_timeout=cancel asks";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "wait_timeout", "The job took too long", detail).about(job)
    }

    /// The job ended without a result.
    pub(in crate::api) fn no_result(job: &Job) -> Self {
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

    /// Something went wrong that the client cannot mend. The cause is in the log.
    pub(in crate::api) fn internal(detail: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The host failed", detail)
    }
}
