//! What happens, as server-sent events: of one job, of a kind, or of all.
//!
//! A job's stream begins with its state and ends with its terminal one. Every event has an id; a client that comes back with
//! `Last-Event-ID` gets what it missed, or a `resync` event if that is no longer held.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::jobs::parse_id;
use super::problem::Problem;
use super::view::JobView;
use super::{Api, Segments};
use crate::events::{Event, Scope, Subscription, What};
use crate::job::{Job, JobId, Kind, Progress, State as JobState};
use crate::running::LogLine;
use crate::store::StoreError;

/// Looks at a job that keeps moving before one of them is taken as its state.
const LOOKS_MAX: usize = 10;

/// The field [`missed`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
struct Resumed {
    /// The id of the last event that was seen: what came after it is told, or `resync` if that is not known any more.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

/// What [`parse_scope`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a request and is never made")]
struct ScopeQuery {
    /// Only events of this kind.
    #[param(value_type = String, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    kind: Option<String>,
}

/// The schema of each event's `data`, which OpenAPI has no place for.
fn schemas_of_events() -> Value {
    json!({
        "state": {"$ref": "#/components/schemas/Job"},
        "progress": {"$ref": "#/components/schemas/ProgressEvent"},
        "log": {"$ref": "#/components/schemas/LogEvent"},
        "resync": {"$ref": "#/components/schemas/ResyncEvent"},
    })
}

/// What happens to a job, as server-sent events.
///
/// First its state now; the stream ends after a terminal one. `data` of `state`, `progress`, `log` and `resync` is JSON.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", operation_id = "followJob", tag = "events", params(Resumed),
    extensions(("x-events" = json!(schemas_of_events()))),
    responses(
        (status = 200, description = "Events, until the job has ended", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The client has seen the job's end; there is nothing more to come"),
        (status = 404, description = "There is no such job"),
    )
)]
pub(super) async fn of_job(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let scope = Scope::Job(id);
    // Listening before looking, so that nothing happens in between.
    let subscription = api.queue.subscribe(scope.clone(), caller.sight().clone())?;
    let ended = api.queue.get(id)?.state.is_terminal();
    let begin = match missed(&api, &scope, &caller, &headers) {
        Missed::Nothing => begin_with_state(&api, id, Vec::new())?,
        Missed::Unknown => begin_with_state(&api, id, vec![resync(&api)])?,
        Missed::Events(events, _) if ended && events.is_empty() => {
            // It has seen the end. This is how a browser is told not to come back.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Missed::Events(events, last) => begin_with(&api, &events, last),
    };
    Ok(sse(&api, listen(Arc::clone(&api), subscription, begin, true)))
}

/// What happens to all jobs, or to those of a kind, as server-sent events.
///
/// The stream goes on for as long as somebody listens.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "followAll", tag = "events", params(ScopeQuery, Resumed),
    extensions(("x-events" = json!(schemas_of_events()))),
    responses(
        (status = 200, description = "Events, without end", body = String, content_type = "text/event-stream"),
        (status = 422, description = "A query parameter is unknown, or names no kind"),
    )
)]
pub(super) async fn of_all(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = parse_scope(&query.unwrap_or_default())?;
    let subscription = api.queue.subscribe(scope.clone(), caller.sight().clone())?;
    let last = api.queue.events().last();
    let begin = match missed(&api, &scope, &caller, &headers) {
        // An id alone is no event; it is where a client that hears nothing for long will go on.
        Missed::Nothing => {
            let place = Message::default().id(api.queue.events().position(last).to_string());
            Beginning { messages: vec![place.comment("listening")], last, ..Beginning::default() }
        }
        Missed::Unknown => Beginning { messages: vec![resync(&api)], last, ..Beginning::default() },
        Missed::Events(events, last) => begin_with(&api, &events, last),
    };
    Ok(sse(&api, listen(Arc::clone(&api), subscription, begin, false)))
}

/// What a client that was here before has missed since.
enum Missed {
    /// It was not here before.
    Nothing,
    /// Nobody knows any more.
    Unknown,
    /// These, up to that number.
    Events(Vec<Arc<Event>>, u64),
}

fn missed(api: &Api, scope: &Scope, caller: &Caller, headers: &HeaderMap) -> Missed {
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?").trim());
    match last {
        None | Some("") => Missed::Nothing,
        Some(text) => {
            let since =
                text.parse().ok().and_then(|position| api.queue.events().since(position, scope, caller.sight()));
            since.map_or(Missed::Unknown, |(events, last)| Missed::Events(events, last))
        }
    }
}

/// What a stream begins with, and what is known by then.
#[derive(Default)]
struct Beginning {
    messages: Vec<Message>,
    /// Events up to this number are told already.
    last: u64,
    /// The job's place in its life as it was told last.
    told: Option<Place>,
}

