//! The states of a job, by the names that clients know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a job stands. The last three are terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a moment: its `run_at`, or the pause before another attempt.
    Scheduled,
    /// Waits for other jobs.
    Blocked,
    /// Ready to run.
    Queued,
    /// A worker has it. Never written to disk: after a crash such a job is simply queued.
    Running,
    /// Done, with a result.
    Succeeded,
    /// Over, with a [`Failure`](super::Failure).
    Failed,
    /// Stopped on request.
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [State; 7] = [
        State::Scheduled,
        State::Blocked,
        State::Queued,
        State::Running,
        State::Succeeded,
        State::Failed,
        State::Cancelled,
    ];

    /// Whether the job's outcome is final.
    pub fn is_terminal(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }

    /// The name in JSON and queries.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Scheduled => "scheduled",
            State::Blocked => "blocked",
            State::Queued => "queued",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}
