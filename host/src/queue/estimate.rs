//! How long jobs of a kind take, measured, and what follows from that for those that wait.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Queue;
use crate::job::{Job, Kind, KindMap, State};
use crate::time::Time;

/// How much the newest run counts: the last ten or so decide.
const NEWEST: f64 = 0.2;

/// A moving average of the run times of each kind. Forgotten with the process; the first run makes a new one.
#[derive(Debug, Default)]
pub(super) struct RunTimes(Mutex<KindMap<f64>>);

impl RunTimes {
    /// Takes note of a run.
    pub(super) fn note(&self, kind: &Kind, wall_ms: u64) {
        let mut averages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wall_ms = wall_ms as f64;
        match averages.get_mut(kind) {
            Some(average) => *average += NEWEST * (wall_ms - *average),
            None => drop(averages.insert(kind.clone(), wall_ms)),
        }
    }

    fn average_ms(&self, kind: &Kind) -> Option<f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(kind).copied()
    }
}

/// When a job is likely to start and to end, from now, if nothing else wants the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Until it starts; zero if it runs.
    pub starts_in: Duration,
    /// Until it ends.
    pub ends_in: Duration,
}

impl Queue {
    /// When an unfinished job is likely to end, with so many of its kind before it, of which at most `at_once` run at a time.
    /// Nothing while no job of its kind has run.
    pub fn estimate(&self, job: &Job, ahead: u64, at_once: usize, now: Time) -> Option<Estimate> {
        let run = Duration::from_secs_f64(self.run_times.average_ms(&job.kind)? / 1000.0);
        let starts_in = match job.state {
            State::Running => Duration::ZERO,
            _ => job.run_at.map_or(Duration::ZERO, |at| at.since(now)).max(self.wait_behind(run, ahead, at_once)),
        };
        let elapsed = job.started_at.filter(|_| job.state == State::Running).map_or(Duration::ZERO, |at| now.since(at));
        // One that takes longer than most says nothing about how much longer.
        Some(Estimate { starts_in, ends_in: starts_in + run.saturating_sub(elapsed) })
    }

    /// When an unfinished job is likely to end, without counting where exactly it stands among those of its kind.
    pub fn estimate_roughly(&self, job: &Job, at_once: usize, now: Time) -> Option<Estimate> {
        let waiting = self.counts(&job.kind).of(State::Queued);
        let ahead = if job.state == State::Queued { waiting.saturating_sub(1) } else { 0 };
        self.estimate(job, ahead, at_once, now)
    }

    /// When there is likely to be room for another job of a kind whose queue is full and of which so many may run at once.
    /// Nothing if nobody knows: none has run yet, or what keeps them from running only a person can lift.
    pub fn room_in(&self, kind: &Kind, at_once: usize) -> Option<Duration> {
        if self.is_paused(kind) || self.is_draining() || self.is_recovering() {
            return None;
        }
        let run = Duration::from_secs_f64(self.run_times.average_ms(kind)? / 1000.0);
        Some(self.wait_behind(run, 1, at_once))
    }

    fn wait_behind(&self, run: Duration, ahead: u64, at_once: usize) -> Duration {
        run.mul_f64(ahead as f64 / at_once.min(self.settings.workers).max(1) as f64)
    }
}
