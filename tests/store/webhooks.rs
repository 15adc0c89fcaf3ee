//! Webhooks: promised with the job, due with its end, in the hands of one at a time, and never forgotten but on request.

use std::time::Duration;

use dropforge::job::{Backoff, Ended, JobId, Owner, Persistence, Standing, State, Tried, Webhook};
use dropforge::store::{NewJob, NewWebhook, Slots, StoreError, WebhookCounts, WebhookTry};
use dropforge::time::Time;
use futures_util::future::join_all;

use crate::parts::{NOW, assert_refused, at, job, no_limit, permanent, transient};
use crate::place::Place;

const ALL: Slots = Slots { each_max: usize::MAX, free: usize::MAX, kept: 0 };
const ONE: Slots = Slots { each_max: 1, free: 1, kept: 0 };

/// A promise to this receiver, which may have so many open.
pub(crate) fn promise(receiver: &str, open_max: usize) -> NewWebhook {
    NewWebhook { url: format!("https://{receiver}/x"), receiver: receiver.to_owned(), open_max }
}

fn telling(receiver: &str) -> NewJob {
    NewJob { webhook: Some(promise(receiver, usize::MAX)), ..job("a") }
}

fn a_try(number: u32, tried: Tried, now: Time) -> WebhookTry {
    let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
    let persistence = Persistence { backoff, longest: Duration::from_secs(3_600), may_end: true };
    WebhookTry { number, tried, persistence, jitter: 0.0, now }
}

fn failed() -> Tried {
    Tried::Failed("no".to_owned(), None)
}

impl Place {
    fn kept(&self, id: JobId) -> Webhook {
        self.webhook(id).expect("the disk works").expect("it has one")
    }

    fn taken(&self, now: Time) -> Vec<JobId> {
        self.take_webhooks(ALL, now).into_iter().map(|(id, _)| id).collect()
    }

    async fn tried(&self, id: JobId, tried: Tried, now: Time) -> Option<Webhook> {
        self.webhook_tried(id, a_try(self.kept(id).number, tried, now)).await.expect("the disk works")
    }
}

fn counts(waiting: usize, due: usize, taken: usize) -> WebhookCounts {
    WebhookCounts { waiting, due, taken }
}

#[tokio::test]
async fn whatever_ends_a_job_makes_its_webhook_due_once() {
    let place = Place::new().await;
    let mut ids = Vec::new();
    for ended in [Ended::Succeeded, permanent()] {
        let id = place.add(telling("r")).await;
        assert_eq!(place.kept(id).standing, Standing::Waiting);
        assert_eq!(place.webhook_counts().waiting, 1, "not before the job has ended");
        place.end(&place.take("a"), ended).await;
        ids.push(id);
    }
    let cancelled = place.add(telling("r")).await;
    place.cancel(cancelled, None, NOW).await.expect("unfinished");
    let expiring = telling("r");
    let expired = expiring.job.id;
    place.add(NewJob { job: dropforge::job::Job { expires_at: Some(NOW), ..expiring.job }, ..expiring }).await;
    assert_eq!(place.expire(NOW).await.expect("the disk works").len(), 1);
    ids.extend([cancelled, expired]);
    for id in &ids {
        assert_eq!(place.kept(*id).standing, Standing::Due { since: NOW, next_try_at: NOW });
    }
    let mut taken = place.taken(NOW);
    taken.sort();
    assert_eq!((taken, place.webhook_counts()), (ids.clone(), counts(0, 0, 4)));
    assert!(place.taken(NOW).is_empty(), "each is in the hands of one");
    // A second cancel, and an end that comes too late, change nothing about it.
    place.cancel(cancelled, None, at(5)).await.expect("answered as it is");
    assert_eq!(place.webhook_counts(), counts(0, 0, 4));
}

#[tokio::test]
async fn another_attempt_is_no_end() {
    let place = Place::new().await;
    let id = place.add(telling("r")).await;
    place.end(&place.take("a"), transient()).await;
    assert_eq!((place.kept(id).standing, place.webhook_counts()), (Standing::Waiting, counts(1, 0, 0)));
}

