//! Speaks HTTP: takes requests apart, calls the queue, puts answers together.
//!
//! One file per resource. Nothing here touches the disk or a guest; refusals become statuses in `problem.rs` alone.

mod access;
mod artifacts;
mod batch;
mod blobs;
mod body;
mod content;
mod events;
mod explain;
mod jobs;
mod json_job;
mod kinds;
mod limiter;
mod logs;
mod metrics;
mod options;
mod origins;
mod problem;
mod result;
mod submit;
mod trace;
mod view;
mod wait;
mod ws;
mod zip;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{Method, Uri, header};
use axum::middleware;
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::access::{Caller, Door};
pub use self::origins::Origins;
use self::problem::Problem;
pub use self::problem::refusal_of_a_connection;
use crate::plugins::{FileReport, Plugins};
use crate::queue::Queue;
use crate::rate::Rate;
use crate::tokens::Tokens;

/// Bounds of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body that is parsed in memory.
    pub json_bytes_max: u64,
    /// Largest body that is streamed to disk.
    pub body_bytes_max: u64,
    /// Longest `Prefer: wait`; more is cut to it, and the answer says so.
    pub wait_max: Duration,
    /// How often a stream that has nothing to say shows that it is alive.
    pub keep_alive: Duration,
}

/// Kept by whoever uses a connection, which is not taken for idle until all of them have let go.
#[derive(Clone)]
pub struct InUse(pub Arc<dyn Any + Send + Sync>);

/// What handlers need.
pub struct Api {
    /// The jobs.
    pub queue: Arc<Queue>,
    /// The kinds.
    pub plugins: Arc<Plugins>,
    /// Who may come in.
    pub tokens: Arc<Tokens>,
    /// How often each may ask, if that is limited.
    pub rate_limit: Option<Rate>,
    /// Which pages of other origins may talk to this host.
    pub origins: Origins,
    /// Bounds of a request.
    pub limits: Limits,
    /// Threads that run jobs.
    pub workers: usize,
    /// True once the host is stopping: clients that wait are answered.
    pub stopping: watch::Receiver<bool>,
}

/// The variable parts of a path. Like axum's `Path`, but refuses with a problem.
struct Segments<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            // What is no text names nothing we have.
            Err(_) if parts.uri.path().starts_with("/v1/jobs/") => Err(Problem::unknown_job()),
            Err(_) => Err(Problem::not_found(parts.uri.path())),
        }
    }
}

/// Every route of the host.
pub fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let cors = api.origins.layer();
    Router::new()
        .route("/v1/jobs", post(submit::json).get(jobs::list))
        .route("/v1/jobs/batch", post(batch::post))
        .route("/v1/jobs/{id}", get(jobs::get).delete(jobs::delete))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/result", get(result::get))
        .route("/v1/jobs/{id}/artifacts", get(artifacts::list))
        .route("/v1/jobs/{id}/artifacts/{name}", get(artifacts::one))
        .route("/v1/jobs/{id}/artifacts.zip", get(artifacts::all))
        .route("/v1/jobs/{id}/logs", get(logs::get))
        .route("/v1/jobs/{id}/explain", get(explain::get))
        .route("/v1/jobs/{id}/events", get(events::of_job))
        .route("/v1/blobs", post(blobs::post))
        .route("/v1/blobs/{sha256}", get(blobs::get))
        .route("/v1/events", get(events::of_all))
        // Over HTTP/2 a WebSocket begins with CONNECT.
        .route("/v1/ws", get(ws::connect).connect(ws::connect))
        .route("/v1/ws/schema", get(ws::schema))
        .route("/v1/kinds", get(kinds::list))
        .route("/v1/kinds/{kind}", get(kinds::one))
        .route("/v1/kinds/{kind}/pause", post(kinds::pause))
        .route("/v1/kinds/{kind}/resume", post(kinds::resume))
        .route("/v1/kinds/{kind}/jobs", post(submit::raw))
        .route("/v1/plugins", get(plugins))
        .route("/metrics", get(metrics::get))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/", get(index))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // Around every route above, those that lead nowhere included: what is added below it would be open to all.
        .layer(middleware::from_fn_with_state(Arc::new(Door::new(&api)), access::guard))
        // A browser that asks whether it may send something has no token yet.
        .layer(tower::util::option_layer(cors))
        .layer(middleware::from_fn(origins::protect))
        .layer(middleware::from_fn(trace::request))
        .layer(middleware::from_fn(metrics::time))
        .with_state(api)
}

async fn plugins(State(api): State<Arc<Api>>, caller: Caller) -> Json<Value> {
    let files = api.plugins.files();
    let visible: Vec<&FileReport> = files.iter().filter(|file| caller.may_see_file(file.kind.as_ref())).collect();
    let mut list = json!({"plugins": view::files(&visible)});
    if let Some(reason) = api.plugins.folder_reason() {
        list["reason"] = reason.into();
    }
    Json(list)
}

async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Value>, Problem> {
    if api.queue.is_draining() {
        Err(Problem::not_ready("the host is about to stop; jobs that are sent now run when it is started again"))
    } else if api.plugins.is_scanned() {
        Ok(Json(json!({"status": "ready"})))
    } else {
        Err(Problem::not_ready("the plugin folder is being read for the first time"))
    }
}

async fn index() -> impl IntoResponse {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("api/index.html")))
}

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(method.as_str(), uri.path())
}
