//! What every request goes through before its handler, and its answer after: the clock, the log's span, the guard.
//!
//! Around the router and not a layer of it: each layer would copy all that is below it and put what is under way on the heap, for every
//! request, which took two thirds of the time of a submit's handler. The routes are looked up here for that, and once more by the router.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tracing::Instrument;

use super::access::{Door, Routes};
use super::document::Documents;
use super::problem::Problem;
use super::{
    Api, artifacts, batch, blobs, docs, document, events, explain, host, jobs, kinds, logs, metrics, origins, result,
    submit, trace, ws,
};

/// Answers every request.
pub struct Front {
    door: Arc<Door>,
    /// The same behind what tells browsers which pages of other origins may come in. One that asks whether it may send something has no
    /// token yet, and is answered before the guard.
    across_origins: Option<TowerToHyperService<Router>>,
}

impl Front {
    /// What answers for these parts.
    pub fn new(api: Api) -> Self {
        let api = Arc::new(api);
        let (mut paths, mut router) = (Routes::new(), Router::new());
        for (path, route) in routes() {
            paths.insert(path, path).expect("a test holds the routes, none of which stands in the way of another");
            router = router.route(path, route);
        }
        let router = router.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
        let door = Arc::new(Door::new(&api, paths, router.with_state(Arc::clone(&api))));
        let across_origins = api.origins.layer().map(|cors| {
            let door = Arc::clone(&door);
            let behind = move |request: Request| async move {
                let route = door.route_of(&request);
                door.guard(route, request).await
            };
            TowerToHyperService::new(Router::new().fallback(behind).layer(cors))
        });
        Self { door, across_origins }
    }

    /// Answers a request. It is timed, the log shows it under a span, and the answer says what a browser must not do with it.
    pub async fn answer(&self, request: Request) -> Response {
        let route = self.door.route_of(&request);
        let is_head = request.method() == Method::HEAD;
        let (timing, span) = (metrics::Timing::of(&request, route), trace::span(&request, route));
        let answer = async {
            match &self.across_origins {
                None => self.door.guard(route, request).await,
                Some(router) => router.call(request).await.unwrap_or_else(|never| match never {}),
            }
        };
        let mut response = answer.instrument(span.clone()).await;
        if is_head {
            behead(&mut response);
        }
        origins::protect(response.headers_mut());
        let took = timing.note(response.status());
        span.in_scope(|| {
            tracing::debug!(status = response.status().as_u16(), duration_ms = took.as_millis(), "request answered");
        });
        response
    }
}

/// Takes the body out of an answer to `HEAD`. The router has done so with what it has answered, but the guard answers before it.
fn behead(response: &mut Response) {
    let Some(size) = response.body().size_hint().exact().filter(|size| *size > 0) else { return };
    response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(size));
    *response.body_mut() = Body::empty();
}

/// Every route of the host. Each is described in the document, which a test holds against this list.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Arc<Api>>)> {
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

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(method.as_str(), uri.path())
}
