//! The host itself: its plugin files, whether it is well, and the page at `/`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use super::view::FileView;

/// Workers come round every second. So long is beyond what a busy machine keeps all of them waiting.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// A commit takes milliseconds, on a busy disk hundreds of them. So long is beyond what a disk takes that still works.
const COMMIT_MAX: Duration = Duration::from_secs(5);

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

/// Whether the host is ready: once every plugin file has been looked at and it is noted how the last host ended, for as long as jobs are
/// claimed and the disk takes what is written, and until it is told to stop.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "host",
    responses(
        (status = 200, description = "It is", body = Health),
        (status = 503, description = "Not yet, or not any more; `detail` says why"),
    )
)]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    let standing = Standing {
        is_draining: api.queue.is_draining(),
        is_recovering: api.queue.is_recovering(),
        is_scanned: api.plugins.is_scanned(),
        has_failed: api.queue.store().failed().borrow().is_some(),
        waits_for_disk: api.queue.store().waits_for_disk(),
        silent_for: api.pulse.silent_for(),
    };
    match standing.why_not_ready() {
        Some(why) => Err(Problem::not_ready(why)),
        None => Ok(Json(Health { status: "ready" })),
    }
}

/// What readiness depends on.
#[derive(Clone, Copy)]
struct Standing {
    is_draining: bool,
    /// Whether it is still to be noted how the last host ended.
    is_recovering: bool,
    is_scanned: bool,
    /// Whether the store can no longer be written; the process is about to end.
    has_failed: bool,
    /// Since the commit under way was begun.
    waits_for_disk: Duration,
    /// Since the last worker came round.
    silent_for: Duration,
}

impl Standing {
    fn why_not_ready(self) -> Option<&'static str> {
        if self.is_draining {
            Some("the host is about to stop; jobs that are sent now run when it is started again")
        } else if self.has_failed {
            Some("the host can no longer write its data and is about to end; its log says more")
        } else if self.is_recovering {
            Some(
                "no job starts before the disk of the data folder takes a note of how the last host ended; if it is full, make room there; what is there can be read",
            )
        } else if !self.is_scanned {
            Some("the plugin folder is being read for the first time")
        } else if self.waits_for_disk > COMMIT_MAX {
            Some(
                "the disk of the data folder has taken nothing for 5 seconds; jobs that are sent now are answered once it does, and what is there can be read",
            )
        } else if self.silent_for > SILENT_MAX {
            Some(
                "no worker has come round for 10 seconds, so no job is started; if that lasts, the host has to be started again",
            )
        } else {
            None
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_claims_no_jobs_is_not_ready_and_says_why() {
        let ready = Standing {
            is_draining: false,
            is_recovering: false,
            is_scanned: true,
            has_failed: false,
            waits_for_disk: COMMIT_MAX,
            silent_for: SILENT_MAX,
        };
        assert_eq!(ready.why_not_ready(), None);
        for (standing, word) in [
            (Standing { is_draining: true, ..ready }, "about to stop"),
            (Standing { is_recovering: true, ..ready }, "how the last host ended"),
            (Standing { is_scanned: false, ..ready }, "plugin folder"),
            (Standing { has_failed: true, ..ready }, "write its data"),
            (Standing { waits_for_disk: COMMIT_MAX + Duration::from_millis(1), ..ready }, "disk"),
            (Standing { silent_for: SILENT_MAX + Duration::from_millis(1), ..ready }, "no worker"),
        ] {
            assert!(standing.why_not_ready().is_some_and(|why| why.contains(word)), "{word}");
        }
    }
}
