//! `POST /v1/jobs` and `POST /v1/kinds/{kind}/jobs`: take a job in, and wait for it if the client wants to. `input` is what
//! becomes of the input before that, `key` of the client's idempotency key.

mod input;
mod key;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use utoipa::IntoResponses;

pub(super) use self::input::CHECKED_AT_ONCE_BYTES_MAX;
use self::input::{JSON, accepts_json, check_json, take_in};
use self::key::key_of;
pub(super) use self::key::{Keyed, digest_of_key, idempotency_key};
use super::caller::Caller;
use super::options::JobOptions;
use super::problem::Problem;
use super::serving::serving;
use super::trace::{self, Traced};
use super::view::JobView;
use super::wait::{self, OnTimeout, Patience, Wait};
use super::{Api, Limits, Segments, blobs, body, content, explain, json_job};
use crate::job::{Job, JobId, Kind, Owner};
use crate::plugins::Plugin;
use crate::queue::Submission;
use crate::store::{NewWebhook, Payload, StoreError, Upload};

/// Seconds after which it is worth asking again whether somebody has resumed a kind; nobody knows when that will be.
const LOOK_AGAIN_AT_PAUSED: u32 = 60;

/// What [`submit`] answers, and [`serving`] refuses.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes answers and is never made")]
enum Submitted {
    /// With `Prefer: wait`, if the job ended in time: its result, with the media type the plugin gave it.
    #[response(status = 200, content_type = "*/*", headers(("ETag")))]
    Ended(Vec<u8>),
    /// The job is on disk, and will end.
    #[response(status = 202, headers(("Retry-After")))]
    Accepted(Box<JobView>),
    /// The request is malformed.
    #[response(status = 400)]
    Malformed,
    /// No plugin serves this kind.
    #[response(status = 404)]
    UnknownKind,
    /// With `Prefer: wait`: the job ended without a result; `failure` says why.
    #[response(status = 409)]
    NoResult,
    /// With `Prefer: wait` and a key that was used before: the result is no longer kept.
    #[response(status = 410)]
    Gone,
    /// The body is larger than is accepted.
    #[response(status = 413)]
    TooLarge,
    /// Input, parameters or options do not fit; or the key came with another request before.
    #[response(status = 422)]
    Invalid,
    /// With `Prefer: wait` and `on_timeout=cancel`: the job took too long and was cancelled.
    #[response(status = 504)]
    TookTooLong,
    /// The disk has no room for new jobs.
    #[response(status = 507)]
    DiskFull,
}

/// Submit a job as JSON.
///
/// With `Prefer: wait=N` the answer is the result, if the job ends in time.
#[utoipa::path(
    post, path = "/v1/jobs", operation_id = "submitJob", tag = "submit",
    params(OnTimeout, Patience, Keyed, Traced),
    request_body = json_job::JsonJob,
    responses(Submitted)
)]
pub(super) async fn json(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let cancel_on_timeout = wait::cancels_on_timeout(&query.unwrap_or_default())?;
    let most = api.limits.json_bytes_max;
    let advice = "; send the input as the whole body of POST /v1/kinds/{kind}/jobs instead";
    let body = body::read_whole(request, &headers, most, advice).await?;
    let mut wanted = check(&api, &caller, &body).await?;
    wanted.options.cancel_on_timeout = cancel_on_timeout;
    submit(&api, &headers, wanted).await
}

/// A job as a client wants it: understood, and its input checked and taken up.
pub(super) struct Wanted {
    owner: Option<Owner>,
    plugin: Arc<Plugin>,
    options: JobOptions,
    payload: Payload,
    /// What the input names.
    blobs: Vec<Payload>,
    webhook: Option<NewWebhook>,
}

impl Wanted {
    /// What is to be accepted, under a client's key if it gave one.
    pub(super) fn into_submission(self, key: Option<[u8; 32]>) -> Result<Submission, Problem> {
        let Self { owner, plugin, options, payload, blobs, webhook } = self;
        let key = key.map(|name| (key_of(owner, name), options.digest(&plugin.kind, &payload)));
        Ok(Submission { owner, key, blobs, webhook, ..options.into_submission(&plugin, payload)? })
    }
}

/// Reads a job as JSON and checks its input.
pub(super) async fn check(api: &Arc<Api>, caller: &Caller, body: &[u8]) -> Result<Wanted, Problem> {
    let (job, input) = json_job::parse(body)?;
    let plugin = serving(api, caller, &job.kind).await?;
    if !accepts_json(&plugin) {
        let reads = plugin.description.input_media_types.join(", ");
        let detail =
            format!("{} reads {reads}; send the file as the body of POST /v1/kinds/{}/jobs", plugin.kind, plugin.kind);
        return Err(Problem::invalid_input(detail.clone()).at("/input", detail));
    }
    let webhook = webhook(api, &job.options)?;
    let input = check_json(&plugin, Bytes::from(input), "/input").await?;
    let blobs = blobs::named_in(api, caller, &input, "/input").await?;
    let upload = body::write(api.queue.upload(), input).await?;
    let payload = body::finish(upload, JSON.to_owned()).await?;
    Ok(Wanted { owner: caller.owner(), plugin, options: job.options, payload, blobs, webhook })
}

