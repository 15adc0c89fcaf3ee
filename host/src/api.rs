//! Speaks HTTP: takes requests apart, calls the queue, puts answers together.
//!
//! One file per resource. Nothing here touches the disk or a guest; refusals become statuses in `problem.rs` alone.

mod access;
mod artifacts;
mod batch;
mod blobs;
mod body;
mod content;
mod docs;
mod document;
mod events;
mod explain;
mod host;
mod hosts;
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

use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::Instrument;

use self::access::Door;
use self::document::Documents;
pub use self::hosts::Hosts;
pub use self::origins::Origins;
use self::problem::Problem;
pub use self::problem::refusal_of_a_connection;
pub use self::submit::check_without_host;
use crate::job::Job;
use crate::plugins::Plugins;
use crate::queue::Queue;
use crate::rate::Rate;
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;
use crate::worker::Pulse;

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
    /// Who may be told how jobs end.
    pub webhooks: Arc<Webhooks>,
    /// Which pages of other origins may talk to this host.
    pub origins: Origins,
    /// What this host may be called where it asks for no token.
    pub hosts: Hosts,
    /// Bounds of a request.
    pub limits: Limits,
    /// Threads that run jobs.
    pub workers: usize,
    /// Whether these still come round.
    pub pulse: Arc<Pulse>,
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

/// A job as clients see it as it moves, for those who are told of it elsewhere.
pub fn job_as_json(job: Job) -> serde_json::Value {
    serde_json::json!(view::JobView::without_usage(job))
}

/// Every route of the host. Each is described in the document, which a test holds against this list.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<Api>>)> {
    let documents = Extension(Arc::<Documents>::default());
    vec![
        ("/v1/jobs", post(submit::json).get(jobs::list)),
        ("/v1/jobs/batch", post(batch::post)),
        ("/v1/jobs/{id}", get(jobs::get).delete(jobs::delete)),
        ("/v1/jobs/{id}/cancel", post(jobs::cancel)),
        ("/v1/jobs/{id}/retry", post(jobs::retry)),
        ("/v1/jobs/{id}/result", get(result::get)),
        ("/v1/jobs/{id}/artifacts", get(artifacts::list)),
        ("/v1/jobs/{id}/artifacts/{name}", get(artifacts::one)),
        ("/v1/jobs/{id}/artifacts.zip", get(artifacts::all)),
        ("/v1/jobs/{id}/logs", get(logs::get)),
        ("/v1/jobs/{id}/explain", get(explain::get)),
        ("/v1/jobs/{id}/events", get(events::of_job)),
        ("/v1/blobs", post(blobs::post)),
        ("/v1/blobs/{sha256}", get(blobs::get)),
        ("/v1/events", get(events::of_all)),
        // Over HTTP/2 a WebSocket begins with CONNECT.
        ("/v1/ws", get(ws::connect).connect(ws::connect)),
        ("/v1/ws/schema", get(ws::schema)),
        ("/v1/kinds", get(kinds::list)),
        ("/v1/kinds/{kind}", get(kinds::one)),
        ("/v1/kinds/{kind}/pause", post(kinds::pause)),
        ("/v1/kinds/{kind}/resume", post(kinds::resume)),
        ("/v1/kinds/{kind}/jobs", post(submit::raw)),
        ("/v1/plugins", get(host::plugins)),
        ("/metrics", get(metrics::get)),
        ("/healthz", get(host::healthz)),
        ("/readyz", get(host::readyz)),
        ("/openapi.json", get(document::get).layer(documents)),
        ("/docs", get(docs::get)),
        ("/", get(host::index)),
    ]
}

/// What answers every request.
pub fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let cors = api.origins.layer();
    let door = Arc::new(Door::new(&api));
    let routes = routes().into_iter().fold(Router::new(), |router, (path, route)| router.route(path, route));
    let routes = routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    // Around every route above, those that lead nowhere included: what were added after it would be open to all. Each layer costs every
    // request a copy of all that is below it, so there are as few as can be.
    let routes = match cors {
        None => routes.layer(middleware::from_fn_with_state(door, |door, request, next| {
            around(request, |request| access::guard(door, request, next))
        })),
        // A browser that asks whether it may send something has no token yet, and is answered before the guard.
        Some(cors) => routes
            .layer(middleware::from_fn_with_state(door, access::guard))
            .layer(cors)
            .layer(middleware::from_fn(|request, next: Next| around(request, |request| next.run(request)))),
    };
    routes.with_state(api)
}

/// What goes around every request: it is timed, the log shows it under a span, and the answer says what a browser must not do with it.
async fn around<A: Future<Output = Response>>(request: Request, answer: impl FnOnce(Request) -> A) -> Response {
    let (timing, span) = (metrics::Timing::of(&request), trace::span(&request));
    let mut response = answer(request).instrument(span.clone()).await;
    origins::protect(response.headers_mut());
    let took = timing.note(response.status());
    span.in_scope(|| {
        tracing::debug!(status = response.status().as_u16(), duration_ms = took.as_millis(), "request answered");
    });
    response
}

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(method.as_str(), uri.path())
}
