//! The files a job wrote: listed, one by one, or all of them as one ZIP.

use std::sync::Arc;

use async_stream::try_stream;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::content::{self, Conditions, Contents, Ranges, Wanted};
use super::jobs::parse_id;
use super::problem::Problem;
use super::zip::{self, Entry};
use super::{Api, Segments};
use crate::job::{Job, JobId};
use crate::store::{ArtifactEntry, Content};

/// The files a job wrote, in creation order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ArtifactList {
    artifacts: Vec<Artifact>,
}

/// A file that a job wrote.
#[derive(Debug, Serialize, ToSchema)]
struct Artifact {
    name: String,
    media_type: String,
    /// In bytes.
    size: u64,
    /// In hexadecimal; also its entity tag.
    sha256: String,
}

/// The files a job wrote, in creation order.
///
/// They are there once it has ended.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/artifacts", operation_id = "listArtifacts", tag = "results",
    responses(
        (status = 200, description = "The files", body = ArtifactList),
        (status = 404, description = "There is no such job"),
        (status = 410, description = "They are no longer kept"),
    )
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Segments(id): Segments<String>,
) -> Result<Json<ArtifactList>, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    let artifacts = api.queue.store().artifacts(job.id)?;
    let artifacts = artifacts.into_iter().map(|ArtifactEntry { name, media_type, size, sha256 }| Artifact {
        name,
        media_type,
        size,
        sha256: hex::encode(sha256),
    });
    Ok(Json(ArtifactList { artifacts: artifacts.collect() }))
}

/// One of the files a job wrote.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/artifacts/{name}", operation_id = "getArtifact", tag = "results",
    params(Conditions, Ranges),
    responses(
        Contents,
        (status = 404, description = "There is no such job, or it wrote no file of this name"),
        (status = 410, description = "It is no longer kept"),
    )
)]
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Segments((id, name)): Segments<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    let artifact = api.queue.store().artifact(job.id, &name)?.ok_or_else(|| Problem::unknown_artifact(&name))?;
    let mut response = content::answer(artifact.payload, &Wanted::by(&method, &headers))?;
    // Shown by a browser that can, as no plugin's file can act there; saved under its own name by who wants to keep it.
    response.headers_mut().insert(header::CONTENT_DISPOSITION, content::disposition("inline", &name));
    Ok(response)
}

/// All files of a job as one ZIP, in creation order and as they are.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/artifacts.zip", operation_id = "getArtifacts", tag = "results",
    params(Conditions),
    responses(
        (status = 200, description = "The archive, streamed", body = [u8], content_type = "application/zip",
            headers(("ETag"), ("Content-Disposition"), ("Accept-Ranges"))),
        (status = 304, description = "It is what If-None-Match names", headers(("ETag"))),
        (status = 404, description = "There is no such job"),
        (status = 410, description = "The files are no longer kept"),
        (status = 412, description = "It is not what If-Match names"),
    )
)]
pub(super) async fn all(
    State(api): State<Arc<Api>>,
    Segments(id): Segments<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    let artifacts = api.queue.store().artifacts(job.id)?;
    let tag = archive_tag(&job, &artifacts);
    if let Some(unchanged) = Wanted::by(&method, &headers).precondition(&tag)? {
        return Ok(unchanged);
    }
    let modified = job.finished_at.unwrap_or(job.created_at);
    let entries: Vec<Entry> =
        artifacts.iter().map(|artifact| Entry::new(&artifact.name, artifact.size, modified)).collect();
    let length = HeaderValue::from(zip::size(&entries));
    let name = content::disposition("attachment", &format!("{}-{}.zip", job.kind, job.id));
    let body = if method == Method::HEAD { Body::empty() } else { Body::from_stream(archive(api, job.id, entries)) };
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_LENGTH, length),
        (header::CONTENT_DISPOSITION, name),
        (header::ACCEPT_RANGES, HeaderValue::from_static("none")),
    ];
    let mut response = (fields, body).into_response();
    content::protect(response.headers_mut(), &tag);
    Ok(response)
}

/// Names and contents decide the archive's bytes, and so does when the job ended, which stands at each entry.
fn archive_tag(job: &Job, artifacts: &[ArtifactEntry]) -> String {
    let mut hash = Sha256::new_with_prefix(format!("zip {:?}", job.finished_at));
    for ArtifactEntry { name, sha256, .. } in artifacts {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(sha256);
    }
    content::entity_tag(&hash.finalize().into())
}

/// The archive, a piece at a time. Each file is read twice, since its checksum stands before its bytes: readers that
/// cannot jump need it there, and the length of the whole is known from the beginning.
fn archive(api: Arc<Api>, id: JobId, mut entries: Vec<Entry>) -> impl Stream<Item = std::io::Result<Bytes>> {
    try_stream! {
        let mut offset = 0;
        for (number, entry) in (0u32..).zip(&mut entries) {
            let artifact = api.queue.store().artifact_numbered(id, number).map_err(std::io::Error::other)?;
            let content = artifact.ok_or_else(|| std::io::Error::other("the artifact is gone"))?.payload.content;
            if content.size() != entry.size {
                Err(std::io::Error::other("the artifact has changed"))?;
            }
            let (content, checksum) = tokio::task::spawn_blocking(move || {
                let checksum = checksum(&content)?;
                Ok::<_, std::io::Error>((content, checksum))
            }).await.map_err(std::io::Error::other)??;
            entry.place(offset, checksum);
            let header = entry.local_header();
            offset += header.len() as u64 + entry.size;
            yield header.into();
            for await piece in content::pieces(content.open(0)?, entry.size) {
                yield piece?;
            }
        }
        yield zip::directory(&entries, offset).into();
    }
}

/// Read at a time while a checksum is made.
const CHUNK_BYTES: usize = 64 * 1024;

fn checksum(content: &Content) -> std::io::Result<u32> {
    let (mut reader, mut hash) = (content.open(0)?, crc32fast::Hasher::new());
    loop {
        let piece = reader.next_chunk(CHUNK_BYTES)?;
        if piece.is_empty() {
            return Ok(hash.finalize());
        }
        hash.update(&piece);
    }
}
