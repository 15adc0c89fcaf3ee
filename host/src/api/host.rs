//! The host itself: its plugin files, whether it is well, and the page at `/`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::access::Caller;
use super::problem::Problem;
use super::view::FileView;

/// The files of the plugin folder.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PluginList {
    plugins: Vec<FileView>,
    /// Why the folder cannot be read, while it cannot; what serves goes on serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// Every file of the plugin folder, and how it was received.
#[utoipa::path(
    get, path = "/v1/plugins", operation_id = "listPlugins", tag = "host",
    responses((status = 200, description = "The files, rejected ones with the reason", body = PluginList))
)]
pub(super) async fn plugins(State(api): State<Arc<Api>>, caller: Caller) -> Json<PluginList> {
    let files = api.plugins.files();
    let visible = files.into_iter().filter(|file| caller.may_see_file(file.kind.as_ref()));
    Json(PluginList { plugins: FileView::of(visible.collect()), reason: api.plugins.folder_reason() })
}

/// How the host is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// Whether the host is alive.
#[utoipa::path(
    get, path = "/healthz", operation_id = "getHealth", tag = "host",
    responses((status = 200, description = "It is", body = Health))
)]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the host is ready: once every plugin file has been looked at, and until it is told to stop.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "host",
    responses(
        (status = 200, description = "It is", body = Health),
        (status = 503, description = "Not yet, or not any more"),
    )
)]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    if api.queue.is_draining() {
        Err(Problem::not_ready("the host is about to stop; jobs that are sent now run when it is started again"))
    } else if api.plugins.is_scanned() {
        Ok(Json(Health { status: "ready" }))
    } else {
        Err(Problem::not_ready("the plugin folder is being read for the first time"))
    }
}

/// A page that says where everything is.
#[utoipa::path(
    get, path = "/", operation_id = "getIndex", tag = "host",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn index() -> impl IntoResponse {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("index.html")))
}
