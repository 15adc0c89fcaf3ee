//! What running attempts say, on its way to those who listen.

use std::sync::Arc;
use std::time::Duration;

use super::Queue;
use crate::events::{Events, Scope, Subscription, TooMany, What};
use crate::job::{JobId, Kind, Owner, Run, Sight};
use crate::running::{LogLine, News, Running};
use crate::store::Claimed;

/// How often an attempt's news are told. What it says in between is one piece of news.
const NEWS_EVERY: Duration = Duration::from_millis(100);
/// Lines of one attempt told at a time; of more the newest.
const LINES_AT_ONCE: usize = 50;

/// An attempt that is being made now.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// The job.
    pub id: JobId,
    /// Its kind.
    pub kind: Kind,
    /// Who submitted it.
    pub owner: Option<Owner>,
    /// Which attempt, from 1.
    pub number: u32,
    /// Which run of the job.
    pub run: Run,
    /// What it shares with those who watch it.
    pub attempt: Arc<Running>,
}

impl UnderWay {
    pub(super) fn new(claimed: &Claimed, attempt: &Arc<Running>) -> Self {
        let job = &claimed.job;
        let (number, run, attempt) = (job.attempts + 1, claimed.token.run(), Arc::clone(attempt));
        Self { id: job.id, kind: job.kind.clone(), owner: job.owner, number, run, attempt }
    }
}

impl Queue {
    /// What happens to jobs.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Listens to what happens from now on, as far as it may be seen.
    pub fn subscribe(&self, scope: Scope, sight: Sight) -> Result<Subscription, TooMany> {
        self.events.subscribe(scope, sight)
    }

    /// The attempt of a job that is being made now.
    pub fn under_way(&self, id: JobId) -> Option<UnderWay> {
        self.running().get(&id).cloned()
    }

    /// Tells what running attempts say, not more often than anybody can read. Never returns.
    pub async fn keep_telling(&self) {
        loop {
            self.news.notified().await;
            let under_way: Vec<UnderWay> = self.running().values().cloned().collect();
            let (early, known): (Vec<_>, Vec<_>) = under_way.iter().partition(|job| self.store.is_early(job.id));
            known.into_iter().for_each(|under_way| self.tell_news(under_way));
            if !early.is_empty() {
                // Nobody has heard of these jobs themselves so far.
                self.news.notify_one();
            }
            tokio::time::sleep(NEWS_EVERY).await;
        }
    }

    pub(super) fn tell_news(&self, under_way: &UnderWay) {
        let UnderWay { id, kind, owner, number, attempt, .. } = under_way;
        let tell = |what| self.events.publish(*id, kind.clone(), *owner, what);
        let log = |line| What::Log { attempt: *number, line };
        attempt.tell_news(LINES_AT_ONCE, |News { progress, lines, left_out }| {
            if left_out > 0 {
                let message = format!("{left_out} lines are left out here; the job's logs have more");
                tell(log(LogLine { at: None, level: None, message }));
            }
            lines.into_iter().for_each(|line| tell(log(line)));
            if let Some(progress) = progress {
                tell(What::Progress { attempt: *number, progress });
            }
        });
    }
}
