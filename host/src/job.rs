//! The nouns: a job, its states, its failures and the legal moves between them.
//!
//! Everything here is plain data and plain functions. No file in the project is below this one except
//! [`crate::time`]; nothing here does I/O or reads a clock.

mod failure;
mod kind;
mod sight;
mod state;
mod usage;
mod webhook;

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
pub use uuid::Uuid as JobId;

pub use self::failure::{Code, Failure, Fault, printable, shorten};
pub use self::kind::Kind;
pub use self::sight::{Owner, Sight};
pub use self::state::State;
pub use self::usage::{Bound, Run, Usage};
pub use self::webhook::{Persistence, Standing, Tried, WEBHOOK_URL_BYTES_MAX, Webhook};
use crate::time::Time;

/// Something for each of many jobs. Every step of a job looks into several of these, and nobody outside can choose an id: a quicker hash
/// than the one of the standard library, which is made for keys that an attacker chooses, is safe enough, being seeded at random.
pub type JobMap<V> = HashMap<JobId, V, foldhash::fast::RandomState>;

/// Something for each kind, in the same way: its name is that of a file which the operator has put there.
pub type KindMap<V> = HashMap<Kind, V, foldhash::fast::RandomState>;

/// A plugin cannot put its next attempt off for longer.
const ADVICE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Usage reports kept per job; older ones go first.
pub const USAGE_KEPT: usize = 10;

/// How far a running job says it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// From 0.0 to 1.0.
    #[schema(minimum = 0, maximum = 1)]
    pub fraction: f64,
    /// A few words, at most 256 bytes.
    pub message: String,
}

/// A job as the store keeps it and clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// UUIDv7: ids sort by the time of submission.
    pub id: JobId,
    /// Which plugin runs it.
    pub kind: Kind,
    /// Where it stands.
    pub state: State,
    /// 0 to 9; 9 first.
    pub priority: u8,
    /// Attempts that ended on their own.
    pub attempts: u32,
    /// The most `attempts` may become.
    pub max_attempts: u32,
    /// Times the host process died and this job was found guilty.
    pub crashes: u32,
    /// Times a graceful stop handed it back. Never counts against it.
    pub interruptions: u32,
    /// The newest progress of the newest attempt.
    pub progress: Progress,
    /// Why it failed. While it waits for another attempt: why the last one failed.
    pub failure: Option<Failure>,
    /// The client's labels.
    pub tags: Vec<String>,
    /// When it was accepted.
    pub created_at: Time,
    /// Not before this moment, if it has one to wait for.
    pub run_at: Option<Time>,
    /// When the newest attempt started.
    pub started_at: Option<Time>,
    /// When its outcome became final.
    pub finished_at: Option<Time>,
    /// Limit of one attempt in milliseconds, if the client chose one.
    pub timeout_ms: Option<u64>,
    /// Fails with `expired` if not started by then.
    pub expires_at: Option<Time>,
    /// Who submitted it. Kept beside the rest: the store's first records end before it.
    #[serde(skip)]
    pub owner: Option<Owner>,
}

/// How an attempt ended, before the job's history is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With a result.
    Succeeded,
    /// With a failure, and the plugin's advice when to try again.
    Failed(Failure, Option<Duration>),
    /// The host is stopping: back to the queue, nothing counted.
    Interrupted,
    /// The host process died while this job alone was under suspicion; at so many crashes it has failed.
    Crashed {
        /// The host's `crashes_max`.
        crashes_max: u32,
    },
}

impl Ended {
    /// For figures and logs: the failure's code, or how else.
    pub fn as_str(&self) -> &'static str {
        match self {
            Ended::Succeeded => "succeeded",
            Ended::Failed(failure, _) => failure.code.as_str(),
            Ended::Interrupted => "interrupted",
            Ended::Crashed { .. } => "crashed",
        }
    }
}

/// Pauses between attempts: exponential, with jitter so that a crowd does not come back as a crowd.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Pause before the second attempt.
    pub first: Duration,
    /// No pause is longer, unless the plugin asks for it.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after `attempts` ended attempts. `jitter` is from 0.0 to 1.0 and takes up to half of the pause away.
    pub fn pause(&self, attempts: u32, jitter: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
    }
}

impl Job {
    /// A job as most are accepted: ready at once, nothing chosen, nothing happened yet.
    pub fn new(id: JobId, kind: Kind, created_at: Time) -> Self {
        Self {
            id,
            kind,
            state: State::Queued,
            priority: 5,
            attempts: 0,
            max_attempts: 3,
            crashes: 0,
            interruptions: 0,
            progress: Progress::default(),
            failure: None,
            tags: Vec::new(),
            created_at,
            run_at: None,
            started_at: None,
            finished_at: None,
            timeout_ms: None,
            expires_at: None,
            owner: None,
        }
    }

