//! What can be run: one kind or all of them, paused and resumed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::problem::Problem;
use super::serving::find;
use super::view::{AnyKind, KindView};
use super::{Api, Segments};
use crate::job::Kind;

/// The kinds a caller may see.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KindList {
    kinds: Vec<KindView>,
}

/// What can be run: schemas, examples, limits and counts.
#[utoipa::path(
    get, path = "/v1/kinds", operation_id = "listKinds", tag = "kinds",
    responses((status = 200, description = "Every kind that serves", body = KindList))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Json<KindList> {
    let serving = api.plugins.all_serving();
    let visible = serving.iter().filter(|plugin| caller.sight().covers_kind(&plugin.kind));
    Json(KindList { kinds: visible.map(|plugin| KindView::of(plugin, &api.queue)).collect() })
}

/// One kind.
#[utoipa::path(
    get, path = "/v1/kinds/{kind}", operation_id = "getKind", tag = "kinds",
    responses(
        (status = 200, description = "The kind", body = KindView),
        (status = 404, description = "No plugin serves this kind"),
        (status = 503, description = "Its plugin is not ready yet; `Retry-After` says when it may be"),
    )
)]
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Json<KindView>, Problem> {
    let plugin = find(&api, &caller, &name).await?;
    Ok(Json(KindView::of(&plugin, &api.queue)))
}

/// Let no further job of the kind start, also after a restart.
///
/// Submits are still accepted.
#[utoipa::path(
    post, path = "/v1/kinds/{kind}/pause", operation_id = "pauseKind", tag = "kinds",
    responses(
        (status = 200, description = "The kind, paused", body = AnyKind),
        (status = 404, description = "No plugin serves this kind, and no job of it waits"),
    )
)]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Segments(name): Segments<String>,
) -> Result<Json<AnyKind>, Problem> {
    set_paused(&api, &name, true).await
}

/// Let jobs of a paused kind start again.
#[utoipa::path(
    post, path = "/v1/kinds/{kind}/resume", operation_id = "resumeKind", tag = "kinds",
    responses(
        (status = 200, description = "The kind, which is not paused", body = AnyKind),
        (status = 404, description = "No plugin serves this kind, and no job of it waits"),
    )
)]
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Segments(name): Segments<String>,
) -> Result<Json<AnyKind>, Problem> {
    set_paused(&api, &name, false).await
}

/// A kind whose file is gone can be paused while jobs of it wait, and always resumed.
async fn set_paused(api: &Api, name: &str, paused: bool) -> Result<Json<AnyKind>, Problem> {
    let kind = Kind::new(name).ok_or_else(|| Problem::unknown_kind(name))?;
    let plugin = api.plugins.serving(&kind);
    if plugin.is_none() && api.queue.counts(&kind).unfinished() == 0 && !api.queue.is_paused(&kind) {
        return Err(Problem::unknown_kind(name));
    }
    api.queue.set_paused(&kind, paused).await?;
    Ok(Json(AnyKind::of(&kind, plugin.as_deref(), &api.queue)))
}
