//! Whatever is done to a store in whatever order, it is where the model is: after every step and every reopen. What may be done
//! stands in `steps`.

mod steps;

use std::collections::HashMap;
use std::sync::Arc;

use dropforge::job::{Code, Ended, Failure, Job, JobId, State};
use dropforge::store::{Admission, Attempt, Checkpoint, Filter, IdempotencyKey, NewJob, StoreError, Token};
use dropforge::time::Time;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use self::steps::{How, Step, steps};
use crate::checkpoints::found;
use crate::model::{Ending, Model, Refusal, progress, retention, settled};
use crate::parts::{NOW, all, attempt, bytes_of, given, job, kind, noise};
use crate::place::Place;

/// Bounded so that all of it takes a few seconds.
const CASES: u32 = 64;
const KINDS: [&str; 3] = ["a", "b", "c"];
/// So few that queues get full.
const QUEUE_MAX: u64 = 6;
const KEYS_KEPT_S: i64 = 200;
/// Nothing, a little, several pieces, and a file of its own.
const SIZES: [usize; 4] = [0, 100, 9_000, 70_000];

/// A claim as the store and as the model know it.
#[derive(Debug, Clone, Copy)]
struct Claim {
    id: JobId,
    token: Token,
    number: u64,
}

/// A store, its model, and what a host would remember.
struct Run {
    place: Place,
    model: Model,
    now: Time,
    /// Every job ever submitted, the deleted ones as well.
    ids: Vec<JobId>,
    open: Vec<Claim>,
    over: Vec<Claim>,
    newest_tokens: HashMap<JobId, Token>,
    reports: u64,
    saves: u64,
}

impl Run {
    async fn new() -> Self {
        let (ids, open, over) = (Vec::new(), Vec::new(), Vec::new());
        let (model, newest_tokens) = (Model::default(), HashMap::new());
        Self { place: Place::new().await, model, now: NOW, ids, open, over, newest_tokens, reports: 0, saves: 0 }
    }

    async fn take(mut self, step: Step) -> Self {
        match step {
            Step::Submit { kind, priority, options, key, size } => {
                let mut new = job(KINDS[kind]);
                (new.job.priority, new.job.max_attempts, new.job.created_at) =
                    (priority, options.max_attempts, self.now);
                new.job.run_at = options.delay_s.map(|seconds| self.later(seconds));
                new.job.state = if new.job.run_at.is_some() { State::Scheduled } else { State::Queued };
                new.job.expires_at = options.expires_s.map(|seconds| self.later(seconds));
                self.submit(new.job, size, key).await;
            }
            Step::Claim { free, total } => self.claim(&free, total),
            Step::Save { late, which, size } => self.save(late, which, size).await,
            Step::Finish { late, which, how, size } => self.finish(late, which, how, size).await,
            Step::Cancel(which) => {
                let Some(id) = self.pick(which) else { return self };
                let answer = self.place.cancel(id, None, self.now).await;
                self.compare(answer, self.now, |model, now| model.cancel(id, now));
            }
            Step::Retry(which) => {
                let Some(id) = self.pick(which) else { return self };
                let answer = self.place.retry(id, 100).await;
                self.compare(answer, self.now, |model, _| model.retry(id));
            }
            Step::Delete(which) => {
                let Some(id) = self.pick(which) else { return self };
                let answer = self.place.delete(id).await;
                self.compare(answer, self.now, |model, _| model.delete(id));
            }
            Step::Expire => {
                let expired = self.place.expire(self.now).await.expect("the disk works");
                let mut expired: Vec<JobId> = expired.into_iter().map(|job| job.id).collect();
                expired.sort();
                assert_eq!(expired, self.model.expire(self.now));
            }
            Step::Retain { age_s, jobs_max, bytes_max } => {
                let retention = retention(age_s, jobs_max, bytes_max);
                while self.place.retain(&retention, &HashMap::new(), self.now).await.expect("the disk works") {}
                self.model.retain(&retention, self.now);
            }
            Step::Pass { seconds } => self.now = self.later(seconds),
            Step::Reopen => {
                self.place = self.place.reopened().await;
                self.model.reopen();
            }
        }
        self
    }

    async fn submit(&mut self, job: Job, size: usize, key: Option<(u8, u8)>) {
        let kept_until = self.later(KEYS_KEPT_S);
        let input = noise(self.ids.len() as u64, SIZES[size]);
        let now = self.now;
        let key_digests =
            key.map(|(name, request)| IdempotencyKey { name: [name; 32], request: [request; 32], now, kept_until });
        let new = NewJob { job: job.clone(), ..self.place.job_with_input(job.kind.as_str(), &input) };
        self.ids.push(job.id);
        let answer = self
            .place
            .submit(new, Admission { queue_max: QUEUE_MAX, key: key_digests, workers: Some(Arc::default()) })
            .await;
        let key = key.map(|(name, request)| (name, request, kept_until));
        self.compare(answer, now, |model, _| model.submit(job, input, QUEUE_MAX, key));
    }

