//! One job, or many: look up, list, cancel, retry, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::problem::Problem;
use super::view::JobView;
use super::{Api, Segments, submit};
use crate::job::{JobId, Kind, State as JobState};
use crate::store::Filter;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 1000;

/// One job, as it is now.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", operation_id = "getJob", tag = "jobs",
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "There is no such job"),
    )
)]
pub(super) async fn get(State(api): State<Arc<Api>>, Segments(id): Segments<String>) -> Result<JobView, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    Ok(JobView::with_usage(job, &api.queue)?)
}

/// Stop a job, within 100 ms if it runs.
///
/// A job that has ended is answered as it is.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", operation_id = "cancelJob", tag = "jobs",
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "There is no such job"),
        (status = 507, description = "The disk has no room even for this"),
    )
)]
pub(super) async fn cancel(State(api): State<Arc<Api>>, Segments(id): Segments<String>) -> Result<JobView, Problem> {
    let job = api.queue.cancel(parse_id(&id)?).await?;
    Ok(JobView::with_usage(job, &api.queue)?)
}

/// Run a failed or cancelled job again, under its old id.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", operation_id = "retryJob", tag = "jobs",
    responses(
        (status = 202, description = "The job, open again", body = JobView, headers(("Location"), ("Retry-After"))),
        (status = 404, description = "There is no such job"),
        (status = 409, description = "It has not ended, or has succeeded"),
        (status = 410, description = "It has ended, and its input is no longer kept"),
        (status = 507, description = "The disk has no room for new jobs"),
    )
)]
pub(super) async fn retry(State(api): State<Arc<Api>>, Segments(id): Segments<String>) -> Result<Response, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    let queue_max = api.plugins.serving(&job.kind).and_then(|plugin| plugin.settings.queue_max);
    submit::accepted(&api, api.queue.retry(job.id, queue_max).await?)
}

/// Forget a job that has ended, and all it left.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", operation_id = "deleteJob", tag = "jobs",
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 404, description = "There is no such job"),
        (status = 409, description = "It has not ended"),
        (status = 507, description = "The disk has no room even for this"),
    )
)]
pub(super) async fn delete(State(api): State<Arc<Api>>, Segments(id): Segments<String>) -> Result<StatusCode, Problem> {
    api.queue.delete(parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobList {
    /// Newest first.
    jobs: Vec<JobView>,
    /// Leads to the next page, if there is one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What a list of jobs can be narrowed by. Read one by one, by [`parse_page`], so that a mistake is named.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a query and is never made")]
struct PageQuery {
    /// Only jobs of this kind.
    #[param(value_type = String, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    kind: Option<String>,
    /// Only jobs in this state.
    #[param(inline)]
    state: Option<JobState>,
    /// Only jobs with this tag.
    tag: Option<String>,
    /// So many at most.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^b[0-9a-f]{32}$")]
    cursor: Option<String>,
}

/// Jobs, newest first.
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "listJobs", tag = "jobs", params(PageQuery),
    responses(
        (status = 200, description = "A page of jobs", body = JobList),
        (status = 422, description = "A query parameter is unknown, or its value cannot be accepted"),
    )
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<JobList>, Problem> {
    let Page { filter, limit, before } = parse_page(&query.unwrap_or_default())?;
    let filter = Filter { sight: caller.sight().clone(), ..filter };
    let look = move || {
        let (jobs, next) = api.queue.list(&filter, limit, before)?;
        let jobs = jobs.into_iter().map(|job| JobView::with_usage(job, &api.queue)).collect::<Result<Vec<_>, _>>()?;
        Ok(Json(JobList { jobs, next_cursor: next.map(cursor) }))
    };
    // It may look at many records to find few; the serving threads have others to serve meanwhile.
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Err(Problem::internal("the host panicked over a list")))
}

/// An id in a path. What is no id names no job.
pub(super) fn parse_id(text: &str) -> Result<JobId, Problem> {
    let id = JobId::try_parse(text).map_err(|_| Problem::unknown_job())?;
    // Ids have one spelling, so that no two links are the same job.
    if id.to_string() == text { Ok(id) } else { Err(Problem::unknown_job()) }
}

struct Page {
    filter: Filter,
    limit: usize,
    before: Option<JobId>,
}

fn parse_page(query: &str) -> Result<Page, Problem> {
    let mut page = Page { filter: Filter::default(), limit: LIMIT_DEFAULT, before: None };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |wanted: &str| {
            let detail = format!("{value:?} is not {wanted}");
            Problem::invalid_option(format!("the query parameter {name}: {detail}")).in_parameter(name.as_ref(), detail)
        };
        match name.as_ref() {
            "kind" => page.filter.kind = Some(Kind::new(&value).ok_or_else(|| wrong("the name of a kind"))?),
            "state" => {
                let names = JobState::ALL.map(JobState::as_str).join(", ");
                let state = JobState::parse(&value).ok_or_else(|| wrong(&format!("one of {names}")))?;
                page.filter.state = Some(state);
            }
            "tag" => page.filter.tag = Some(value.into_owned()),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                page.limit = limit.ok_or_else(|| wrong(&format!("a number from 1 to {LIMIT_MAX}")))?;
            }
            "cursor" => {
                let id = value.strip_prefix('b').and_then(|id| JobId::try_parse(id).ok());
                page.before = Some(id.ok_or_else(|| wrong("a cursor this host has given; take next_cursor as it is"))?);
            }
            _ => return Err(wrong("known here: use kind, state, tag, limit and cursor")),
        }
    }
    Ok(page)
}

/// Opaque to clients. The letter says which kind of cursor it is, should there ever be another.
fn cursor(before: JobId) -> String {
    format!("b{}", before.simple())
}
