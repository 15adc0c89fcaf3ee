//! Jobs, kinds and files as clients see them.

mod files;
mod kind;
mod webhook;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::fmt::Hyphenated;

pub(super) use self::files::FileView;
pub(super) use self::kind::{AnyKind, Counts, ExampleView, KindView};
use self::webhook::WebhookView;
use crate::job::{Failure, Job, JobId, Kind, Progress, State, Usage};
use crate::queue::Queue;
use crate::store::StoreError;
use crate::time::Time;

/// About as long as the answer for a job without tags and failures.
const JOB_BYTES: usize = 1024;
/// The longest path of a job and what belongs to it.
const LINK_BYTES_MAX: usize = 64;

/// A job. The names of its members are a promise.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobView {
    /// UUID of version 7, in lower case: ids sort by the time of submission.
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    kind: Kind,
    state: State,
    /// 9 goes first.
    #[schema(maximum = 9)]
    priority: u8,
    /// Attempts that ended on their own.
    attempts: u32,
    /// The most that `attempts` may become.
    max_attempts: u32,
    /// Times the host process died and this job was found guilty.
    crashes: u32,
    /// Times a graceful stop of the host handed it back. Never counts against it.
    interruptions: u32,
    progress: Progress,
    /// Why it failed; while it waits for another attempt, why the last one did.
    #[schema(required)]
    failure: Option<Failure>,
    /// What the last ten attempts used. Left out where a job is told of as it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    usage: Option<Vec<Usage>>,
    /// Who is told how it ends. Only of a job that has one, and where `usage` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    webhook: Option<WebhookView>,
    /// The client's labels.
    tags: Vec<String>,
    created_at: Time,
    /// Not before this moment, if it has one to wait for.
    #[schema(required)]
    run_at: Option<Time>,
    /// When the newest attempt started.
    #[schema(required)]
    started_at: Option<Time>,
    /// When its outcome became final.
    #[schema(required)]
    finished_at: Option<Time>,
    links: Links,
}

/// Where to go from a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobLinks)]
struct Links {
    #[serde(rename = "self")]
    #[schema(value_type = String)]
    own: Link,
    #[schema(value_type = String)]
    result: Link,
    #[schema(value_type = String)]
    artifacts: Link,
    #[schema(value_type = String)]
    events: Link,
    #[schema(value_type = String)]
    logs: Link,
}

/// A job's path and what follows it, written where it goes and nowhere before.
#[derive(Debug)]
struct Link(JobId, &'static str);

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Five of them are in every answer; the machinery of formatting would take more time than the rest of the answer.
        let mut path = String::with_capacity(LINK_BYTES_MAX);
        path.push_str("/v1/jobs/");
        path.push_str(self.0.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]));
        path.push_str(self.1);
        serializer.serialize_str(&path)
    }
}

impl IntoResponse for JobView {
    /// As `axum::Json` answers it, in a buffer that need not grow four times on the way.
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(JOB_BYTES);
        serde_json::to_writer(&mut body, &self)
            .expect("a job has no maps whose keys are not text, and memory takes it");
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }
}

impl JobView {
    /// A job with the reports of its attempts.
    pub(super) fn with_usage(job: Job, queue: &Queue) -> Result<Self, StoreError> {
        let usage = queue.store().usage(job.id)?;
        let webhook = queue.store().webhook(job.id)?;
        Ok(Self { webhook: webhook.map(WebhookView::new), ..Self::new(job, Some(usage)) })
    }

    /// A job in the middle of its life.
    pub(super) fn without_usage(job: Job) -> Self {
        Self::new(job, None)
    }

    fn new(job: Job, usage: Option<Vec<Usage>>) -> Self {
        let link = |last| Link(job.id, last);
        Self {
            links: Links {
                own: link(""),
                result: link("/result"),
                artifacts: link("/artifacts"),
                events: link("/events"),
                logs: link("/logs"),
            },
            id: job.id,
            kind: job.kind,
            state: job.state,
            priority: job.priority,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            crashes: job.crashes,
            interruptions: job.interruptions,
            progress: job.progress,
            failure: job.failure,
            usage,
            webhook: None,
            tags: job.tags,
            created_at: job.created_at,
            run_at: job.run_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}