/// Who is to be told, if somebody is and may be.
fn webhook(api: &Api, options: &JobOptions) -> Result<Option<NewWebhook>, Problem> {
    let wanted = options.webhook.as_deref().map(|url| api.webhooks.wanted(url)).transpose();
    wanted.map_err(|why| options.place.reject("webhook", why))
}

/// Submit a job whose input is the body, as it is.
///
/// Options stand in the query; every other name there is a parameter of the kind.
#[utoipa::path(
    post, path = "/v1/kinds/{kind}/jobs", operation_id = "submitInput", tag = "submit",
    params(JobOptions, Patience, Keyed, Traced),
    request_body(content = [u8], content_type = "*/*", description = "The input; its Content-Type reaches the plugin"),
    responses(Submitted)
)]
pub(super) async fn raw(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segments(kind): Segments<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let plugin = serving(&api, &caller, &kind).await?;
    let options = JobOptions::from_query(&query.unwrap_or_default())?;
    let webhook = webhook(&api, &options)?;
    let (payload, text) = take_in(&plugin, api.queue.upload(), &api.limits, &headers, request).await?;
    let named = blobs::named_in(&api, &caller, &text, "").await?;
    let wanted = Wanted { owner: caller.owner(), plugin, options, payload, blobs: named, webhook };
    submit(&api, &headers, wanted).await
}

/// A job as `POST /v1/kinds/{kind}/jobs` takes it, checked in the same way, for one who has no host. It can name no blobs. The
/// error is the problem document.
pub async fn check_without_host(
    plugin: &Arc<Plugin>,
    upload: Upload,
    limits: &Limits,
    query: &str,
    media_type: Option<&str>,
    input: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Result<Submission, Vec<u8>> {
    let check = async {
        let options = JobOptions::from_query(query)?;
        let mut headers = HeaderMap::new();
        if let Some(media_type) = media_type {
            let value = HeaderValue::try_from(media_type).map_err(|_| {
                let detail = "a media type is visible ASCII such as application/pdf";
                Problem::invalid_option(detail).in_parameter("Content-Type", detail)
            })?;
            headers.insert(header::CONTENT_TYPE, value);
        }
        let (payload, _) = take_in(plugin, upload, limits, &headers, Body::from_stream(input)).await?;
        options.into_submission(plugin, payload)
    };
    check.await.map_err(|problem: Problem| problem.document())
}

/// Accepts the checked job, and answers at once or when it has ended.
async fn submit(api: &Api, headers: &HeaderMap, wanted: Wanted) -> Result<Response, Problem> {
    let wait = Wait::preferred(headers, wanted.options.cancel_on_timeout, api)?;
    let mut submission = wanted.into_submission(idempotency_key(headers)?)?;
    submission.options.traceparent = trace::parent(headers);
    let job = accept(api, submission).await?;
    match wait {
        Some(wait) => wait.answer(api, job.id, &content::Wanted::default()).await,
        None => accepted(api, job),
    }
}

/// Has a job accepted. A refusal for want of a place in the queue says when there may be one.
pub(super) async fn accept(api: &Api, submission: Submission) -> Result<Job, Problem> {
    let (kind, traceparent) = (submission.kind.clone(), submission.options.traceparent.clone());
    let accepted = api.queue.submit(submission).await;
    accepted
        .inspect(|job| trace::accepted(job.id, &job.kind, traceparent.as_deref()))
        .map_err(|error| not_accepted(api, &kind, error))
}

/// The same for many that were checked, each by itself. What was refused already stays so, in its place.
pub(super) async fn accept_all(
    api: &Api,
    checked: Vec<Result<Submission, Problem>>,
    traceparent: Option<&str>,
) -> Vec<Result<JobId, Problem>> {
    let mut submissions = Vec::with_capacity(checked.len());
    let mut take = |submission: Submission| {
        let kind = submission.kind.clone();
        submissions.push(submission);
        kind
    };
    let kinds: Vec<Result<Kind, Problem>> = checked.into_iter().map(|checked| checked.map(&mut take)).collect();
    let mut accepted = api.queue.submit_all(submissions).await.into_iter();
    let answer = |kind: Result<Kind, Problem>| {
        let kind = kind?;
        // There are as many as were submitted.
        let accepted = accepted.next().unwrap_or(Err(StoreError::Closed));
        accepted.inspect(|id| trace::accepted(*id, &kind, traceparent)).map_err(|error| not_accepted(api, &kind, error))
    };
    kinds.into_iter().map(answer).collect()
}

fn not_accepted(api: &Api, kind: &Kind, error: StoreError) -> Problem {
    match error {
        StoreError::QueueFull { .. } => {
            let room = match api.queue.room_in(kind, explain::at_once(api, kind)) {
                Some(wait) => Some(explain::whole_seconds(wait)),
                None if api.queue.is_paused(kind) => Some(LOOK_AGAIN_AT_PAUSED),
                None => None,
            };
            Problem::from(error).or_retry_after(room)
        }
        error => error.into(),
    }
}

/// `202`: the job is on disk and will end.
pub(super) fn accepted(api: &Api, job: Job) -> Result<Response, Problem> {
    let (location, retry_after) = (location(&job), explain::retry_after(api, &job));
    let mut response = (StatusCode::ACCEPTED, JobView::with_usage(job, &api.queue)?).into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    Ok(response)
}

/// Where the job is.
pub(super) fn location(job: &Job) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/jobs/{}", job.id)).expect("an id is hexadecimal digits and dashes")
}