#[tokio::test]
async fn what_was_in_somebodys_hands_is_due_again_after_a_reopen_and_tries_are_remembered() {
    let place = Place::new().await;
    let (first, second) = (place.add(telling("r")).await, place.add(telling("r")).await);
    for _ in 0..2 {
        place.end(&place.take("a"), Ended::Succeeded).await;
    }
    assert_eq!(place.taken(NOW).len(), 2);
    let after = place.tried(first, failed(), at(1)).await.expect("it is still wanted");
    assert_eq!(after.standing, Standing::Due { since: NOW, next_try_at: at(2) });
    let place = place.reopened().await;
    assert_eq!(place.webhook_counts(), counts(0, 2, 0));
    assert_eq!((place.kept(first), place.kept(second).tries), (after, 0));
    assert_eq!(place.taken(at(1)), [second]);
    assert_eq!(place.next_webhook_due(ALL, at(1)), Some(Duration::from_secs(1)));
    assert_eq!(place.taken(at(2)), [first]);
    place.tried(first, Tried::Delivered, at(3)).await;
    place.tried(second, Tried::Unwanted("gone".to_owned()), at(3)).await;
    let place = place.reopened().await;
    assert_eq!(place.webhook_counts(), counts(0, 0, 0));
    assert_eq!(place.kept(first).standing, Standing::Delivered { at: at(3) });
    assert_eq!(place.kept(second).standing, Standing::GivenUp { at: at(3) });
    assert!(place.taken(at(99_999)).is_empty());
}

#[tokio::test]
async fn a_reopened_job_owes_its_next_end_and_a_late_answer_about_the_last_one_changes_nothing() {
    let place = Place::new().await;
    let id = place.add(telling("r")).await;
    place.end(&place.take("a"), permanent()).await;
    let old = place.take_webhooks(ONE, NOW).pop().expect("it is due").1;
    place.retry(id, u64::MAX).await.expect("it has failed");
    assert_eq!((place.kept(id).standing, place.webhook_counts()), (Standing::Waiting, counts(1, 0, 0)));
    let late = place.webhook_tried(id, a_try(old.number, Tried::Delivered, at(1))).await;
    assert_eq!(late.expect("the disk works"), None);
    let place = place.reopened().await;
    place.end(&place.take("a"), Ended::Succeeded).await;
    let (_, new) = place.take_webhooks(ONE, at(1)).pop().expect("it is due");
    assert_ne!(new.message_id(id), old.message_id(id));
    assert_eq!(new.tries, 0);
    place.tried(id, Tried::Delivered, at(2)).await.expect("this one is wanted");
    assert_eq!(place.kept(id).standing, Standing::Delivered { at: at(2) });
}

