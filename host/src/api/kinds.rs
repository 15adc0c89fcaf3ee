//! What can be run: one kind or all of them, paused and resumed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::access::Caller;
use super::problem::Problem;
use super::{Api, Segments, view};
use crate::job::Kind;

/// `GET /v1/kinds`
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Json<Value> {
    let serving = api.plugins.all_serving();
    let visible = serving.iter().filter(|plugin| caller.sight().covers_kind(&plugin.kind));
    let kinds: Vec<Value> = visible.map(|plugin| view::kind(plugin, &api.queue)).collect();
    Json(json!({"kinds": kinds}))
}

/// `GET /v1/kinds/{kind}`
pub(super) async fn one(State(api): State<Arc<Api>>, Segments(name): Segments<String>) -> Result<Json<Value>, Problem> {
    let plugin = Kind::new(&name).and_then(|kind| api.plugins.serving(&kind));
    let plugin = plugin.ok_or_else(|| Problem::unknown_kind(&name))?;
    Ok(Json(view::kind(&plugin, &api.queue)))
}

/// `POST /v1/kinds/{kind}/pause`: no further job of the kind starts; submits are still accepted.
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Segments(name): Segments<String>,
) -> Result<Json<Value>, Problem> {
    set_paused(&api, &name, true).await
}

/// `POST /v1/kinds/{kind}/resume`
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Segments(name): Segments<String>,
) -> Result<Json<Value>, Problem> {
    set_paused(&api, &name, false).await
}

/// A kind whose file is gone can be paused while jobs of it wait, and always resumed.
async fn set_paused(api: &Api, name: &str, paused: bool) -> Result<Json<Value>, Problem> {
    let kind = Kind::new(name).ok_or_else(|| Problem::unknown_kind(name))?;
    let plugin = api.plugins.serving(&kind);
    if plugin.is_none() && api.queue.counts(&kind).unfinished() == 0 && !api.queue.is_paused(&kind) {
        return Err(Problem::unknown_kind(name));
    }
    api.queue.set_paused(&kind, paused).await?;
    Ok(Json(match plugin {
        Some(plugin) => view::kind(&plugin, &api.queue),
        None => json!({"kind": kind, "paused": paused, "counts": view::counts(&kind, &api.queue)}),
    }))
}