    /// The job after an attempt that ended so. The one place where a job's next state is decided.
    pub fn after_attempt(mut self, ended: Ended, backoff: Backoff, jitter: f64, now: Time) -> Job {
        match ended {
            Ended::Interrupted => {
                self.interruptions += 1;
                // It was started in time.
                self.expires_at = None;
                self.state = State::Queued;
                self.started_at = None;
                self.progress = Progress::default();
            }
            Ended::Crashed { crashes_max } => {
                self.crashes += 1;
                if self.crashes >= crashes_max {
                    let message = format!("the host process died {} times while it ran this job", self.crashes);
                    self.failure = Some(Failure::new(Code::HostCrash, message));
                    self.end(State::Failed, now);
                }
            }
            Ended::Succeeded => {
                self.attempts += 1;
                self.failure = None;
                self.end(State::Succeeded, now);
            }
            Ended::Failed(failure, advice) => {
                self.attempts += 1;
                let again = failure.retryable && self.attempts < self.max_attempts;
                self.failure = Some(failure);
                if again {
                    let pause = backoff.pause(self.attempts, jitter).max(advice.unwrap_or_default().min(ADVICE_MAX));
                    self.state = State::Scheduled;
                    self.run_at = Some(now.after(pause));
                    self.expires_at = None;
                    self.started_at = None;
                    self.progress = Progress::default();
                } else {
                    self.end(State::Failed, now);
                }
            }
        }
        self
    }

    /// The job, stopped on request.
    pub fn cancelled(mut self, now: Time) -> Job {
        self.failure = None;
        self.end(State::Cancelled, now);
        self
    }

    /// The job, never started in time.
    pub fn expired(mut self, now: Time) -> Job {
        self.failure = Some(Failure::new(Code::Expired, "the job was not started before expires_in was over"));
        self.end(State::Failed, now);
        self
    }

    /// A failed or cancelled job, given another life under its old id.
    pub fn reopened(mut self) -> Job {
        self.state = State::Queued;
        self.attempts = 0;
        self.crashes = 0;
        self.failure = None;
        self.progress = Progress::default();
        self.started_at = None;
        self.finished_at = None;
        self.expires_at = None;
        self
    }

    fn end(&mut self, state: State, now: Time) {
        self.state = state;
        self.finished_at = Some(now);
        self.run_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

    fn running(max_attempts: u32) -> Job {
        let kind = Kind::new("work").expect("well-formed");
        Job { state: State::Running, max_attempts, started_at: Some(Time(1)), ..Job::new(JobId::nil(), kind, Time(0)) }
    }

    fn failing(code: Code) -> Ended {
        Ended::Failed(Failure::new(code, "no"), None)
    }

    #[test]
    fn kinds_are_short_lower_case_names() {
        for name in ["a", "pdf-to-png", "0", &"x".repeat(63)] {
            assert!(Kind::new(name).is_some(), "{name}");
        }
        for name in ["", "-a", "A", "a.b", "a/b", "ä", &"x".repeat(64)] {
            assert!(Kind::new(name).is_none(), "{name}");
        }
    }

    #[test]
    fn transient_failures_are_retried_until_attempts_run_out() {
        let once = running(2).after_attempt(failing(Code::Transient), BACKOFF, 0.0, Time(1_000));
        assert_eq!((once.state, once.attempts, once.run_at), (State::Scheduled, 1, Some(Time(2_000))));
        let twice = once.after_attempt(failing(Code::Transient), BACKOFF, 0.0, Time(2_000));
        assert_eq!((twice.state, twice.attempts, twice.finished_at), (State::Failed, 2, Some(Time(2_000))));
    }

    #[test]
    fn the_plugins_advice_lengthens_the_pause() {
        let advice = Ended::Failed(Failure::new(Code::Transient, "busy"), Some(Duration::from_secs(90)));
        assert_eq!(running(3).after_attempt(advice, BACKOFF, 0.0, Time(0)).run_at, Some(Time(90_000)));
    }

    #[test]
    fn a_trap_is_final_and_an_interruption_counts_nothing() {
        assert_eq!(running(3).after_attempt(failing(Code::Trap), BACKOFF, 0.0, Time(5)).state, State::Failed);
        let back = running(3).after_attempt(Ended::Interrupted, BACKOFF, 0.0, Time(5));
        assert_eq!((back.state, back.attempts, back.interruptions), (State::Queued, 0, 1));
    }

    #[test]
    fn a_job_that_brings_the_host_down_fails_at_the_last_crash() {
        let crashed = |job: Job| job.after_attempt(Ended::Crashed { crashes_max: 2 }, BACKOFF, 0.0, Time(5));
        let queued = Job { state: State::Queued, ..running(3) };
        let once = crashed(queued);
        assert_eq!((once.state, once.crashes, once.attempts), (State::Queued, 1, 0));
        let twice = crashed(once);
        assert_eq!(twice.state, State::Failed);
        assert_eq!(twice.failure.map(|failure| failure.code), Some(Code::HostCrash));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_jitter_takes_at_most_half() {
        let pauses: Vec<u64> = (1..=8).map(|n| BACKOFF.pause(n, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(BACKOFF.pause(u32::MAX, 1.0), Duration::from_secs(30));
    }
}