#[tokio::test]
async fn a_deleted_job_owes_nothing() {
    let place = Place::new().await;
    let id = place.add(telling("r")).await;
    place.end(&place.take("a"), permanent()).await;
    let number = place.kept(id).number;
    assert_eq!(place.taken(NOW), [id]);
    place.delete(id).await.expect("it has ended");
    assert!(matches!(place.webhook(id), Ok(None)));
    let late = place.webhook_tried(id, a_try(number, failed(), NOW)).await;
    assert_eq!((late.expect("the disk works"), place.webhook_counts()), (None, counts(0, 0, 0)));
    let place = place.reopened().await;
    assert_eq!(place.webhook_counts(), counts(0, 0, 0));
    // All in one commit as well.
    let new = telling("r");
    let id = new.job.id;
    let (submitted, cancelled, deleted) =
        tokio::join!(place.submit(new, no_limit()), place.cancel(id, None, NOW), place.delete(id));
    assert!(submitted.is_ok() && cancelled.is_ok_and(|job| job.state == State::Cancelled) && deleted.is_ok());
    assert_eq!(place.webhook_counts(), counts(0, 0, 0));
    assert_eq!(place.reopened().await.webhook_counts(), counts(0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_that_race_for_fifty_places_of_a_receiver_fifty_are_promised() {
    let place = Place::new().await;
    let fifty = |receiver| NewJob { webhook: Some(promise(receiver, 50)), ..job("a") };
    let answers = join_all((0..200).map(|_| place.submit(fifty("r"), no_limit()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 50);
    let place = place.reopened().await;
    let full = |error: &StoreError| matches!(error, StoreError::TooManyWebhooks { open_max: 50, .. });
    assert_refused(place.submit(fifty("r"), no_limit()).await, full);
    place.submit(fifty("s"), no_limit()).await.expect("each receiver has places of its own");
    // Ended, but not told yet: its place is taken. Told: it is free.
    let claimed = place.take("a");
    place.end(&claimed, Ended::Succeeded).await;
    assert_refused(place.submit(fifty("r"), no_limit()).await, full);
    place.take_webhooks(ONE, NOW);
    place.tried(claimed.job.id, Tried::Delivered, NOW).await;
    place.submit(fifty("r"), no_limit()).await.expect("there is a place again");
}

/// Fault: while the commit of a retry is being flushed, memory says that the old end is due, and the record is about the new one.
/// Whoever tells the old end under the new id keeps the receiver from ever hearing of the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_retry_is_flushed_the_end_to_come_is_in_nobodys_hands() {
    let place = Place::new().await;
    for round in 1..=50 {
        let id = place.add(telling("r")).await;
        place.end(&place.take("a"), permanent()).await;
        let (retried, ()) = tokio::join!(place.retry(id, u64::MAX), async {
            // The writer has its own thread; this one looks as long as the flush takes.
            while place.kept(id).number == 1 || place.webhook_counts().waiting == 0 {
                for (_, webhook) in place.take_webhooks(ALL, NOW) {
                    assert!(webhook.is_due(1), "round {round}: {webhook:?}");
                }
                tokio::task::yield_now().await;
            }
        });
        retried.expect("it has failed");
        assert_eq!((place.kept(id).standing, place.webhook_counts()), (Standing::Waiting, counts(1, 0, 0)));
        place.end(&place.take("a"), Ended::Succeeded).await;
        assert_eq!(place.taken(NOW), [id], "and then the new end is to be told");
        place.tried(id, Tried::Delivered, NOW).await.expect("it is wanted");
    }
}

/// Fault: one token has as many webhooks open as a receiver may have, and all others are refused.
#[tokio::test]
async fn each_who_submits_has_places_of_their_own_across_restarts() {
    let place = Place::new().await;
    let of = |owner: Option<Owner>| {
        let new = NewJob { webhook: Some(promise("r", 2)), ..job("a") };
        NewJob { job: dropforge::job::Job { owner, ..new.job }, ..new }
    };
    let (one, other) = (Some(Owner::new(1)), Some(Owner::new(2)));
    let full = |error: &StoreError| matches!(error, StoreError::TooManyWebhooks { open_max: 2, .. });
    let (first, second, third) = tokio::join!(
        place.submit(of(one), no_limit()),
        place.submit(of(one), no_limit()),
        place.submit(of(one), no_limit())
    );
    let first = first.expect("accepted").id;
    assert!(second.is_ok());
    assert_refused(third, full);
    place.add(of(other)).await;
    place.add(of(None)).await;
    // A try that failed, and a restart, leave each one's as it was.
    place.cancel(first, None, NOW).await.expect("unfinished");
    assert_eq!(place.taken(NOW), [first]);
    place.tried(first, failed(), NOW).await.expect("it is wanted");
    assert_refused(place.submit(of(one), no_limit()).await, full);
    let place = place.reopened().await;
    assert_refused(place.submit(of(one), no_limit()).await, full);
    place.add(of(other)).await;
    assert_refused(place.submit(of(other), no_limit()).await, full);
    place.add(of(None)).await;
    assert_eq!(place.taken(at(5)), [first]);
    place.tried(first, Tried::Delivered, at(5)).await.expect("it is wanted");
    place.add(of(one)).await;
}

#[tokio::test]
async fn what_was_put_back_is_due_again() {
    let place = Place::new().await;
    let id = place.add(telling("r")).await;
    place.end(&place.take("a"), permanent()).await;
    assert_eq!(place.taken(NOW), [id]);
    place.put_webhook_back(id, 1, at(5));
    assert_eq!((place.taken(at(4)), place.webhook_counts()), (Vec::new(), counts(0, 1, 0)));
    assert_eq!(place.taken(at(5)), [id]);
    // Recorded meanwhile: there is nothing to put back.
    place.tried(id, Tried::Delivered, at(6)).await.expect("it is wanted");
    place.put_webhook_back(id, 1, at(7));
    assert_eq!(place.webhook_counts(), counts(0, 0, 0));
}
