//! What a stream begins with: what a client that was here before has missed, or how things are now.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::sse::Event as Message;
use serde_json::json;

use super::message::{message, render};
use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::view::JobView;
use crate::events::{Event, Scope, What};
use crate::job::{Job, JobId, State as JobState};
use crate::store::StoreError;

/// Looks at a job that keeps moving before one of them is taken as its state.
const LOOKS_MAX: usize = 10;

/// What a client that was here before has missed since.
pub(super) enum Missed {
    /// It was not here before.
    Nothing,
    /// Nobody knows any more.
    Unknown,
    /// These, up to that number.
    Events(Vec<Arc<Event>>, u64),
}

pub(super) fn missed(api: &Api, scope: &Scope, caller: &Caller, headers: &HeaderMap) -> Missed {
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
pub(super) struct Beginning {
    pub(super) messages: Vec<Message>,
    /// Events up to this number are told already.
    pub(super) last: u64,
    /// The job's place in its life as it was told last.
    pub(super) told: Option<Place>,
}

/// Where a job is in its life. Equal places are not told twice.
pub(super) type Place = (JobState, u32, u32, u32);

pub(super) fn place(job: &Job) -> Place {
    (job.state, job.attempts, job.crashes, job.interruptions)
}

pub(super) fn begin_with_state(api: &Api, id: JobId, mut messages: Vec<Message>) -> Result<Beginning, StoreError> {
    let (job, last) = look(api, id)?;
    let told = Some(place(&job));
    messages.push(message(api, "state", last, &json!(JobView::without_usage(job))));
    Ok(Beginning { messages, last, told })
}

pub(super) fn begin_with(api: &Api, events: &[Arc<Event>], last: u64) -> Beginning {
    let messages = events.iter().map(|event| render(api, event)).collect();
    let mut states =
        events.iter().rev().filter_map(|event| if let What::State(job) = &event.what { Some(job) } else { None });
    Beginning { messages, last, told: states.next().map(|job| place(job)) }
}

/// A job, and the number of the newest event that it contains.
pub(in crate::api) fn look(api: &Api, id: JobId) -> Result<(Job, u64), StoreError> {
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
