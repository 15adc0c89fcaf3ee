//! Webhooks on disk: promised with the submit, due with the end of the job, each in the very batch of that change.
//!
//! A record under the job's id, apart from the job's own: what comes of a try is no move of the job. Whether something is due
//! is known in memory once it is durable, and from the records again at every open, so that a delivery can be made twice,
//! but never be forgotten.

mod index;

use std::time::Duration;

pub(super) use self::index::Webhooks;
use super::group::Group;
use super::keys;
use super::record::{self, Record};
use super::writer::Change;
use super::writes::Writes;
use super::{Store, StoreError};
use crate::job::{JobId, Owner, Persistence, Tried, Webhook};
use crate::time::Time;

/// How long one is left alone that the disk did not give.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// A webhook to be promised with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where to.
    pub url: String,
    /// Scheme, host and port of the URL.
    pub receiver: String,
    /// Open webhooks to the receiver that one who submits may have, this one included. All without a token are one.
    pub open_max: usize,
}

/// How many webhooks may be in somebody's hands at a time.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    /// Of one receiver, those already handed out included.
    pub each_max: usize,
    /// In all, besides those already handed out.
    pub free: usize,
    /// Of these, for receivers of which none is handed out.
    pub kept: usize,
}

impl Slots {
    /// Whether a receiver of which so many are handed out may have one more.
    fn are_open_to(self, taken: usize) -> bool {
        taken < self.each_max && self.free > if taken > 0 { self.kept } else { 0 }
    }
}

/// How many webhooks stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookCounts {
    /// Of jobs that have not ended.
    pub waiting: usize,
    /// To be delivered, now or later.
    pub due: usize,
    /// In the hands of whoever delivers.
    pub taken: usize,
}

/// What came of a try to deliver a webhook.
#[derive(Debug)]
pub struct WebhookTry {
    /// Which end of the job was told; see [`Webhook::number`].
    pub number: u32,
    /// What came of it.
    pub tried: Tried,
    /// How long to go on.
    pub persistence: Persistence,
    /// From 0.0 to 1.0, different for every try.
    pub jitter: f64,
    /// When it ended.
    pub now: Time,
}

impl Store {
    /// A job's webhook, if it has one, as the last durable commit left it.
    pub fn webhook(&self, id: JobId) -> Result<Option<Webhook>, StoreError> {
        match self.durable_webhook(id) {
            // Said at open. Everything else about the job can still be looked at.
            Err(StoreError::Damaged(_)) => Ok(None),
            durable => durable,
        }
    }

    fn durable_webhook(&self, id: JobId) -> Result<Option<Webhook>, StoreError> {
        // Read first: what a commit changes in between is then seen to be in flight, or is durable.
        let known = self.disk.index().webhooks.knows(id);
        let newest = if known { record::read(&self.disk.db, &keys::webhook_key(id)) } else { Ok(None) };
        match self.disk.index().webhooks.in_flight.get(&id) {
            Some(before) => Ok(before.clone()),
            None => newest,
        }
    }

    /// Hands out webhooks that are due, as many as there are slots for. Each is to be answered by [`Store::webhook_tried`] or
    /// [`Store::put_webhook_back`]. Costs no flush.
    pub fn take_webhooks(&self, slots: Slots, now: Time) -> Vec<(JobId, Webhook)> {
        // What could not be recorded at its end is better not begun.
        if self.is_out_of_room() {
            return Vec::new();
        }
        let taken = self.disk.index().webhooks.take(slots, now);
        let read = |(id, number)| match self.durable_webhook(id) {
            // One that a commit takes away or renews in this moment is nobody's any more; that commit notes it.
            Ok(webhook) => webhook.filter(|webhook| webhook.is_due(number)).map(|webhook| (id, webhook)),
            Err(StoreError::Damaged(what)) => {
                tracing::error!(job.id = %id, "a webhook cannot be read and is set aside; it stays on disk as it is: {what}");
                self.disk.index().webhooks.set_aside(id);
                None
            }
            Err(error) => {
                tracing::error!(job.id = %id, %error, "a webhook could not be read; it is tried again later");
                self.put_webhook_back(id, number, now.after(UNREADABLE_PAUSE));
                None
            }
        };
        taken.into_iter().filter_map(read).collect()
    }

    /// Takes back one that was handed out and of which nothing can be recorded: it is due again at a moment. Nothing if it was
    /// answered meanwhile.
    pub fn put_webhook_back(&self, id: JobId, number: u32, at: Time) {
        self.disk.index().webhooks.put_back(id, number, at);
    }

    /// Brings forward what is due, as the clock was set back by so much.
    pub fn set_webhooks_back(&self, by: Duration) {
        self.disk.index().webhooks.set_back(by);
        self.disk.webhooks_due.notify_one();
    }

