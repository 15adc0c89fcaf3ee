//! Which webhooks are due, in which order: memory's side, rebuilt from the records at every open.
//!
//! Each receiver has an order of its own, so that one that is slow, or gone, with a hundred thousand of them is passed over at
//! one look. Jobs without a webhook take no room here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::WebhookCounts;
use crate::job::{JobId, Standing, Webhook};
use crate::time::Time;

/// What memory knows of webhooks.
#[derive(Debug, Default)]
pub(in crate::store) struct Webhooks {
    by_job: HashMap<JobId, Place>,
    /// Only those that have any open.
    receivers: HashMap<Arc<str>, Receiver>,
}

/// Where a job's webhook is.
#[derive(Debug)]
enum Place {
    Waiting(Arc<str>),
    Due(Arc<str>, Time),
    Taken(Arc<str>),
    /// Delivered or given up. The record is there as long as the job's.
    Settled,
}

#[derive(Debug, Default)]
struct Receiver {
    waiting: usize,
    due: BTreeSet<(Time, JobId)>,
    taken: usize,
}

impl Receiver {
    fn open(&self) -> usize {
        self.waiting + self.due.len() + self.taken
    }
}

impl Webhooks {
    /// Takes up how a job's webhook is now; nothing for a job that is gone.
    pub(in crate::store) fn set(&mut self, id: JobId, webhook: Option<&Webhook>) {
        self.remove(id);
        let Some(webhook) = webhook else { return };
        let place = match webhook.standing {
            Standing::Waiting => Place::Waiting(self.receiver(&webhook.receiver)),
            Standing::Due { next_try_at, .. } => Place::Due(self.receiver(&webhook.receiver), next_try_at),
            Standing::Delivered { .. } | Standing::GivenUp { .. } => Place::Settled,
        };
        self.put(id, place);
    }

    /// Notes that a job has one that cannot be read: it goes with the job.
    pub(in crate::store) fn set_aside(&mut self, id: JobId) {
        self.remove(id);
        self.put(id, Place::Settled);
    }

    /// Whether the job has one.
    pub(in crate::store) fn knows(&self, id: JobId) -> bool {
        self.by_job.contains_key(&id)
    }

    /// Whether the job has ended and somebody is still to be told.
    pub(in crate::store) fn is_owed(&self, id: JobId) -> bool {
        matches!(self.by_job.get(&id), Some(Place::Due(..) | Place::Taken(_)))
    }

    /// How many of a receiver's may still be tried.
    pub(in crate::store) fn open_of(&self, receiver: &str) -> usize {
        self.receivers.get(receiver).map_or(0, Receiver::open)
    }

