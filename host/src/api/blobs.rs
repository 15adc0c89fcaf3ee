//! Files that are uploaded once and named by many inputs: `{"$blob": "sha256:…"}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::caller::Caller;
use super::content::{self, Conditions, Contents, Ranges, Wanted};
use super::problem::Problem;
use super::submit::CHECKED_AT_ONCE_BYTES_MAX;
use super::{Api, Segments, body};
use crate::plugins::pointer_segment;
use crate::store::{Payload, StoreError};
use crate::time::Time;

/// Blobs one input may name.
const NAMED_MAX: usize = 100;
/// The member that makes an object a reference.
const REFERENCE: &str = "$blob";

/// A file that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Blob {
    /// In hexadecimal: its address, and its entity tag.
    sha256: String,
    /// In bytes.
    size: u64,
    media_type: String,
    /// Until when it is kept if no job names it.
    kept_until: Time,
    reference: Reference,
}

/// What an input says to name a file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlobReference)]
struct Reference {
    /// `sha256:` and the address.
    #[serde(rename = "$blob")]
    blob: String,
}

/// Keep a file that inputs can name as `{"$blob": "sha256:…"}`.
///
/// A file is kept once, however often it is sent.
#[utoipa::path(
    post, path = "/v1/blobs", operation_id = "uploadBlob", tag = "blobs",
    request_body(content = [u8], content_type = "*/*", description = "The file; its Content-Type is kept with it"),
    responses(
        (status = 201, description = "It is on disk", body = Blob, headers(("Location"))),
        (status = 400, description = "The Content-Type is malformed, or the body broke off"),
        (status = 413, description = "It is larger than `body_bytes_max`"),
        (status = 507, description = "The disk has no room for it, or the share of whoever uploads is used up"),
    )
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    if api.queue.store().is_short_of_room() {
        return Err(StoreError::DiskFull.into());
    }
    let media_type = body::media_type(&headers)?;
    let upload = body::stream(api.queue.upload(), request, &headers, api.limits.body_bytes_max).await?;
    let finished = tokio::task::spawn_blocking(move || upload.finish_as_blob()).await;
    let content = finished.map_err(std::io::Error::other).flatten().map_err(StoreError::Disk)?;
    let (address, size) = (hex::encode(content.sha256()), content.size());
    let kept_until =
        api.queue.keep_upload(Payload { media_type: media_type.clone(), content }, &caller.uploader()).await?;
    let location = format!("/v1/blobs/{address}");
    let reference = Reference { blob: format!("sha256:{address}") };
    let blob = Blob { sha256: address, size, media_type, kept_until, reference };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(blob)).into_response())
}

/// The bytes of a file that was kept.
#[utoipa::path(
    get, path = "/v1/blobs/{sha256}", operation_id = "getBlob", tag = "blobs", params(Conditions, Ranges),
    responses(Contents, (status = 404, description = "No such file is kept for this client"))
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segments(address): Segments<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sha256 = parse_address(&address).ok_or_else(Problem::unknown_blob)?;
    let blob = uploaded(&api, &caller, sha256)?.ok_or_else(Problem::unknown_blob)?;
    content::answer(blob, &Wanted::by(&method, &headers))
}

/// An upload, if it is kept and they may see it.
fn uploaded(api: &Api, caller: &Caller, sha256: [u8; 32]) -> Result<Option<Payload>, StoreError> {
    let store = api.queue.store();
    match store.uploaded(sha256, &caller.uploader())? {
        None if caller.sees_all_uploads() => store.uploaded_by_anybody(sha256),
        own => Ok(own),
    }
}

/// The blobs an input names, each once. `prefix` is where the input stands in the body. A large input is looked through off
/// the threads that serve.
pub(super) async fn named_in(
    api: &Arc<Api>,
    caller: &Caller,
    input: &Bytes,
    prefix: &'static str,
) -> Result<Vec<Payload>, Problem> {
    if input.len() <= CHECKED_AT_ONCE_BYTES_MAX {
        return find_in(api, caller, input, prefix);
    }
    let (api, caller, input) = (Arc::clone(api), caller.clone(), input.clone());
    let found = tokio::task::spawn_blocking(move || find_in(&api, &caller, &input, prefix)).await;
    found.unwrap_or_else(|error| Err(Problem::internal(&format!("an input could not be looked through: {error}"))))
}

fn find_in(api: &Api, caller: &Caller, input: &[u8], prefix: &str) -> Result<Vec<Payload>, Problem> {
    // Most inputs name none, and need not be parsed for that.
    if !input.windows(REFERENCE.len()).any(|bytes| bytes == REFERENCE.as_bytes()) {
        return Ok(Vec::new());
    }
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return Ok(Vec::new()) };
    let mut blobs = BTreeMap::new();
    let mut way = vec![prefix.to_owned()];
    each_reference(&value, &mut way, &mut |way, reference| {
        // Put together for a refusal alone: for every reference it would cost the host far more than the client.
        let refuse = |detail: String| Err(Problem::invalid_input(detail.clone()).at(way.join("/"), detail));
        let address = reference.as_str().and_then(|text| text.strip_prefix("sha256:")).and_then(parse_address);
        let Some(sha256) = address else {
            return refuse(format!(
                "{reference} is no reference to a blob: sha256: and 64 lower-case hexadecimal digits"
            ));
        };
        if blobs.contains_key(&sha256) {
            return Ok(());
        }
        match uploaded(api, caller, sha256)? {
            Some(blob) => blobs.insert(sha256, blob),
            None => return refuse(format!("the blob {reference} is not kept here; POST /v1/blobs keeps it")),
        };
        if blobs.len() > NAMED_MAX { refuse(format!("an input names at most {NAMED_MAX} blobs")) } else { Ok(()) }
    })?;
    Ok(blobs.into_values().collect())
}

/// What is done with a reference: the steps of the way to it, and what it says.
type Visit<'a> = dyn FnMut(&[String], &Value) -> Result<(), Problem> + 'a;

/// Visits every object that is a reference. No deeper than the parser lets values be.
fn each_reference(value: &Value, way: &mut Vec<String>, visit: &mut Visit<'_>) -> Result<(), Problem> {
    let is_leaf = |value: &Value| !value.is_object() && !value.is_array();
    let mut step = |segment: String, value: &Value| {
        way.push(segment);
        let done = each_reference(value, way, visit);
        way.pop();
        done
    };
    match value {
        Value::Object(members) => match members.get(REFERENCE) {
            Some(reference) if members.len() == 1 => visit(way, reference),
            _ => {
                let mut inner = members.iter().filter(|(_, value)| !is_leaf(value));
                inner.try_for_each(|(name, value)| step(pointer_segment(name), value))
            }
        },
        Value::Array(values) => {
            let mut inner = values.iter().enumerate().filter(|(_, value)| !is_leaf(value));
            inner.try_for_each(|(at, value)| step(at.to_string(), value))
        }
        _ => Ok(()),
    }
}

/// Addresses have one spelling, so that no two links are the same blob.
fn parse_address(text: &str) -> Option<[u8; 32]> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(text, &mut sha256).ok()?;
    (!text.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(sha256)
}
