//! Jobs, kinds and files as clients see them.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::job::{Failure, Job, JobId, Kind, Progress, Standing, State, Usage, Webhook};
use crate::plugins::{FileReport, FileState, Plugin};
use crate::queue::Queue;
use crate::sandbox::Example;
use crate::store::StoreError;
use crate::time::Time;

/// Files named at a time that are the same as one.
const TWINS_MAX: usize = 10;

/// A job in JSON. The field names are a promise.
#[derive(Debug, Serialize)]
pub(super) struct JobView {
    id: JobId,
    kind: Kind,
    state: State,
    priority: u8,
    attempts: u32,
    max_attempts: u32,
    crashes: u32,
    interruptions: u32,
    progress: Progress,
    failure: Option<Failure>,
    // Left out where a job is told of as it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Vec<Usage>>,
    // Only of jobs that have one, and where usage is.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookView>,
    tags: Vec<String>,
    created_at: Time,
    run_at: Option<Time>,
    started_at: Option<Time>,
    finished_at: Option<Time>,
    links: Links,
}

/// Whom the job's end is told, and how far that has come.
#[derive(Debug, Serialize)]
struct WebhookView {
    url: String,
    state: &'static str,
    tries: u32,
    next_try_at: Option<Time>,
    delivered_at: Option<Time>,
    given_up_at: Option<Time>,
    last_error: Option<String>,
}

impl WebhookView {
    fn new(webhook: Webhook) -> Self {
        // What stands in the query is often a secret between the client and the receiver; who may look at a job need not know it.
        let url = match webhook.url.split_once('?') {
            Some((path, _)) => format!("{path}?…"),
            None => webhook.url,
        };
        let (tries, last_error) = (webhook.tries, webhook.last_error);
        let (next_try_at, delivered_at, given_up_at) = (None, None, None);
        let view = Self { url, state: "waiting", tries, next_try_at, delivered_at, given_up_at, last_error };
        match webhook.standing {
            Standing::Waiting => view,
            Standing::Due { next_try_at, .. } => Self { state: "due", next_try_at: Some(next_try_at), ..view },
            Standing::Delivered { at } => Self { state: "delivered", delivered_at: Some(at), ..view },
            Standing::GivenUp { at } => Self { state: "given_up", given_up_at: Some(at), ..view },
        }
    }
}

#[derive(Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    own: String,
    result: String,
    artifacts: String,
    events: String,
    logs: String,
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
        let own = format!("/v1/jobs/{}", job.id);
        let link = |last: &str| format!("{own}/{last}");
        Self {
            links: Links {
                result: link("result"),
                artifacts: link("artifacts"),
                events: link("events"),
                logs: link("logs"),
                own,
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

/// A kind: what it does, what it reads, what a job of it may use, and how many stand where.
pub(super) fn kind(plugin: &Plugin, queue: &Queue) -> Value {
    let about = &plugin.description;
    let backoff = plugin.settings.backoff(queue.backoff());
    let retention = plugin.settings.retention(queue.retention());
    let examples = about.examples.iter().map(|Example { title, input, parameters }| {
        let input = input.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let parameters: serde_json::Map<String, Value> =
            parameters.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({"title": title, "input": input, "parameters": parameters})
    });
    json!({
        "kind": plugin.kind,
        "summary": about.summary,
        "version": about.version,
        "digest": plugin.digest,
        "shape": plugin.program.shape(),
        "job_args": !plugin.is_command() || plugin.settings.job_args,
        "input": {
            "media_types": about.input_media_types,
            "schema": plugin.input_schema.as_ref().map(|schema| &schema.source),
        },
        "parameters": plugin.parameter_schema.as_ref().map(|schema| &schema.source),
        "output": {
            "media_type": about.output_media_type,
            "schema": plugin.output_schema,
            "artifacts": about.artifacts,
        },
        "examples": examples.collect::<Vec<_>>(),
        "limits": {
            "timeout_ms": u64::try_from(plugin.limits.timeout.as_millis()).unwrap_or(u64::MAX),
            "timeout_ms_max": u64::try_from(plugin.timeout_max().as_millis()).unwrap_or(u64::MAX),
            "memory_bytes": plugin.limits.memory_bytes,
            "output_bytes": plugin.limits.output_bytes,
            "fuel_per_ms": plugin.fuel_per_ms(),
            "concurrency": plugin.settings.concurrency,
            "queue_max": plugin.settings.queue_max.unwrap_or(queue.queue_max()),
            "max_attempts": plugin.max_attempts(),
            "retry_on": plugin.settings.retry_on,
            "retry_pause_ms": u64::try_from(backoff.first.as_millis()).unwrap_or(u64::MAX),
            "retry_pause_ms_max": u64::try_from(backoff.longest.as_millis()).unwrap_or(u64::MAX),
            "keep_ms": u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX),
            "keep_jobs_max": plugin.settings.keep_jobs_max,
            "keep_bytes_max": plugin.settings.keep_bytes_max,
        },
        "paused": queue.is_paused(&plugin.kind),
        "counts": counts(&plugin.kind, queue),
        "links": {"self": format!("/v1/kinds/{}", plugin.kind), "submit": format!("/v1/kinds/{}/jobs", plugin.kind)},
    })
}

/// How many jobs of a kind stand where.
pub(super) fn counts(kind: &Kind, queue: &Queue) -> Value {
    let counts = queue.counts(kind);
    State::ALL.into_iter().map(|state| (state.as_str().to_owned(), json!(counts.of(state)))).collect()
}

/// Files of the plugin folder, each with up to ten of them that have the same content: it may be meant, and may be a mistake.
pub(super) fn files(reports: &[&FileReport]) -> Vec<Value> {
    let mut of_content: HashMap<&str, Vec<&str>> = HashMap::new();
    for report in reports {
        if let Some(digest) = &report.digest {
            of_content.entry(digest).or_default().push(&report.file);
        }
    }
    let same = |report: &FileReport| {
        let files = report.digest.as_deref().and_then(|digest| of_content.get(digest)).into_iter().flatten();
        files.filter(|file| **file != report.file).take(TWINS_MAX).copied().collect::<Vec<_>>()
    };
    reports.iter().map(|report| file(report, &same(report))).collect()
}

fn file(report: &FileReport, same_as: &[&str]) -> Value {
    let state = match report.state {
        FileState::Compiling => "compiling",
        FileState::Serving => "serving",
        FileState::Rejected => "rejected",
    };
    json!({
        "file": report.file,
        "kind": report.kind,
        "state": state,
        "reason": report.reason,
        "digest": report.digest,
        "same_as": same_as,
    })
}
