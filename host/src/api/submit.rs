//! `POST /v1/jobs` and `POST /v1/kinds/{kind}/jobs`: take a job in, and wait for it if the client wants to.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::options::JobOptions;
use super::problem::Problem;
use super::view::JobView;
use super::{Api, result};
use crate::job::{Job, Kind, State as JobState};
use crate::plugins::{FileState, Plugin};
use crate::queue::Submission;
use crate::store::{Payload, Upload};
use crate::time::{Span, Time};

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;
const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// The body of `POST /v1/jobs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonJob<'a> {
    kind: String,
    // Kept as the client wrote it: what the plugin reads is exactly what was sent.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    args: Vec<String>,
    priority: Option<u64>,
    delay: Option<Span>,
    run_at: Option<Time>,
    timeout: Option<Span>,
    max_attempts: Option<u64>,
    expires_in: Option<Span>,
    #[serde(default)]
    tags: Vec<String>,
    after: Option<Value>,
    webhook: Option<Value>,
}

/// A job as JSON.
pub(super) async fn json(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let waiting = JobOptions::from_query(&query.unwrap_or_default())?;
    if let Some((name, _)) = waiting.parameters.first() {
        let detail = "a JSON submit takes its parameters in the body, under \"parameters\"";
        return Err(Problem::invalid_option(format!("the query parameter {name}: {detail}")).in_parameter(name, detail));
    }
    let most = api.limits.json_bytes_max;
    let advice = "; send the input as the whole body of POST /v1/kinds/{kind}/jobs instead";
    let body = read_whole(body, &headers, most, advice).await?;
    let (job, input) = parse(&body)?;
    let plugin = serving(&api, &job.kind)?;
    if !accepts_json(&plugin) {
        let reads = plugin.description.input_media_types.join(", ");
        let detail =
            format!("{} reads {reads}; send the file as the body of POST /v1/kinds/{}/jobs", plugin.kind, plugin.kind);
        return Err(Problem::invalid_input(detail.clone()).at("/input", detail));
    }
    check_json(&plugin, &input, "/input")?;
    let mut upload = api.queue.upload();
    upload = write(upload, Bytes::from(input)).await?;
    let payload = finish(upload, JSON.to_owned()).await?;
    let options = JobOptions { cancel_on_timeout: waiting.cancel_on_timeout, ..job.options };
    submit(&api, &headers, &plugin, options, payload).await
}

/// A job whose input is the request's body.
pub(super) async fn raw(
    State(api): State<Arc<Api>>,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let plugin = serving(&api, &kind)?;
    let options = JobOptions::from_query(&query.unwrap_or_default())?;
    let payload = if plugin.reads_json() {
        let input = read_whole(body, &headers, api.limits.json_bytes_max, "").await?;
        check_json(&plugin, &input, "")?;
        let upload = write(api.queue.upload(), input).await?;
        finish(upload, JSON.to_owned()).await?
    } else {
        let upload = stream(api.queue.upload(), body, &headers, api.limits.body_bytes_max).await?;
        finish(upload, media_type(&headers)?).await?
    };
    submit(&api, &headers, &plugin, options, payload).await
}

/// Accepts the checked job, and answers at once or when it has ended.
async fn submit(
    api: &Api,
    headers: &HeaderMap,
    plugin: &Plugin,
    options: JobOptions,
    payload: Payload,
) -> Result<Response, Problem> {
    let wait = api.preferred_wait(headers);
    let cancel_on_timeout = options.cancel_on_timeout;
    if cancel_on_timeout && wait.is_none() {
        let detail = "on_timeout=cancel says what happens after Prefer: wait=N; send that header as well";
        return Err(Problem::invalid_option(detail).in_parameter("on_timeout", detail));
    }
    let key = idempotency_key(headers)?.map(|name| (name, options.digest(&plugin.kind, &payload)));
    let job = api.queue.submit(Submission { key, ..options.into_submission(plugin, payload)? }).await?;
    let Some(wait) = wait else { return accepted(api, job) };
    let waited = api.wait(job.id, wait).await?;
    let ended = if cancel_on_timeout && !waited.state.is_terminal() { api.queue.cancel(job.id).await? } else { waited };
    let location = location(&ended);
    let mut response = match ended.state {
        JobState::Cancelled if cancel_on_timeout => Problem::wait_timeout(&ended).into_response(),
        state if state.is_terminal() => result::of(api, ended).await?,
        _ => accepted(api, ended)?,
    };
    response.headers_mut().insert(header::LOCATION, location);
    applied(&mut response, wait);
    Ok(response)
}

