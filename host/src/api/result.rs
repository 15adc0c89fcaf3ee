//! What came out of a job.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;

use super::content::{self, Conditions, Contents, Ranges, Wanted};
use super::jobs::parse_id;
use super::problem::Problem;
use super::view::JobView;
use super::wait::{self, OnTimeout, Patience, Wait};
use super::{Api, Segments, submit};
use crate::job::{Job, State as JobState};

/// What came out of a job, with the media type its plugin gave it.
///
/// With `Prefer: wait=N` answered when the job has ended, or after that many seconds.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/result", operation_id = "getResult", tag = "results",
    params(OnTimeout, Patience, Conditions, Ranges),
    responses(
        Contents,
        (status = 202, description = "The job has not ended", body = JobView,
            headers(("Retry-After"))),
        (status = 404, description = "There is no such job"),
        (status = 409, description = "The job ended without a result; `failure` says why"),
        (status = 410, description = "The result is no longer kept"),
        (status = 422, description = "A query parameter cannot be accepted"),
        (status = 504, description = "With `on_timeout=cancel`: the job took too long and was cancelled"),
        (status = 507, description = "With `on_timeout=cancel`: the disk has no room even for that"),
    )
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Segments(id): Segments<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let cancel_on_timeout = wait::cancels_on_timeout(&query.unwrap_or_default())?;
    let wanted = Wanted::by(&method, &headers);
    match Wait::preferred(&headers, cancel_on_timeout, &api)? {
        Some(wait) => wait.answer(&api, id, &wanted).await,
        None => of(&api, api.queue.get(id)?, &wanted),
    }
}

/// The answer to "what came out of this job": the output, `202` while there is none yet, or why there never will be.
pub(super) fn of(api: &Api, job: Job, wanted: &Wanted) -> Result<Response, Problem> {
    match job.state {
        JobState::Succeeded => match api.queue.store().output(job.id)? {
            Some(output) => content::answer(output, wanted),
            None => Err(Problem::internal("the job succeeded but its result is missing")),
        },
        JobState::Failed | JobState::Cancelled => Err(Problem::no_result(&job)),
        _ => submit::accepted(api, job),
    }
}
