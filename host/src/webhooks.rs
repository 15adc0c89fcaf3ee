//! Tells receivers how jobs ended, as Standard Webhooks (<https://www.standardwebhooks.com>): signed, and again until they have it.
//!
//! What is owed to whom is the store's to remember; when to try again is decided in [`crate::job::Webhook`]. This part says
//! where webhooks may go at all, and delivers: a few at a time to each receiver, so that a slow one holds up none of the others, and
//! few enough in all that a hundred thousand that are due are a hundred thousand entries in an order, not tasks.

mod receivers;
mod send;
mod signature;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

pub use self::receivers::Receiver;
use self::receivers::Url;
use self::send::Message;
pub use self::signature::{Secret, SecretError};
use crate::job::{Job, JobId, Persistence, Standing, State, Tried, Webhook};
use crate::metrics;
use crate::queue::Queue;
use crate::store::{NewWebhook, Slots, Store, StoreError, WebhookTry};
use crate::time::Time;

/// Deliveries under way at a time.
const UNDER_WAY_MAX: usize = 128;
/// Of these, to one receiver.
const EACH_MAX: usize = 8;
/// Of these, kept for receivers to which none is under way: a dozen that do not answer do not take the rest.
const KEPT: usize = 32;
/// How long one is left alone of which nothing could be recorded.
const PUT_BACK_PAUSE: Duration = Duration::from_secs(5);
/// How often time is looked at when nothing is due before: the wall clock may jump.
const TICK: Duration = Duration::from_secs(1);

/// Where webhooks may go, and how.
pub struct Settings {
    /// Who may be told. Nobody, unless the operator says so.
    pub receivers: Vec<Receiver>,
    /// What is signed with, at least one if there are receivers. Each message carries a signature of each.
    pub secrets: Vec<Secret>,
    /// How long a try may take, from the look-up of the name to the head of the answer.
    pub timeout: Duration,
    /// Pauses between tries, and their end.
    pub persistence: Persistence,
    /// Webhooks of one token, or of all clients without one together, to one receiver that are not delivered yet, those of unfinished jobs
    /// included.
    pub open_max: usize,
}

/// The webhooks of one host.
pub struct Webhooks {
    settings: Settings,
    queue: Arc<Queue>,
    /// A job as clients see it.
    as_json: fn(Job) -> Value,
}

impl Webhooks {
    /// Delivers nothing until [`Webhooks::keep_delivering`] runs. `as_json` says how a job looks to those who are told of it; that
    /// must not have more than a few kilobytes.
    pub fn new(settings: Settings, queue: Arc<Queue>, as_json: fn(Job) -> Value) -> Self {
        Self { settings, queue, as_json }
    }

    /// What is to be promised for this URL, or, in a sentence, why nothing can be.
    pub fn wanted(&self, url: &str) -> Result<NewWebhook, String> {
        let place = Url::parse(url)?.place;
        receivers::allowing(&self.settings.receivers, &place)?;
        let open_max = self.settings.open_max;
        Ok(NewWebhook { url: url.to_owned(), receiver: place.to_string(), open_max })
    }

    /// Delivers what is due until the host stops, and returns once what was under way by then has ended. Dropped before, it
    /// leaves the rest to the next start.
    pub async fn keep_delivering(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let store = self.queue.store();
        let mut under_way = JoinSet::new();
        while !*stopping.borrow_and_update() {
            for (id, webhook) in store.take_webhooks(slots(under_way.len()), Time::now()) {
                under_way.spawn(Arc::clone(&self).deliver(id, webhook));
            }
            let next = store.next_webhook_due(slots(under_way.len()), Time::now());
            tokio::select! {
                Some(ended) = under_way.join_next() => note_end(ended),
                () = store.webhooks_due() => {}
                () = tokio::time::sleep(next.map_or(TICK, |next| next.min(TICK))) => {}
                _ = stopping.changed() => {}
            }
        }
        while let Some(ended) = under_way.join_next().await {
            note_end(ended);
        }
    }