/// The digest of the client's key, which may be given bare or as a quoted string.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || bare.len() > KEY_BYTES_MAX {
        let detail = format!("it has 1 to {KEY_BYTES_MAX} visible ASCII characters, bare or in double quotes");
        let problem = Problem::malformed(format!("the Idempotency-Key field: {detail}"));
        return Err(problem.in_parameter("Idempotency-Key", detail));
    }
    Ok(Some(Sha256::digest(bare).into()))
}

/// `202`: the job is on disk and will end.
pub(super) fn accepted(api: &Api, job: Job) -> Result<Response, Problem> {
    let location = location(&job);
    let mut response = (StatusCode::ACCEPTED, axum::Json(JobView::with_usage(job, &api.queue)?)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
    Ok(response)
}

/// Says that `Prefer: wait` was honoured (RFC 7240).
pub(super) fn applied(response: &mut Response, wait: Duration) {
    let value = HeaderValue::try_from(format!("wait={}", wait.as_secs())).expect("digits can stand in a header");
    response.headers_mut().insert("preference-applied", value);
}

/// Where the job is.
pub(super) fn location(job: &Job) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/jobs/{}", job.id)).expect("an id is hexadecimal digits and dashes")
}

struct ParsedJob {
    kind: String,
    options: JobOptions,
}

fn parse(body: &[u8]) -> Result<(ParsedJob, Vec<u8>), Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let job: JsonJob<'_> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        let cause = error.inner().to_string();
        if error.inner().is_data() {
            Problem::malformed(format!("the body does not describe a job: {cause}")).at(pointer, cause)
        } else {
            Problem::malformed(format!("the body is not JSON: {cause}"))
        }
    })?;
    json.end().map_err(|error| Problem::malformed(format!("the body goes on after the JSON: {error}")))?;
    for (name, given) in [("after", &job.after), ("webhook", &job.webhook)] {
        if given.is_some() {
            let detail = format!("{name} is not supported yet by this version; leave it out");
            return Err(Problem::invalid_option(detail.clone()).at(format!("/{name}"), detail));
        }
    }
    let options = JobOptions {
        parameters: job.parameters.into_iter().map(parameter).collect::<Result<Vec<_>, _>>()?.concat(),
        args: job.args,
        priority: job.priority,
        delay: job.delay.map(|span| span.0),
        run_at: job.run_at,
        timeout: job.timeout.map(|span| span.0),
        max_attempts: job.max_attempts,
        expires_in: job.expires_in.map(|span| span.0),
        tags: job.tags,
        cancel_on_timeout: false,
    };
    let input = job.input.map_or("null", RawValue::get).as_bytes().to_vec();
    Ok((ParsedJob { kind: job.kind, options }, input))
}

/// A parameter of a JSON submit as text; a list gives the name several times.
fn parameter((name, value): (String, Value)) -> Result<Vec<(String, String)>, Problem> {
    let text = |value: Value| match value {
        Value::String(text) => Ok((name.clone(), text)),
        Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string())),
        _ => {
            let detail = "a parameter is a string, a number, true or false, or a list of those";
            Err(Problem::malformed(format!("parameters.{name}: {detail}")).at(format!("/parameters/{name}"), detail))
        }
    };
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        single => text(single).map(|pair| vec![pair]),
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