    fn claim(&mut self, free: &[(usize, usize)], total: usize) {
        let free: Vec<_> = free.iter().map(|(name, slots)| (kind(KINDS[*name]), *slots)).collect();
        let claimed = self.place.claim(&free, total, self.now);
        let expected = self.model.claim(&free, total, self.now);
        let ids: Vec<JobId> = claimed.iter().map(|claimed| claimed.job.id).collect();
        assert_eq!(ids, expected.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "claimed, in order");
        for (claimed, (id, number)) in claimed.into_iter().zip(expected) {
            let entry = self.model.get(id).expect("the model has just handed it out");
            assert_eq!(claimed.job, entry.seen());
            assert!(bytes_of(&given(&claimed).0.content) == entry.input, "the input of {id}");
            assert!(found(&claimed) == entry.checkpoint, "the checkpoint of {id}");
            let last = self.newest_tokens.insert(id, claimed.token);
            assert!(last < Some(claimed.token), "tokens grow");
            self.open.push(Claim { id, token: claimed.token, number });
        }
    }

    async fn save(&mut self, late: bool, which: Index, size: usize) {
        let claims = if late { &self.over } else { &self.open };
        if claims.is_empty() {
            return;
        }
        let claim = *which.get(claims);
        self.saves += 1;
        let data = noise(1_000_000 + self.saves, SIZES[size]);
        let checkpoint =
            Checkpoint { content: self.place.payload(&data).content, plugin_sha256: self.saves.to_string() };
        let answer = self.place.save_checkpoint(claim.id, claim.token, checkpoint).await;
        let expected = self.model.save(claim.id, claim.number, data);
        assert_eq!(answer.map_err(|error| refusal(&error)), expected, "saving a checkpoint of {}", claim.id);
    }

    async fn finish(&mut self, late: bool, which: Index, how: How, size: usize) {
        let claim = match if late { &mut self.over } else { &mut self.open } {
            claims if claims.is_empty() => return,
            claims => claims.swap_remove(which.index(claims.len())),
        };
        self.over.push(claim);
        self.reports += 1;
        let (report, now) = (self.reports, self.now);
        let ended = match how {
            How::Succeeded => Ended::Succeeded,
            How::Permanent => Ended::Failed(Failure::new(Code::Trap, "no"), None),
            How::Transient => Ended::Failed(Failure::new(Code::Transient, "busy"), None),
            How::Interrupted => Ended::Interrupted,
        };
        let output = noise(report, SIZES[size]);
        let mut success = Attempt { started_at: now, now, progress: progress(report), ..attempt(ended.clone()) };
        success.usage.fuel = report;
        success.output = Some(self.place.payload(&output));
        let answer = self.place.finish(claim.id, claim.token, success).await;
        let ending = Ending { ended, output, report, now };
        self.compare(answer, now, |model, _| model.finish(claim.id, claim.number, ending));
    }

    fn later(&self, seconds: i64) -> Time {
        Time(self.now.0 + seconds * 1_000)
    }

    fn pick(&self, which: Index) -> Option<JobId> {
        (!self.ids.is_empty()).then(|| *which.get(&self.ids))
    }

    /// Fails unless store and model answer alike.
    fn compare(
        &mut self,
        answer: Result<Job, StoreError>,
        now: Time,
        ask: impl FnOnce(&mut Model, Time) -> Result<Job, Refusal>,
    ) {
        let answer = answer.map_err(|error| refusal(&error)).map(|job| settled(job, now));
        let expected = ask(&mut self.model, now).map(|job| settled(job, now));
        assert_eq!(answer, expected, "what the store answered and what the model expects");
    }

    /// Fails unless everything that can be seen of the store is as in the model.
    fn check(&self) {
        let listed = all(&self.place, &Filter::default(), 1 + self.ids.len() % 7);
        let settle = |jobs: Vec<Job>| jobs.into_iter().map(|job| settled(job, self.now)).collect::<Vec<_>>();
        assert_eq!(settle(listed), settle(self.model.all()), "listed");
        self.place.check_counts(&KINDS);
        for id in &self.ids {
            self.check_job(*id);
        }
    }

    fn check_job(&self, id: JobId) {
        let Some(entry) = self.model.get(id) else {
            assert!(!self.place.exists(id));
            return;
        };
        assert_eq!(settled(self.place.job(id), self.now), settled(entry.seen(), self.now));
        let reports = self.place.usage(id).expect("readable");
        assert_eq!(reports.iter().map(|usage| usage.fuel).collect::<Vec<_>>(), entry.usage, "reports of {id}");
        match (self.place.output(id), &entry.output) {
            (Ok(None), None) => {}
            (Err(StoreError::Gone), Some(_)) => assert!(entry.content_gone),
            (Ok(Some(payload)), Some(bytes)) => {
                assert!(!entry.content_gone && bytes_of(&payload.content) == *bytes, "the result of {id}");
            }
            (other, expected) => panic!("the result of {id}: {other:?} instead of {expected:?}"),
        }
    }
}

fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::NotFound => Refusal::NotFound,
        StoreError::Fenced => Refusal::Fenced,
        StoreError::QueueFull { .. } => Refusal::QueueFull,
        StoreError::KeyReused => Refusal::KeyReused,
        StoreError::Gone => Refusal::Gone,
        StoreError::WrongState(_) => Refusal::WrongState,
        other => panic!("no step gives a reason for this: {other}"),
    }
}

#[test]
fn a_store_is_always_where_the_model_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config { cases: CASES, max_shrink_time: 60_000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                run = run.take(step).await;
                run.check();
            }
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
