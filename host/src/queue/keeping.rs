//! What happens by itself as time goes by: jobs become due, are given up, and are taken away.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::Queue;
use super::clock::Jump;
use crate::job::Kind;
use crate::running::Stop;
use crate::store::{EXPIRE_MAX, Retention, StoreError};
use crate::time::Time;

/// How often time is looked at when no scheduled job says when.
const TICK: Duration = Duration::from_secs(1);
/// Rounds of tidying per tick; what is left waits for the next.
const RETAIN_ROUNDS_MAX: usize = 20;

impl Queue {
    /// Lets time pass: wakes workers when a scheduled job is due, fails what was not started in time, takes away what is
    /// kept for too long. `of_kinds` answers which kinds are kept in a way of their own, once that is known. Never returns.
    pub async fn keep_time(&self, of_kinds: impl Fn() -> Option<HashMap<Kind, Retention>>) {
        loop {
            let pause = self.store.next_due(Time::now()).map_or(TICK, |due| due.min(TICK));
            // Woken early when a job was scheduled; it may be due before the others.
            let _ = tokio::time::timeout(pause, self.due.notified()).await;
            let (now, is_trusted) = self.read_clock();
            if self.store.promote(now) {
                self.work.notify_waiters();
            }
            self.tidy(now, of_kinds(), is_trusted).await;
            // Whatever kept work from being claimed, such as a full disk, may have passed without anybody saying so.
            self.work.notify_one();
        }
    }

    /// What time it is, and whether that can be believed: not for a while after the clock was set.
    pub fn read_clock(&self) -> (Time, bool) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, steady) = (Time::now(), std::time::Instant::now());
        if let Some(jump) = clock.tick(now, steady) {
            tracing::warn!(
                "{jump}; scheduled jobs follow the clock, and for ten minutes nothing is taken away or given up for its age"
            );
            if let Jump::Back(by) = jump {
                self.store.set_webhooks_back(by);
            }
        }
        (now, clock.is_trusted(steady))
    }

    /// Each by itself: where one of them fails, the others still make room.
    async fn tidy(&self, now: Time, of_kinds: Option<HashMap<Kind, Retention>>, clock_is_trusted: bool) {
        if let Err(error) = self.expire(now).await {
            tracing::error!(%error, "could not fail jobs that were not started in time");
        }
        if !clock_is_trusted {
            return;
        }
        if let Err(error) = self.retain(now, of_kinds).await {
            tracing::error!(%error, "could not take away what is left of finished jobs");
        }
        if let Err(error) = self.sweep_uploads(now).await {
            tracing::error!(%error, "could not take away uploads that nobody names");
        }
    }

    async fn expire(&self, now: Time) -> Result<(), StoreError> {
        for _ in 0..RETAIN_ROUNDS_MAX {
            let expired = self.store.expire(now).await?;
            for job in &expired {
                // Claimed while its end was being written: nothing it does counts any more.
                if let Some(under_way) = self.running().get(&job.id) {
                    under_way.attempt.stop(Stop::Cancelled);
                }
                self.waiters.wake(job.id);
            }
            if expired.len() < EXPIRE_MAX {
                break;
            }
        }
        Ok(())
    }

    async fn retain(&self, now: Time, of_kinds: Option<HashMap<Kind, Retention>>) -> Result<(), StoreError> {
        // A kind may be kept for longer than others. Before that is known nothing goes for its age, but count and size hold.
        let age = of_kinds.as_ref().map_or(Duration::MAX, |_| self.settings.retention.age);
        let (retention, of_kinds) = (Retention { age, ..self.settings.retention }, of_kinds.unwrap_or_default());
        for _ in 0..RETAIN_ROUNDS_MAX {
            if !self.store.retain(&retention, &of_kinds, now).await? {
                break;
            }
        }
        Ok(())
    }

    async fn sweep_uploads(&self, now: Time) -> Result<(), StoreError> {
        for _ in 0..RETAIN_ROUNDS_MAX {
            if !self.store.sweep_uploads(now).await? {
                break;
            }
        }
        Ok(())
    }
}