    /// Tries once, and records what came of it.
    async fn deliver(self: Arc<Self>, id: JobId, webhook: Webhook) {
        let began = Instant::now();
        let mut in_hand = InHand { store: self.queue.store(), id, number: webhook.number, is_recorded: false };
        let Some(tried) = self.attempt(id, &webhook).await else { return };
        let mut random = [0; 4];
        // Without jitter a crowd comes back as a crowd, which is no reason not to come back.
        let jitter =
            getrandom::fill(&mut random).map_or(0.0, |()| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX));
        let (now, may_end) = self.queue.read_clock();
        let (number, persistence) = (webhook.number, Persistence { may_end, ..self.settings.persistence });
        let a_try = WebhookTry { number, tried, persistence, jitter, now };
        let recorded = self.queue.store().webhook_tried(id, a_try).await;
        in_hand.is_recorded = recorded.is_ok();
        match recorded {
            Ok(Some(after)) => note_try(id, &after, began.elapsed()),
            // The job was deleted or reopened meanwhile: nobody waits for this any more.
            Ok(None) => {}
            // It is still due on disk, and found there at the next start.
            Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::error!(job.id = %id, %error, "what came of a webhook was not recorded; it is tried again");
            }
        }
    }

    /// Sends it. Nothing if this end of the job is not to be told any more.
    async fn attempt(&self, id: JobId, webhook: &Webhook) -> Option<Tried> {
        let failed = |why: String| Some(Tried::Failed(why, None));
        let job = match self.queue.store().get(id) {
            Ok(Some(job)) if job.state.is_terminal() => job,
            Ok(_) => return None,
            Err(error) => return failed(error.to_string()),
        };
        // After the job: had it been given another life and another end meanwhile, that one would go out under this one's id, and the
        // receiver would take the next message for a repetition.
        match self.queue.store().webhook(id) {
            Ok(Some(now)) if now.number == webhook.number => {}
            Ok(_) => return None,
            Err(error) => return failed(error.to_string()),
        }
        let allowed = Url::parse(&webhook.url).and_then(|url| {
            receivers::allowing(&self.settings.receivers, &url.place).map(|receiver| (url, receiver.private))
        });
        let (url, private) = match allowed {
            Ok(allowed) => allowed,
            // Allowed when it was promised; whoever has changed the settings may change them again.
            Err(why) => return failed(why),
        };
        let (message, timestamp) = (webhook.message_id(id), Time::now().0.div_euclid(1_000));
        let body = self.body(job);
        let signature = signature::sign(&self.settings.secrets, &message, timestamp, &body);
        let message = Message { id: message, timestamp, signature, body };
        Some(send::send(&url, private, message, self.settings.timeout).await)
    }

    fn body(&self, job: Job) -> Bytes {
        let kind = match job.state {
            State::Succeeded => "job.succeeded",
            State::Cancelled => "job.cancelled",
            _ => "job.failed",
        };
        let body = Body { r#type: kind, timestamp: job.finished_at, data: (self.as_json)(job) };
        serde_json::to_vec(&body).expect("a text, a moment and a JSON value can be written").into()
    }
}

fn slots(under_way: usize) -> Slots {
    Slots { each_max: EACH_MAX, free: UNDER_WAY_MAX - under_way, kept: KEPT }
}

/// A webhook in somebody's hands. Let go of without a record, by a panic or a disk that refuses, it is due again soon.
struct InHand<'a> {
    store: &'a Store,
    id: JobId,
    number: u32,
    is_recorded: bool,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        // Recorded, it may be due, and in other hands, already.
        if !self.is_recorded {
            self.store.put_webhook_back(self.id, self.number, Time::now().after(PUT_BACK_PAUSE));
        }
    }
}

/// What a receiver reads, in the order in which the specification has it.
#[derive(Serialize)]
struct Body {
    r#type: &'static str,
    timestamp: Option<Time>,
    data: Value,
}

/// Without the path and the query of the URL: they may hold what only the receiver should know.
fn note_try(id: JobId, after: &Webhook, took: Duration) {
    let (receiver, tries) = (&after.receiver, after.tries);
    let error = after.last_error.as_deref().unwrap_or_default();
    let outcome = match after.standing {
        Standing::Delivered { .. } => {
            tracing::debug!(job.id = %id, receiver, tries, "a webhook was delivered");
            "delivered"
        }
        Standing::GivenUp { .. } => {
            tracing::warn!(job.id = %id, receiver, tries, error, "a webhook is given up");
            "given_up"
        }
        Standing::Waiting | Standing::Due { .. } => {
            tracing::debug!(job.id = %id, receiver, tries, error, "a webhook was not delivered and will be tried again");
            "failed"
        }
    };
    metrics::note_webhook(outcome, took);
}

fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a delivery panicked; it is tried again");
    }
}
