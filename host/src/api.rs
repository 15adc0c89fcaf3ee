//! Speaks HTTP: takes requests apart, calls the queue, puts answers together.
//!
//! One file per resource. Nothing here touches the disk or a guest; refusals become statuses in `problem.rs` alone.

mod body;
mod jobs;
mod json_job;
mod options;
mod problem;
mod result;
mod submit;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::problem::Problem;
use crate::job::{Job, JobId, Kind};
use crate::plugins::Plugins;
use crate::queue::Queue;
use crate::store::StoreError;

/// Bounds of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body that is parsed in memory.
    pub json_bytes_max: u64,
    /// Largest body that is streamed to disk.
    pub body_bytes_max: u64,
    /// Longest `Prefer: wait`; more is cut to it, and the answer says so.
    pub wait_max: Duration,
}

/// What handlers need.
pub struct Api {
    /// The jobs.
    pub queue: Arc<Queue>,
    /// The kinds.
    pub plugins: Arc<Plugins>,
    /// Bounds of a request.
    pub limits: Limits,
    /// True once the host is stopping: clients that wait are answered.
    pub stopping: watch::Receiver<bool>,
}

impl Api {
    /// How long the client wants to wait for a job's end (RFC 7240), within what is allowed.
    fn preferred_wait(&self, headers: &HeaderMap) -> Option<Duration> {
        let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let seconds = preferences.flat_map(|value| value.split(',')).find_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
        })?;
        Some(Duration::from_secs(seconds).min(self.limits.wait_max))
    }

    /// The job when it has ended, the time is over, or the host is stopping.
    async fn wait(&self, id: JobId, wait: Duration) -> Result<Job, StoreError> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            job = self.queue.wait(id, wait) => job,
            _ = stopping.wait_for(|stopping| *stopping) => self.queue.get(id),
        }
    }
}

/// Every route of the host.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/jobs", post(submit::json).get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::get).delete(jobs::delete))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/result", get(result::get))
        .route("/v1/jobs/{id}/artifacts", get(result::artifacts))
        .route("/v1/jobs/{id}/artifacts/{name}", get(result::artifact))
        .route("/v1/kinds", get(kinds))
        .route("/v1/kinds/{kind}", get(kind))
        .route("/v1/kinds/{kind}/jobs", post(submit::raw))
        .route("/v1/plugins", get(plugins))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/", get(index))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::new(api))
}

async fn kinds(State(api): State<Arc<Api>>) -> Json<Value> {
    let kinds: Vec<Value> = api.plugins.all_serving().iter().map(|plugin| view::kind(plugin, &api.queue)).collect();
    Json(json!({"kinds": kinds}))
}

async fn kind(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let plugin = Kind::new(&name).and_then(|kind| api.plugins.serving(&kind));
    let plugin = plugin.ok_or_else(|| Problem::unknown_kind(&name))?;
    Ok(Json(view::kind(&plugin, &api.queue)))
}

async fn plugins(State(api): State<Arc<Api>>) -> Json<Value> {
    let files: Vec<Value> = api.plugins.files().iter().map(view::file).collect();
    Json(json!({"plugins": files}))
}

async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Value>, Problem> {
    if api.plugins.is_scanned() {
        Ok(Json(json!({"status": "ready"})))
    } else {
        Err(Problem::not_ready("the plugin folder is being read for the first time"))
    }
}

async fn index() -> impl IntoResponse {
    Html(include_str!("api/index.html"))
}

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(method.as_str(), uri.path())
}
