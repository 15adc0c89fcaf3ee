//! What one client follows: which jobs and kinds, how much of each was told, and what of an event is news.

use serde_json::Value;

use super::Session;
use crate::api::events;
use crate::api::problem::Problem;
use crate::api::ws::message::{self, Target};
use crate::events::{Event, Scope, What};
use crate::job::{Job, JobId, Kind};
use crate::store::StoreError;
use crate::tokens::Scope as Right;

/// Jobs and kinds one client may follow at a time.
const FOLLOWED_MAX: usize = 1_000;

/// How much of a job was told.
pub(super) struct Followed {
    /// Events up to this number are in what was told.
    last: u64,
}

impl Session {
    pub(super) fn follow_asked(&mut self, reference: &Value, id: JobId) -> Result<Vec<Value>, Problem> {
        self.room()?;
        self.caller.require(Right::Read)?;
        let job = self.caller.require_job(&self.api, id)?;
        let mut messages = vec![message::accepted(reference, "subscribe", Some(job))];
        messages.extend(self.follow(id)?);
        Ok(messages)
    }

    pub(super) fn may_follow_kind(&self, kind: &Kind) -> Result<(), Problem> {
        self.caller.require(Right::Read)?;
        self.caller.require_kind(kind.as_str())?;
        self.room()
    }

    pub(super) fn room(&self) -> Result<(), Problem> {
        if self.jobs.len() + self.kinds.len() < FOLLOWED_MAX {
            Ok(())
        } else {
            Err(Problem::follows_too_much(FOLLOWED_MAX))
        }
    }

    /// Follows a job from now on, and tells how it is.
    pub(super) fn follow(&mut self, id: JobId) -> Result<Vec<Value>, Problem> {
        // Listening before looking, so that nothing happens in between.
        self.subscription.listen(Scope::Job(id));
        match events::look(&self.api, id) {
            Ok((job, last)) => {
                self.jobs.insert(id, Followed { last });
                Ok(self.told(&job))
            }
            Err(error) => {
                self.unfollow(&Target::Job(id));
                Err(error.into())
            }
        }
    }

    pub(super) fn unfollow(&mut self, target: &Target) {
        match target {
            Target::Job(id) => {
                self.jobs.remove(id);
                self.subscription.ignore(&Scope::Job(*id));
            }
            Target::Kind(kind) => {
                self.kinds.remove(kind);
                self.subscription.ignore(&Scope::Kind(kind.clone()));
            }
        }
    }

    pub(super) fn event(&mut self, event: &Event) -> Vec<Value> {
        let of_kind = self.kinds.contains(&event.kind);
        match self.jobs.get_mut(&event.id) {
            Some(followed) if event.number <= followed.last => return Vec::new(),
            Some(followed) => followed.last = event.number,
            // It waited here when the job was let go.
            None if !of_kind => return Vec::new(),
            None => {}
        }
        match &event.what {
            What::State(job) => self.told(job),
            _ => message::event(event).into_iter().collect(),
        }
    }

    /// A job's state, and its result if there is no more to come.
    fn told(&mut self, job: &Job) -> Vec<Value> {
        let mut messages = vec![message::state(job)];
        if job.state.is_terminal() && self.jobs.contains_key(&job.id) {
            messages.push(self.result(job));
            self.unfollow(&Target::Job(job.id));
        }
        messages
    }

    fn result(&self, job: &Job) -> Value {
        match self.api.queue.store().output(job.id) {
            Ok(output) => message::result(job, output.as_ref()),
            Err(error) => {
                // Gone already, or not readable: whoever fetches it is told which.
                if !matches!(error, StoreError::Gone) {
                    tracing::warn!(job.id = %job.id, %error, "a result could not be read");
                }
                message::result(job, None)
            }
        }
    }
}