    /// Records what came of a try and answers the webhook as it is then; nothing if the job was deleted or reopened meanwhile.
    pub async fn webhook_tried(&self, id: JobId, a_try: WebhookTry) -> Result<Option<Webhook>, StoreError> {
        self.change(|reply| Change::WebhookTried { id, a_try: Box::new(a_try), reply }).await
    }

    /// How long until [`Store::take_webhooks`] hands out one; nothing while it would not, whatever is due.
    pub fn next_webhook_due(&self, slots: Slots, now: Time) -> Option<Duration> {
        if self.is_out_of_room() {
            return None;
        }
        self.disk.index().webhooks.next_due(slots).map(|due| due.since(now))
    }

    /// Returns when webhooks have become due since it returned last.
    pub async fn webhooks_due(&self) {
        self.disk.webhooks_due.notified().await;
    }

    /// How many webhooks stand where.
    pub fn webhook_counts(&self) -> WebhookCounts {
        self.disk.index().webhooks.counts()
    }
}

impl Group<'_> {
    /// Writes what is promised with a new job, or refuses to promise more to that receiver for whoever submits it.
    pub(super) fn promise_webhook(
        &self,
        id: JobId,
        owner: Option<Owner>,
        new: NewWebhook,
        writes: &mut Writes,
    ) -> Result<Webhook, StoreError> {
        let joined = self.promised.get(&new.receiver).and_then(|owners| owners.get(&owner)).copied().unwrap_or(0);
        if self.disk.index().webhooks.open_of(&new.receiver, owner) + joined >= new.open_max {
            return Err(StoreError::TooManyWebhooks { receiver: new.receiver, open_max: new.open_max });
        }
        let webhook = Webhook::new(new.url, new.receiver);
        writes.record(&keys::webhook_key(id), &webhook)?;
        Ok(webhook)
    }

    /// The webhook of a job that the group leaves so, if that changes it: due once it has ended.
    pub(super) fn moved_webhook(&self, record: &Record, writes: &mut Writes) -> Result<Option<Webhook>, StoreError> {
        let Some(ended_at) = record.job.finished_at else { return Ok(None) };
        let Some(kept) = self.kept_webhook(record.job.id)? else { return Ok(None) };
        let owed = kept.clone().owed(ended_at);
        if owed == kept {
            return Ok(None);
        }
        writes.record(&keys::webhook_key(record.job.id), &owed)?;
        Ok(Some(owed))
    }

    /// Promises a job's next end, if its last one was promised.
    pub(super) fn renew_webhook(&self, id: JobId, writes: &mut Writes) -> Result<Option<Webhook>, StoreError> {
        let renewed = self.kept_webhook(id)?.map(Webhook::renewed);
        if let Some(renewed) = &renewed {
            writes.record(&keys::webhook_key(id), renewed)?;
        }
        Ok(renewed)
    }

    pub(super) fn webhook_tried(&mut self, id: JobId, a_try: WebhookTry) -> Result<Option<Webhook>, StoreError> {
        let WebhookTry { number, tried, persistence, jitter, now } = a_try;
        let Some(kept) = self.kept_webhook(id)?.filter(|kept| kept.number == number) else { return Ok(None) };
        let after = kept.after_try(tried, &persistence, jitter, now);
        self.writes.record(&keys::webhook_key(id), &after)?;
        self.set_webhook(id, Some(after.clone()));
        // The job itself stays as it is; but retention, which left it alone, may have it from now on.
        if !after.is_open() {
            self.touch(id)?;
        }
        Ok(Some(after))
    }

    /// Notes how the group leaves a job's webhook, and keeps what readers may see of it until the commit is durable.
    pub(super) fn set_webhook(&mut self, id: JobId, after: Option<Webhook>) {
        if !self.webhooks_before.contains_key(&id) {
            let known = self.disk.index().webhooks.knows(id);
            let before = if known { record::read(&self.disk.db, &keys::webhook_key(id)) } else { Ok(None) };
            // One that cannot be read is none to readers either.
            self.webhooks_before.insert(id, before.unwrap_or_default());
        }
        self.webhooks.insert(id, after);
    }

    /// The job's webhook as this group leaves it so far.
    fn kept_webhook(&self, id: JobId) -> Result<Option<Webhook>, StoreError> {
        if let Some(kept) = self.webhooks.get(&id) {
            return Ok(kept.clone());
        }
        if !self.disk.index().webhooks.knows(id) {
            return Ok(None);
        }
        match record::read(&self.disk.db, &keys::webhook_key(id)) {
            // It must not keep the job from ending, and `dropforge verify` finds it.
            Err(StoreError::Damaged(what)) => {
                tracing::error!(job.id = %id, "a webhook cannot be read and is not delivered: {what}");
                Ok(None)
            }
            read => read,
        }
    }
}
