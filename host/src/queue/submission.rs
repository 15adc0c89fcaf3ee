//! A job comes in: what a client wants becomes a job, and is on disk before it is answered.

use std::sync::Arc;
use std::time::Duration;

use super::Queue;
use crate::job::{Job, JobId, Kind, Owner, State};
use crate::store::{Admission, IdempotencyKey, NewJob, NewWebhook, Options, Payload, StoreError};
use crate::time::Time;

/// A job as a client wants it, checked.
#[derive(Debug)]
pub struct Submission {
    /// What it is for.
    pub kind: Kind,
    /// What the plugin reads.
    pub input: Payload,
    /// What else the plugin is told.
    pub options: Options,
    /// The blobs the input names, each once.
    pub blobs: Vec<Payload>,
    /// Who is to be told how it ended.
    pub webhook: Option<NewWebhook>,
    /// 0 to 9.
    pub priority: u8,
    /// The most attempts.
    pub max_attempts: u32,
    /// When it may start, if not at once.
    pub not_before: Option<NotBefore>,
    /// Limit of one attempt, if it differs from the kind's.
    pub timeout: Option<Duration>,
    /// Not started by then: failed.
    pub expires_in: Option<Duration>,
    /// Labels.
    pub tags: Vec<String>,
    /// Unfinished jobs of its kind, if not as many as the host allows.
    pub queue_max: Option<u64>,
    /// Who submits it.
    pub owner: Option<Owner>,
    /// The digests of the client's idempotency key and of its request, if it gave a key.
    pub key: Option<([u8; 32], [u8; 32])>,
}

/// When a job may start.
#[derive(Debug, Clone, Copy)]
pub enum NotBefore {
    /// At this moment.
    At(Time),
    /// So long after it was created.
    After(Duration),
}

impl Queue {
    /// Accepts a job. When this returns it will survive anything but the loss of the disk.
    pub async fn submit(&self, wanted: Submission) -> Result<Job, StoreError> {
        let (new, admission) = self.admit(wanted, Time::now());
        let job = self.store.submit(new, admission).await?;
        self.announce_scheduled([job.state]);
        Ok(job)
    }

    /// Accepts many jobs at once, each by itself; the answers stand in the order of the jobs. For hundreds of small ones, as they
    /// share one flush.
    pub async fn submit_all(&self, wanted: Vec<Submission>) -> Vec<Result<JobId, StoreError>> {
        let now = Time::now();
        let jobs = wanted.into_iter().map(|wanted| self.admit(wanted, now)).collect();
        let accepted = self.store.submit_all(jobs).await;
        self.announce_scheduled(accepted.iter().flatten().map(|accepted| accepted.state));
        accepted.into_iter().map(|accepted| accepted.map(|accepted| accepted.id)).collect()
    }

    /// Has the clock look again. Workers are woken by the store, which knows when a job may be claimed.
    fn announce_scheduled(&self, accepted: impl IntoIterator<Item = State>) {
        if accepted.into_iter().any(|state| state == State::Scheduled) {
            self.announce(State::Scheduled);
        }
    }

    /// The job that a submission becomes, and under what conditions.
    fn admit(&self, wanted: Submission, now: Time) -> (NewJob, Admission) {
        let run_at = wanted.not_before.map(|not_before| match not_before {
            NotBefore::At(at) => at,
            NotBefore::After(delay) => now.after(delay),
        });
        let run_at = run_at.filter(|at| *at > now);
        let job = Job {
            state: if run_at.is_some() { State::Scheduled } else { State::Queued },
            priority: wanted.priority,
            max_attempts: wanted.max_attempts,
            tags: wanted.tags,
            run_at,
            timeout_ms: wanted.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            expires_at: wanted.expires_in.map(|span| now.after(span)),
            owner: wanted.owner,
            ..Job::new(JobId::now_v7(), wanted.kind, now)
        };
        let Submission { input, options, blobs, webhook, .. } = wanted;
        let new = NewJob { job, input, options, blobs, webhook };
        let kept_until = now.after(self.settings.keys_kept);
        let key = wanted.key.map(|(name, request)| IdempotencyKey { name, request, now, kept_until });
        let queue_max = wanted.queue_max.unwrap_or(self.settings.queue_max);
        // A worker may have it while it is being written down; nothing of that is seen before it is.
        let workers = (new.job.state == State::Queued).then(|| Arc::clone(&self.work));
        (new, Admission { queue_max, key, workers })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::watch;

    use super::super::Runnable;
    use super::super::claiming::tests::queue;
    use super::*;
    use crate::store::Content;

    fn submission(kind: &Kind, queue_max: u64) -> Submission {
        Submission {
            kind: kind.clone(),
            input: Payload { media_type: String::new(), content: Content::Inline(Vec::new().into()) },
            options: Options::default(),
            blobs: Vec::new(),
            webhook: None,
            priority: 5,
            max_attempts: 1,
            not_before: None,
            timeout: None,
            expires_in: None,
            tags: Vec::new(),
            queue_max: Some(queue_max),
            owner: None,
            key: None,
        }
    }

    /// Fault: the delay is counted from another moment than the one the job says it was created at.
    #[tokio::test]
    async fn a_delay_is_counted_from_when_the_job_was_created() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (queue, kind) = (queue(folder.path()), Kind::new("a").expect("well-formed"));
        let (now, second) = (Time(1_800_000_000_000), Duration::from_secs(1));
        let admitted = |not_before| {
            let (new, _) = queue.admit(Submission { not_before, ..submission(&kind, 3) }, now);
            (new.job.state, new.job.created_at, new.job.run_at)
        };
        let later = (State::Scheduled, now, Some(now.after(second)));
        assert_eq!(admitted(Some(NotBefore::After(second))), later);
        assert_eq!(admitted(Some(NotBefore::At(now.after(second)))), later);
        for at_once in [None, Some(NotBefore::At(now)), Some(NotBefore::After(Duration::ZERO))] {
            assert_eq!(admitted(at_once), (State::Queued, now, None));
        }
    }

    /// Fault: jobs that come together wake one worker, and the others sleep while there is work for them.
    #[tokio::test]
    async fn jobs_that_come_together_wake_as_many_workers_as_there_is_work_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (queue, kind) = (queue(folder.path()), Kind::new("a").expect("well-formed"));
        let (_known, kinds) = watch::channel([Runnable { kind: kind.clone(), concurrency_max: 9 }].into());
        let claims = join_all((0..3).map(|_| queue.claim(&kinds)));
        let submit = async {
            // Only when all three sleep.
            tokio::task::yield_now().await;
            queue.submit_all((0..4).map(|_| submission(&kind, 3)).collect()).await
        };
        let both = async { tokio::join!(claims, submit) };
        let both = tokio::time::timeout(Duration::from_secs(10), both).await;
        let (claimed, answers) = both.expect("each of them is woken");
        let mut ids: Vec<JobId> = claimed.iter().map(|assignment| assignment.claimed.job.id).collect();
        ids.sort_unstable();
        assert!(matches!(answers.last(), Some(Err(StoreError::QueueFull { queue_max: 3 }))), "{answers:?}");
        assert_eq!(answers.into_iter().flatten().collect::<Vec<_>>(), ids, "answers are in order, and so are ids");
    }
}
