//! `GET /metrics`, and the timing of every request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;

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

/// The time of a request, up to the head of its answer.
pub(super) struct Timing {
    began: Instant,
    route: Option<&'static str>,
    method: Method,
}

impl Timing {
    /// Begins with a request.
    pub(super) fn of(request: &Request, route: Option<&'static str>) -> Self {
        Self { began: Instant::now(), route, method: request.method().clone() }
    }

    /// Ends with its answer, and says how long it took.
    pub(super) fn note(self, status: StatusCode) -> Duration {
        let took = self.began.elapsed();
        metrics::note_request(self.route, self.method.as_str(), status.as_u16(), took);
        took
    }
}