    /// Takes up to `most` that are due, one after the other from the receiver that has the fewest taken and fewer than `each_max`.
    pub(in crate::store) fn take(&mut self, each_max: usize, most: usize, now: Time) -> Vec<JobId> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let with_due = self.receivers.iter().filter(|(_, receiver)| receiver.taken < each_max);
            let with_due = with_due.filter_map(|(name, receiver)| Some((name, receiver, *receiver.due.first()?)));
            let next = with_due.filter(|(_, _, (due, _))| *due <= now);
            let next = next.min_by_key(|(_, receiver, due)| (receiver.taken, *due));
            let Some((name, (_, id))) = next.map(|(name, _, due)| (Arc::clone(name), due)) else { break };
            self.remove(id);
            self.put(id, Place::Taken(name));
            taken.push(id);
        }
        taken
    }

    /// When the next one of a receiver that has fewer than `each_max` taken is due.
    pub(in crate::store) fn next_due(&self, each_max: usize) -> Option<Time> {
        let open = self.receivers.values().filter(|receiver| receiver.taken < each_max);
        open.filter_map(|receiver| receiver.due.first()).map(|(due, _)| *due).min()
    }

    pub(in crate::store) fn counts(&self) -> WebhookCounts {
        let mut counts = WebhookCounts::default();
        for receiver in self.receivers.values() {
            counts.waiting += receiver.waiting;
            counts.due += receiver.due.len();
            counts.taken += receiver.taken;
        }
        counts
    }

    /// The one text of a receiver's name, however many webhooks it has.
    fn receiver(&mut self, name: &str) -> Arc<str> {
        match self.receivers.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        }
    }

    fn put(&mut self, id: JobId, place: Place) {
        match &place {
            Place::Waiting(name) => self.receivers.entry(Arc::clone(name)).or_default().waiting += 1,
            Place::Due(name, at) => drop(self.receivers.entry(Arc::clone(name)).or_default().due.insert((*at, id))),
            Place::Taken(name) => self.receivers.entry(Arc::clone(name)).or_default().taken += 1,
            Place::Settled => {}
        }
        self.by_job.insert(id, place);
    }

    fn remove(&mut self, id: JobId) {
        let Some(place) = self.by_job.remove(&id) else { return };
        let (Place::Waiting(name) | Place::Due(name, _) | Place::Taken(name)) = &place else { return };
        let Some(receiver) = self.receivers.get_mut(name) else { return };
        match &place {
            Place::Waiting(_) => receiver.waiting -= 1,
            Place::Due(_, at) => drop(receiver.due.remove(&(*at, id))),
            Place::Taken(_) => receiver.taken -= 1,
            Place::Settled => {}
        }
        if receiver.open() == 0 {
            self.receivers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(name: &str, at: i64) -> Webhook {
        Webhook::new(format!("http://{name}/x"), name.to_owned()).owed(Time(at))
    }

    fn taken(webhooks: &mut Webhooks, each_max: usize, most: usize, now: i64) -> Vec<u128> {
        webhooks.take(each_max, most, Time(now)).into_iter().map(|id| id.as_u128()).collect()
    }

    #[test]
    fn a_receiver_with_many_does_not_hold_up_the_others() {
        let mut webhooks = Webhooks::default();
        (0..1_000).for_each(|number| webhooks.set(JobId::from_u128(number), Some(&due("dead", 0))));
        webhooks.set(JobId::from_u128(5_000), Some(&due("quick", 900)));
        webhooks.set(JobId::from_u128(5_001), Some(&due("quick", 901)));
        webhooks.set(JobId::from_u128(5_002), Some(&due("other", 902)));
        assert_eq!(taken(&mut webhooks, 2, 9, 899), [0, 1]);
        assert_eq!(webhooks.next_due(2), Some(Time(900)), "the one that is full counts for nothing");
        assert_eq!(taken(&mut webhooks, 2, 2, 1_000), [5_000, 5_002], "each in turn");
        assert_eq!(taken(&mut webhooks, 2, 9, 1_000), [5_001]);
        webhooks.set(JobId::from_u128(0), None);
        assert_eq!(taken(&mut webhooks, 2, 9, 1_000), [2]);
    }

    #[test]
    fn counts_follow_every_move_and_nothing_is_left_of_those_that_are_gone() {
        let mut webhooks = Webhooks::default();
        let id = JobId::from_u128(1);
        webhooks.set(id, Some(&Webhook::new(String::new(), "a".to_owned())));
        assert_eq!(webhooks.counts(), WebhookCounts { waiting: 1, ..WebhookCounts::default() });
        assert!(webhooks.knows(id) && !webhooks.is_owed(id) && webhooks.open_of("a") == 1);
        webhooks.set(id, Some(&due("a", 5)));
        assert_eq!(webhooks.counts(), WebhookCounts { due: 1, ..WebhookCounts::default() });
        assert_eq!(taken(&mut webhooks, 1, 1, 5), [1]);
        assert_eq!(webhooks.counts(), WebhookCounts { taken: 1, ..WebhookCounts::default() });
        assert!(webhooks.is_owed(id));
        webhooks.set(id, Some(&Webhook { standing: Standing::Delivered { at: Time(6) }, ..due("a", 5) }));
        assert!(webhooks.knows(id) && !webhooks.is_owed(id) && webhooks.receivers.is_empty());
        webhooks.set(id, None);
        assert!(webhooks.by_job.is_empty());
    }
}
