//! Speaks HTTP: takes requests apart, calls the queue, puts answers together.
//!
//! One file per resource. Nothing here touches the disk or a guest; refusals become statuses in `problem.rs` alone.

mod access;
mod artifacts;
mod batch;
mod blobs;
mod body;
mod caller;
mod content;
mod docs;
mod document;
mod events;
mod explain;
mod front;
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
mod serving;
mod submit;
mod trace;
mod view;
mod wait;
mod ws;
mod zip;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use self::front::Front;
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
