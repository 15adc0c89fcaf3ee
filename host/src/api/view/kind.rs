//! A kind as clients see it: what it does, what it reads, what a job of it may use, and how many stand where.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::job::{Code, Kind, State};
use crate::plugins::{Plugin, Schema};
use crate::queue::Queue;
use crate::sandbox::{Example, Shape};

/// What can be run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Kind)]
pub(in crate::api) struct KindView {
    kind: Kind,
    /// What it does, in a sentence.
    summary: String,
    /// The plugin's own version.
    version: String,
    /// SHA-256 of the plugin file, in hexadecimal.
    digest: String,
    shape: Shape,
    /// Whether a job may give arguments.
    job_args: bool,
    input: Input,
    /// JSON Schema of the parameters, as one object.
    #[schema(required)]
    parameters: Option<Value>,
    output: Output,
    /// Requests worth trying.
    examples: Vec<ExampleView>,
    limits: Limits,
    /// Whether no further job of it starts.
    paused: bool,
    counts: Counts,
    links: Links,
}

/// What is known of a kind whose file is gone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KindWithoutPlugin)]
pub(in crate::api) struct Remains {
    kind: Kind,
    paused: bool,
    counts: Counts,
}

/// A kind, whether or not a plugin serves it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum AnyKind {
    Serving(Box<KindView>),
    WithoutPlugin(Remains),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KindInput)]
struct Input {
    /// Most welcome first.
    media_types: Vec<String>,
    /// JSON Schema of an input in JSON.
    #[schema(required)]
    schema: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KindOutput)]
struct Output {
    /// The usual media type of a result.
    media_type: String,
    /// JSON Schema of the result.
    #[schema(required)]
    schema: Option<Value>,
    /// What a job leaves besides its result, in a sentence.
    artifacts: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KindExample)]
pub(in crate::api) struct ExampleView {
    pub(in crate::api) title: String,
    #[schema(required)]
    pub(in crate::api) input: Option<Value>,
    pub(in crate::api) parameters: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KindLimits)]
struct Limits {
    /// Time limit of an attempt whose job asks for none.
    timeout_ms: u64,
    /// The longest that a job may ask for.
    timeout_ms_max: u64,
    memory_bytes: u64,
    /// Result and artifacts together.
    output_bytes: u64,
    /// Fuel an attempt has for each millisecond of its time limit.
    fuel_per_ms: u64,
    /// Jobs of this kind that run at once, if that is limited.
    #[schema(required)]
    concurrency: Option<u32>,
    /// Unfinished jobs of this kind that are accepted.
    queue_max: u64,
    /// Attempts of a job that does not say how many.
    max_attempts: u32,
    /// Failures that are tried again besides `transient` and `internal`.
    retry_on: Vec<Code>,
    retry_pause_ms: u64,
    retry_pause_ms_max: u64,
    /// How long results are kept; records twice as long.
    keep_ms: u64,
    /// Finished jobs kept, if the kind has a rule of its own.
    #[schema(required)]
    keep_jobs_max: Option<u64>,
    /// What they may have together, likewise.
    #[schema(required)]
    keep_bytes_max: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KindLinks)]
struct Links {
    #[serde(rename = "self")]
    own: String,
    submit: String,
}

/// How many jobs of a kind stand where.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(in crate::api) fn of(kind: &Kind, queue: &Queue) -> Self {
        let counts = queue.counts(kind);
        Self(State::ALL.into_iter().map(|state| (state.as_str(), counts.of(state))).collect())
    }
}

impl AnyKind {
    pub(in crate::api) fn of(kind: &Kind, plugin: Option<&Plugin>, queue: &Queue) -> Self {
        match plugin {
            Some(plugin) => Self::Serving(Box::new(KindView::of(plugin, queue))),
            None => Self::WithoutPlugin(Remains {
                kind: kind.clone(),
                paused: queue.is_paused(kind),
                counts: Counts::of(kind, queue),
            }),
        }
    }
}

impl KindView {
    pub(in crate::api) fn of(plugin: &Plugin, queue: &Queue) -> Self {
        let (kind, about) = (&plugin.kind, &plugin.description);
        let source = |schema: &Option<Schema>| schema.as_ref().map(|schema| schema.source.clone());
        Self {
            kind: kind.clone(),
            summary: about.summary.clone(),
            version: about.version.clone(),
            digest: plugin.digest.clone(),
            shape: plugin.program.shape(),
            job_args: !plugin.is_command() || plugin.settings.job_args,
            input: Input { media_types: about.input_media_types.clone(), schema: source(&plugin.input_schema) },
            parameters: source(&plugin.parameter_schema),
            output: Output {
                media_type: about.output_media_type.clone(),
                schema: plugin.output_schema.clone(),
                artifacts: about.artifacts.clone(),
            },
            examples: about.examples.iter().map(ExampleView::of).collect(),
            limits: Limits::of(plugin, queue),
            paused: queue.is_paused(kind),
            counts: Counts::of(kind, queue),
            links: Links { own: format!("/v1/kinds/{kind}"), submit: format!("/v1/kinds/{kind}/jobs") },
        }
    }
}

impl ExampleView {
    pub(in crate::api) fn of(Example { title, input, parameters }: &Example) -> Self {
        let input = input.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self { title: title.clone(), input, parameters: parameters.iter().cloned().collect() }
    }
}

impl Limits {
    fn of(plugin: &Plugin, queue: &Queue) -> Self {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let backoff = plugin.settings.backoff(queue.backoff());
        Self {
            timeout_ms: milliseconds(plugin.limits.timeout),
            timeout_ms_max: milliseconds(plugin.timeout_max()),
            memory_bytes: plugin.limits.memory_bytes,
            output_bytes: plugin.limits.output_bytes,
            fuel_per_ms: plugin.fuel_per_ms(),
            concurrency: plugin.settings.concurrency,
            queue_max: plugin.settings.queue_max.unwrap_or(queue.queue_max()),
            max_attempts: plugin.max_attempts(),
            retry_on: plugin.settings.retry_on.clone(),
            retry_pause_ms: milliseconds(backoff.first),
            retry_pause_ms_max: milliseconds(backoff.longest),
            keep_ms: milliseconds(plugin.settings.retention(queue.retention()).age),
            keep_jobs_max: plugin.settings.keep_jobs_max,
            keep_bytes_max: plugin.settings.keep_bytes_max,
        }
    }
}
