//! An event as it is told: its name, its `data`, the schema of that, and the line of a stream that carries it.

use axum::response::sse::Event as Message;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::view::JobView;
use crate::events::{Event, What};
use crate::job::{JobId, Kind, Progress};
use crate::running::LogLine;

/// The schema of each event's `data`, which OpenAPI has no place for.
pub(super) fn schemas_of_events() -> Value {
    json!({
        "state": {"$ref": "#/components/schemas/Job"},
        "progress": {"$ref": "#/components/schemas/ProgressEvent"},
        "log": {"$ref": "#/components/schemas/LogEvent"},
        "resync": {"$ref": "#/components/schemas/ResyncEvent"},
    })
}

/// `data` of the event `progress`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProgressEvent<'a> {
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    #[schema(inline)]
    kind: &'a Kind,
    attempt: u32,
    #[schema(inline)]
    progress: &'a Progress,
}

/// `data` of the event `log`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct LogEvent<'a> {
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    #[schema(inline)]
    kind: &'a Kind,
    attempt: u32,
    #[serde(flatten)]
    #[schema(inline)]
    line: &'a LogLine,
}

/// `data` of the event `resync`: what was missed is not known any more.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ResyncEvent {
    reason: &'static str,
}

/// An event's name and what it says, wherever it is told.
pub(in crate::api) fn describe(event: &Event) -> (&'static str, Value) {
    let (id, kind) = (event.id, &event.kind);
    match &event.what {
        What::State(job) => ("state", json!(JobView::without_usage((**job).clone()))),
        What::Progress { attempt, progress } => {
            ("progress", json!(ProgressEvent { id, kind, attempt: *attempt, progress }))
        }
        What::Log { attempt, line } => ("log", json!(LogEvent { id, kind, attempt: *attempt, line })),
    }
}

pub(super) fn render(api: &Api, event: &Event) -> Message {
    let (name, data) = describe(event);
    message(api, name, event.number, &data)
}

pub(super) fn resync(api: &Api) -> Message {
    let reason = "what happened after the given Last-Event-ID is no longer held; take the state as it is now";
    message(api, "resync", api.queue.events().last(), &json!(ResyncEvent { reason }))
}

pub(super) fn message(api: &Api, name: &str, number: u64, data: &Value) -> Message {
    // JSON on one line, in which no line break can stand.
    Message::default().event(name).id(api.queue.events().position(number).to_string()).data(data.to_string())
}
