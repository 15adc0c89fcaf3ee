//! What a job left: its result and its artifacts.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};

use super::jobs::parse_id;
use super::problem::Problem;
use super::wait::{self, Wait};
use super::{Api, Segments, submit};
use crate::job::{Job, State as JobState};
use crate::store::{ArtifactEntry, Content, ContentReader, Payload};

/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// `GET /v1/jobs/{id}/result`, with `Prefer: wait=N` when it has ended.
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Segments(id): Segments<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let cancel_on_timeout = wait::cancels_on_timeout(&query.unwrap_or_default())?;
    match Wait::preferred(&headers, cancel_on_timeout, &api)? {
        Some(wait) => wait.answer(&api, id).await,
        None => of(&api, api.queue.get(id)?).await,
    }
}

/// The answer to "what came out of this job": the output, `202` while there is none yet, or why there never will be.
pub(super) async fn of(api: &Api, job: Job) -> Result<Response, Problem> {
    match job.state {
        JobState::Succeeded => match api.queue.store().output(job.id)? {
            Some(output) => body(output).await,
            None => Err(Problem::internal("the job succeeded but its result is missing")),
        },
        JobState::Failed | JobState::Cancelled => Err(Problem::no_result(&job)),
        _ => submit::accepted(api, job),
    }
}

/// `GET /v1/jobs/{id}/artifacts`, in creation order.
pub(super) async fn artifacts(
    State(api): State<Arc<Api>>,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    let artifacts = api.queue.store().artifacts(job.id)?;
    let artifacts: Vec<Value> = artifacts
        .into_iter()
        .map(|ArtifactEntry { name, media_type, size, sha256 }| {
            json!({"name": name, "media_type": media_type, "size": size, "sha256": hex::encode(sha256)})
        })
        .collect();
    Ok(Json(json!({"artifacts": artifacts})))
}

/// `GET /v1/jobs/{id}/artifacts/{name}`
pub(super) async fn artifact(
    State(api): State<Arc<Api>>,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    match api.queue.store().artifact(job.id, &name)? {
        Some(artifact) => body(artifact.payload).await,
        None => Err(Problem::unknown_artifact(&name)),
    }
}

/// Reads a file piece by piece, off the threads that serve. An error breaks the answer off, so that the client notices.
fn pieces(reader: ContentReader) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(reader, |mut reader| async move {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = reader.next_chunk(CHUNK_BYTES)?;
            Ok((!chunk.is_empty()).then_some((chunk, reader)))
        });
        read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    })
}

async fn body(payload: Payload) -> Result<Response, Problem> {
    let Payload { media_type, content } = payload;
    let size = content.size();
    let body = match content {
        Content::Inline(bytes) => Body::from(bytes),
        // Opening a file that is in the folder is quick; reading it happens in pieces, off this thread.
        blob => match blob.open(0).map_err(|error| Problem::from(crate::store::StoreError::Disk(error)))? {
            ContentReader::Inline(bytes) => Body::from(bytes),
            file => Body::from_stream(pieces(file)),
        },
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let media_type = HeaderValue::try_from(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    // A plugin's HTML must not run as this host's page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static("sandbox"));
    Ok(response)
}
