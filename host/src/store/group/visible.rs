//! The end of a group: durable, then visible, then known.

use std::time::Instant;

use super::super::index::Index;
use super::super::record::Record;
use super::super::writer::{Reply, Told};
use super::super::{Accepted, StoreError};
use super::Group;
use crate::job::{Job, Webhook};
use crate::metrics;

impl Group<'_> {
    /// Makes the changes durable, then visible, then known.
    pub(in crate::store) fn commit(mut self) -> Result<(), StoreError> {
        if !self.writes.is_empty() {
            {
                let mut index = self.disk.index();
                index.in_flight = std::mem::take(&mut self.before);
                index.webhooks.in_flight = std::mem::take(&mut self.webhooks_before);
            }
            let began = Instant::now();
            self.disk.commit(std::mem::take(&mut self.writes))?;
            metrics::note_commit(self.size, began.elapsed());
            self.show();
        }
        self.answers.into_iter().for_each(Answer::tell);
        Ok(())
    }

    /// Has memory follow the disk.
    fn show(&mut self) {
        let mut index = self.disk.index();
        // Before the jobs: whether retention may have one depends on it.
        self.show_webhooks(&mut index);
        index.end_joining();
        let mut forgotten = Vec::new();
        for (id, before) in std::mem::take(&mut index.in_flight) {
            let Some(after) = self.after.remove(&id) else { continue };
            // Of one that a worker could have already the index knows what it was submitted as, and perhaps more.
            let is_known = index.knows_early(id, after.as_ref());
            let before = index.end_early(id, |job| self.disk.tell(job)).or(before);
            if !is_known {
                // Before the index lets a worker have the job: what happens to it next is told next.
                after
                    .iter()
                    .filter(|after| has_moved(before.as_deref(), after))
                    .for_each(|after| self.disk.tell(&after.job));
                index.replace(before.as_deref(), after.as_deref());
            }
            match after {
                Some(after) => forgotten.extend(index.recent.put(after)),
                None => index.recent.remove(id),
            }
        }
        for (id, kept) in &self.checkpoints {
            if kept.is_some() {
                index.checkpoints.insert(*id)
            } else {
                index.checkpoints.remove(id)
            };
        }
        self.keys.iter().for_each(|(name, key)| index.retained.keep_key(*name, key.kept_until));
        drop(index);
        // Only now that nobody waits for the index.
        drop(forgotten);
        self.workers.iter().for_each(|workers| workers.notify_one());
        self.disk.set_paused(std::mem::take(&mut self.paused));
        self.released.iter().for_each(|sha256| self.disk.blobs.release(sha256));
    }

    fn show_webhooks(&self, index: &mut Index) {
        index.webhooks.in_flight.clear();
        for (id, webhook) in &self.webhooks {
            let submitted = self.after.get(id).and_then(Option::as_ref).and_then(|record| record.job.owner);
            let owner = submitted.or(index.webhooks.owner_of(*id));
            index.webhooks.set(*id, owner, webhook.as_ref());
        }
        if !self.webhooks.is_empty() {
            self.disk.webhooks_due.notify_one();
        }
    }
}

/// What is told to whom once the commit is durable.
pub(super) enum Answer {
    Job(Reply<Job>, Box<Job>),
    Accepted(Reply<Vec<Result<Accepted, StoreError>>>, Vec<Result<Accepted, StoreError>>),
    Told(Told, Box<Job>),
    Done(Reply<()>),
    Webhook(Reply<Option<Webhook>>, Option<Webhook>),
}

impl Answer {
    /// A caller that has gone away needs no answer; what it asked for is done all the same.
    fn tell(self) {
        match self {
            Self::Job(reply, job) => drop(reply.send(Ok(*job))),
            Self::Accepted(reply, accepted) => drop(reply.send(Ok(accepted))),
            Self::Told(told, job) => told(Ok(*job)),
            Self::Done(reply) => drop(reply.send(Ok(()))),
            Self::Webhook(reply, webhook) => drop(reply.send(Ok(webhook))),
        }
    }
}

/// Whether a change is one that those who follow the job want to hear of.
fn has_moved(before: Option<&Record>, after: &Record) -> bool {
    let place = |record: &Record| {
        let job = &record.job;
        (job.state, job.attempts, job.crashes, job.interruptions)
    };
    before.is_none_or(|before| place(before) != place(after))
}
