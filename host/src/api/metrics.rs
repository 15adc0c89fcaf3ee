//! `GET /metrics`, and the timing of every request.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use crate::job::State as JobState;
use crate::metrics::{self, Standing};
use crate::time::Time;

/// Figures about the host and its jobs, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "host",
    responses((status = 200, description = "The figures", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn get(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let store = api.queue.store();
    let counts = store.webhook_counts();
    let webhooks = vec![("waiting", counts.waiting), ("due", counts.due), ("in_flight", counts.taken)];
    let listeners = api.queue.events().listening();
    let mut standing = Standing { listeners, webhooks, ..Standing::default() };
    for (kind, counts) in store.all_counts() {
        standing.jobs.extend(JobState::ALL.map(|state| (kind.clone(), state.as_str(), counts.of(state))));
    }
    for (kind, since) in store.next_ready_since() {
        let age_ms = u64::try_from(Time::now().since(since).as_millis()).unwrap_or(u64::MAX);
        standing.ages_ms.push((kind, age_ms));
    }
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], metrics::render(standing))
}

/// Takes the time of a request, up to the head of its answer.
pub(super) async fn time(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = route.as_ref().map(MatchedPath::as_str);
    metrics::note_request(route, method.as_str(), response.status().as_u16(), began.elapsed());
    response
}
