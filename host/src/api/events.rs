//! What happens, as server-sent events: of one job, of a kind, or of all.
//!
//! A job's stream begins with its state and ends with its terminal one. Every event has an id; a client that comes back with
//! `Last-Event-ID` gets what it missed, or a `resync` event if that is no longer held.

mod beginning;
mod message;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use utoipa::IntoParams;

pub(super) use self::beginning::look;
use self::beginning::{Beginning, Missed, Place, begin_with, begin_with_state, missed, place};
pub(super) use self::message::{LogEvent, ProgressEvent, ResyncEvent, describe};
use self::message::{render, resync, schemas_of_events};
use super::caller::Caller;
use super::jobs::parse_id;
use super::problem::Problem;
use super::{Api, Segments};
use crate::events::{Scope, Subscription, What};
use crate::job::Kind;

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
