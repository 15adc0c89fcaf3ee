//! Where an unfinished job waits, and its place among those that are ready.
//!
//! Within a kind the order is the due time shifted by the priority, then the id: a step of priority is worth
//! [`PRIORITY_STEP`] of waiting, so low priorities age past high ones by themselves and the order never has to be recomputed.

use std::time::Duration;

use crate::job::State;
use crate::store::Token;
use crate::time::Time;

/// A job of priority 6 goes before one of priority 5 that came up to this much earlier.
const PRIORITY_STEP: Duration = Duration::from_secs(60);

/// Where an unfinished job waits, or who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Scheduled(Time),
    Ready(i64),
    Running {
        token: Token,
        started_at: Time,
    },
    /// Due, but its time to be started is over: it waits for that to be recorded, and is not handed out.
    Late,
}

pub(super) fn shifted(due: Time, priority: u8) -> i64 {
    let step = i64::try_from(PRIORITY_STEP.as_millis()).unwrap_or(i64::MAX);
    due.0.saturating_sub(i64::from(priority) * step)
}

pub(super) fn unshifted(key: i64, priority: u8) -> Time {
    let step = i64::try_from(PRIORITY_STEP.as_millis()).unwrap_or(i64::MAX);
    Time(key.saturating_add(i64::from(priority) * step))
}

pub(super) fn state_of(place: Place) -> State {
    match place {
        Place::Scheduled(_) => State::Scheduled,
        Place::Ready(_) | Place::Late => State::Queued,
        Place::Running { .. } => State::Running,
    }
}