/// The plugin that serves a kind, or why there is none.
fn serving(api: &Api, name: &str) -> Result<Arc<Plugin>, Problem> {
    let kind = Kind::new(name).ok_or_else(|| Problem::unknown_kind(name))?;
    if let Some(plugin) = api.plugins.serving(&kind) {
        return Ok(plugin);
    }
    let compiling =
        |file: &crate::plugins::FileReport| file.state == FileState::Compiling && file.kind.as_ref() == Some(&kind);
    if !api.plugins.is_scanned() || api.plugins.files().iter().any(compiling) {
        return Err(Problem::not_ready(format!(
            "the plugin folder is being read and {kind} is not ready yet; try again"
        )));
    }
    Err(Problem::unknown_kind(name))
}

fn accepts_json(plugin: &Plugin) -> bool {
    let types = &plugin.description.input_media_types;
    types.is_empty() || types.iter().any(|one| one == JSON || one == "*/*" || one.ends_with("+json"))
}

fn check_json(plugin: &Plugin, input: &[u8], prefix: &str) -> Result<(), Problem> {
    if !plugin.reads_json() {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(input).map_err(|error| {
        Problem::invalid_input(format!("{} reads JSON, and the input is not: {error}", plugin.kind))
            .at(prefix, error.to_string())
    })?;
    plugin.check_input(&value).map_err(|violations| {
        let summary = violations.iter().map(|one| one.detail.as_str()).collect::<Vec<_>>().join("; ");
        Problem::invalid_input(format!("the input does not fit the schema of {}: {summary}", plugin.kind))
            .violations(prefix, violations)
    })
}

/// What curl sends by default says nothing about a file, so it counts as nothing said.
fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(OCTETS.to_owned()) };
    match value.to_str() {
        Ok("application/x-www-form-urlencoded" | "") => Ok(OCTETS.to_owned()),
        Ok(text) if text.len() <= 255 => Ok(text.to_owned()),
        _ => {
            let detail = "it is not visible ASCII of at most 255 bytes";
            Err(Problem::malformed(format!("the Content-Type field: {detail}")).in_parameter("Content-Type", detail))
        }
    }
}

async fn read_whole(body: Body, headers: &HeaderMap, most: u64, advice: &str) -> Result<Bytes, Problem> {
    check_length(headers, most, advice)?;
    let mut chunks = body.into_data_stream();
    let mut whole: Vec<u8> = Vec::new();
    let mut first = Bytes::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
        if (whole.len() + first.len() + chunk.len()) as u64 > most {
            return Err(Problem::too_large(most, advice));
        }
        // Most bodies are one chunk, which needs no copy.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}

async fn stream(mut upload: Upload, body: Body, headers: &HeaderMap, most: u64) -> Result<Upload, Problem> {
    check_length(headers, most, "")?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
        if upload.size() + chunk.len() as u64 > most {
            return Err(Problem::too_large(most, ""));
        }
        upload = write(upload, chunk).await?;
    }
    Ok(upload)
}

fn check_length(headers: &HeaderMap, most: u64, advice: &str) -> Result<(), Problem> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > most) { Err(Problem::too_large(most, advice)) } else { Ok(()) }
}

/// Takes up bytes; on a thread that may block if they go to a file.
async fn write(mut upload: Upload, bytes: Bytes) -> Result<Upload, Problem> {
    if !upload.spills(bytes.len()) {
        upload.write(&bytes).map_err(disk_failed)?;
        return Ok(upload);
    }
    let written = tokio::task::spawn_blocking(move || upload.write(&bytes).map(|()| upload)).await;
    written.map_err(std::io::Error::other).flatten().map_err(disk_failed)
}

async fn finish(upload: Upload, media_type: String) -> Result<Payload, Problem> {
    let content = if upload.spills(0) {
        let finished = tokio::task::spawn_blocking(move || upload.finish()).await;
        finished.map_err(std::io::Error::other).flatten()
    } else {
        upload.finish()
    };
    Ok(Payload { media_type, content: content.map_err(disk_failed)? })
}

fn disk_failed(error: std::io::Error) -> Problem {
    crate::store::StoreError::Disk(error).into()
}