/// Where a job is in its life. Equal places are not told twice.
type Place = (JobState, u32, u32, u32);

fn place(job: &Job) -> Place {
    (job.state, job.attempts, job.crashes, job.interruptions)
}

fn begin_with_state(api: &Api, id: JobId, mut messages: Vec<Message>) -> Result<Beginning, StoreError> {
    let (job, last) = look(api, id)?;
    let told = Some(place(&job));
    messages.push(message(api, "state", last, &json!(JobView::without_usage(job))));
    Ok(Beginning { messages, last, told })
}

fn begin_with(api: &Api, events: &[Arc<Event>], last: u64) -> Beginning {
    let messages = events.iter().map(|event| render(api, event)).collect();
    let mut states =
        events.iter().rev().filter_map(|event| if let What::State(job) = &event.what { Some(job) } else { None });
    Beginning { messages, last, told: states.next().map(|job| place(job)) }
}

/// A job, and the number of the newest event that it contains.
pub(super) fn look(api: &Api, id: JobId) -> Result<(Job, u64), StoreError> {
    let events = api.queue.events();
    let mut looks = 0;
    loop {
        let last = events.last();
        let job = api.queue.get(id)?;
        looks += 1;
        if looks == LOOKS_MAX || !events.has_moved(id, last) {
            return Ok((job, last));
        }
    }
}

/// The rest of a stream: events as they come, until the job has ended, the client fell behind, or the host stops.
fn listen(
    api: Arc<Api>,
    mut subscription: Subscription,
    begin: Beginning,
    of_one_job: bool,
) -> impl Stream<Item = Result<Message, Infallible>> {
    let Beginning { messages, last, mut told } = begin;
    let has_ended = move |place: &Option<Place>| of_one_job && place.is_some_and(|(state, ..)| state.is_terminal());
    stream! {
        let mut stopping = api.stopping.clone();
        for message in messages {
            yield Ok(message);
        }
        while !has_ended(&told) {
            let event = tokio::select! {
                event = subscription.next() => event,
                _ = stopping.wait_for(|stopping| *stopping) => None,
            };
            let Some(event) = event else { break };
            if event.number <= last {
                continue;
            }
            if let What::State(job) = &event.what {
                if of_one_job && told == Some(place(job)) {
                    continue;
                }
                told = Some(place(job));
            }
            yield Ok(render(&api, &event));
        }
    }
}

/// `data` of the event `progress`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProgressEvent<'a> {
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
pub(super) struct LogEvent<'a> {
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
pub(super) struct ResyncEvent {
    reason: &'static str,
}

/// An event's name and what it says, wherever it is told.
pub(super) fn describe(event: &Event) -> (&'static str, Value) {
    let (id, kind) = (event.id, &event.kind);
    match &event.what {
        What::State(job) => ("state", json!(JobView::without_usage((**job).clone()))),
        What::Progress { attempt, progress } => {
            ("progress", json!(ProgressEvent { id, kind, attempt: *attempt, progress }))
        }
        What::Log { attempt, line } => ("log", json!(LogEvent { id, kind, attempt: *attempt, line })),
    }
}

fn render(api: &Api, event: &Event) -> Message {
    let (name, data) = describe(event);
    message(api, name, event.number, &data)
}

fn resync(api: &Api) -> Message {
    let reason = "what happened after the given Last-Event-ID is no longer held; take the state as it is now";
    message(api, "resync", api.queue.events().last(), &json!(ResyncEvent { reason }))
}

fn message(api: &Api, name: &str, number: u64, data: &Value) -> Message {
    // JSON on one line, in which no line break can stand.
    Message::default().event(name).id(api.queue.events().position(number).to_string()).data(data.to_string())
}

fn sse(api: &Api, stream: impl Stream<Item = Result<Message, Infallible>> + Send + 'static) -> Response {
    // A comment now and then keeps proxies from closing the connection, and finds clients that are gone.
    let every: Duration = api.limits.keep_alive;
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(every)).into_response();
    // nginx would hold events back otherwise.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn parse_scope(query: &str) -> Result<Scope, Problem> {
    let mut scope = Scope::All;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |detail: String| {
            Problem::invalid_option(format!("the query parameter {name}: {detail}")).in_parameter(name.as_ref(), detail)
        };
        scope = match name.as_ref() {
            "kind" => {
                Kind::new(&value).map(Scope::Kind).ok_or_else(|| wrong(format!("{value:?} is no kind's name")))?
            }
            _ => return Err(wrong("only kind can be given here".to_owned())),
        };
    }
    Ok(scope)
}
