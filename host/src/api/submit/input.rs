//! A job's input: taken in as the plugin reads it, and held against the plugin's schema before anything is accepted.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use serde_json::Value;

use crate::api::problem::Problem;
use crate::api::{Limits, body};
use crate::plugins::Plugin;
use crate::store::{Payload, Upload};

/// Larger inputs are checked, and looked through for blobs that they name, off the serving threads.
pub(in crate::api) const CHECKED_AT_ONCE_BYTES_MAX: usize = 16 * 1024;
pub(super) const JSON: &str = "application/json";

/// Takes a body in and checks it, and answers its text where the plugin reads JSON.
pub(super) async fn take_in(
    plugin: &Arc<Plugin>,
    upload: Upload,
    limits: &Limits,
    headers: &HeaderMap,
    request: Body,
) -> Result<(Payload, Bytes), Problem> {
    if plugin.reads_json() {
        let input = body::read_whole(request, headers, limits.json_bytes_max, "").await?;
        let input = check_json(plugin, input, "").await?;
        let upload = body::write(upload, input.clone()).await?;
        return Ok((body::finish(upload, JSON.to_owned()).await?, input));
    }
    let upload = body::stream(upload, request, headers, limits.body_bytes_max).await?;
    Ok((body::finish(upload, body::media_type(headers)?).await?, Bytes::new()))
}

pub(super) fn accepts_json(plugin: &Plugin) -> bool {
    let types = &plugin.description.input_media_types;
    types.is_empty() || types.iter().any(|one| one == JSON || one == "*/*" || one.ends_with("+json"))
}

/// Holds an input against the plugin's schema; a large one on a thread that may take its time.
pub(super) async fn check_json(plugin: &Arc<Plugin>, input: Bytes, prefix: &'static str) -> Result<Bytes, Problem> {
    if !plugin.reads_json() {
        return Ok(input);
    }
    if input.len() <= CHECKED_AT_ONCE_BYTES_MAX {
        return check_json_now(plugin, &input, prefix).map(|()| input);
    }
    let plugin = Arc::clone(plugin);
    let checked = tokio::task::spawn_blocking(move || check_json_now(&plugin, &input, prefix).map(|()| input));
    checked.await.unwrap_or_else(|_| Err(Problem::internal("the host panicked while it checked the input")))
}

fn check_json_now(plugin: &Plugin, input: &[u8], prefix: &str) -> Result<(), Problem> {
    let value: Value = serde_json::from_slice(input).map_err(|error| {
        if input.trim_ascii().is_empty() {
            let detail = format!("{} reads JSON, and there is no input", plugin.kind);
            return Problem::invalid_input(detail.clone()).at(prefix, detail);
        }
        Problem::invalid_input(format!("{} reads JSON, and the input is not: {error}", plugin.kind))
            .at(prefix, error.to_string())
    })?;
    plugin.check_input(&value).map_err(|violations| {
        let summary = violations.iter().map(|one| one.detail.as_str()).collect::<Vec<_>>().join("; ");
        Problem::invalid_input(format!("the input does not fit the schema of {}: {summary}", plugin.kind))
            .violations(prefix, violations)
    })
}
