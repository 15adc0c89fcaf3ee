//! Which webhooks are due, in which order: memory's side, rebuilt from the records at every open.
//!
//! Each receiver has an order of its own, so that one that is slow, or gone, with a hundred thousand of them is passed over at
//! one look. Jobs without a webhook take no room here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Slots, WebhookCounts};
use crate::job::{JobId, JobMap, Owner, Standing, Webhook};
use crate::time::Time;

/// What memory knows of webhooks.
#[derive(Debug, Default)]
pub(in crate::store) struct Webhooks {
    /// Nothing for one that was delivered or given up, whose record is there as long as the job's.
    by_job: JobMap<Option<Open>>,
    /// Only those that have any open.
    receivers: HashMap<Arc<str>, Receiver>,
    /// Webhooks in the commit that is being flushed, as they were before it: what readers may see until it is durable.
    pub(in crate::store) in_flight: JobMap<Option<Webhook>>,
}

/// A webhook that may still be tried.
#[derive(Debug)]
struct Open {
    receiver: Arc<str>,
    owner: Option<Owner>,
    /// Which end of the job it is about.
    number: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Due(Time),
    Taken,
}

#[derive(Debug, Default)]
struct Receiver {
    waiting: usize,
    due: BTreeSet<(Time, JobId)>,
    taken: usize,
    /// All of these, by whose jobs they are of.
    owners: HashMap<Option<Owner>, usize>,
}

impl Webhooks {
    /// Takes up how the webhook of somebody's job is now; nothing for a job that is gone.
    pub(in crate::store) fn set(&mut self, id: JobId, owner: Option<Owner>, webhook: Option<&Webhook>) {
        self.remove(id);
        let Some(webhook) = webhook else { return };
        let stage = match webhook.standing {
            Standing::Waiting => Stage::Waiting,
            Standing::Due { next_try_at, .. } => Stage::Due(next_try_at),
            Standing::Delivered { .. } | Standing::GivenUp { .. } => return self.settle(id),
        };
        let receiver = match self.receivers.get_key_value(webhook.receiver.as_str()) {
            // The one text of its name, however many webhooks it has.
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(webhook.receiver.as_str()),
        };
        self.put(id, Open { receiver, owner, number: webhook.number, stage });
    }

    /// Notes that a job has one that cannot be read: it goes with the job.
    pub(in crate::store) fn set_aside(&mut self, id: JobId) {
        self.remove(id);
        self.settle(id);
    }

    /// Whether the job has one.
    pub(in crate::store) fn knows(&self, id: JobId) -> bool {
        self.by_job.contains_key(&id)
    }

    /// Whose the job of an open one is.
    pub(in crate::store) fn owner_of(&self, id: JobId) -> Option<Owner> {
        self.open(id)?.owner
    }

    /// Whether the job has ended and somebody is still to be told.
    pub(in crate::store) fn is_owed(&self, id: JobId) -> bool {
        self.open(id).is_some_and(|open| open.stage != Stage::Waiting)
    }

    /// How many to a receiver may still be tried for one who submits.
    pub(in crate::store) fn open_of(&self, receiver: &str, owner: Option<Owner>) -> usize {
        self.receivers.get(receiver).and_then(|receiver| receiver.owners.get(&owner)).copied().unwrap_or(0)
    }

    /// Takes as many that are due as there are slots for, one after the other from the receiver that has the fewest taken. With
    /// the end of the job that each is about.
    pub(in crate::store) fn take(&mut self, mut slots: Slots, now: Time) -> Vec<(JobId, u32)> {
        let mut taken = Vec::new();
        loop {
            let open = self.receivers.values().filter(|receiver| slots.are_open_to(receiver.taken));
            let with_due = open.filter_map(|receiver| Some((receiver.taken, *receiver.due.first()?)));
            let next = with_due.filter(|(_, (due, _))| *due <= now).min();
            let Some((_, (_, id))) = next else { break };
            let Some(Some(open)) = self.remove(id) else { break };
            taken.push((id, open.number));
            self.put(id, Open { stage: Stage::Taken, ..open });
            slots.free -= 1;
        }
        taken
    }

    /// Makes one that is still taken, and about this end, due again at a moment.
    pub(in crate::store) fn put_back(&mut self, id: JobId, number: u32, at: Time) {
        if self.open(id).is_some_and(|open| open.stage == Stage::Taken && open.number == number)
            && let Some(Some(open)) = self.remove(id)
        {
            self.put(id, Open { stage: Stage::Due(at), ..open });
        }
    }

    /// Brings forward all that are due, as the clock was set back by so much: the pauses between tries stay as long as they were.
    pub(in crate::store) fn set_back(&mut self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let earlier = |at: Time| Time(at.0.saturating_sub(ms));
        for receiver in self.receivers.values_mut() {
            receiver.due = receiver.due.iter().map(|(at, id)| (earlier(*at), *id)).collect();
        }
        for open in self.by_job.values_mut().flatten() {
            if let Stage::Due(at) = &mut open.stage {
                *at = earlier(*at);
            }
        }
    }

    /// When the next one is due that there is a slot for.
    pub(in crate::store) fn next_due(&self, slots: Slots) -> Option<Time> {
        let open = self.receivers.values().filter(|receiver| slots.are_open_to(receiver.taken));
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

    fn open(&self, id: JobId) -> Option<&Open> {
        self.by_job.get(&id)?.as_ref()
    }

    fn settle(&mut self, id: JobId) {
        self.by_job.insert(id, None);
    }

    fn put(&mut self, id: JobId, open: Open) {
        let receiver = self.receivers.entry(Arc::clone(&open.receiver)).or_default();
        *receiver.owners.entry(open.owner).or_insert(0) += 1;
        match open.stage {
            Stage::Waiting => receiver.waiting += 1,
            Stage::Due(at) => drop(receiver.due.insert((at, id))),
            Stage::Taken => receiver.taken += 1,
        }
        self.by_job.insert(id, Some(open));
    }

    fn remove(&mut self, id: JobId) -> Option<Option<Open>> {
        let known = self.by_job.remove(&id)?;
        if let Some(open) = &known
            && let Some(receiver) = self.receivers.get_mut(&open.receiver)
        {
            match open.stage {
                Stage::Waiting => receiver.waiting -= 1,
                Stage::Due(at) => drop(receiver.due.remove(&(at, id))),
                Stage::Taken => receiver.taken -= 1,
            }
            if let Some(count) = receiver.owners.get_mut(&open.owner) {
                *count -= 1;
                if *count == 0 {
                    receiver.owners.remove(&open.owner);
                }
            }
            if receiver.owners.is_empty() {
                self.receivers.remove(&open.receiver);
            }
        }
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(name: &str, at: i64) -> Webhook {
        Webhook::new(format!("http://{name}/x"), name.to_owned()).owed(Time(at))
    }

    fn slots(each_max: usize, free: usize) -> Slots {
        Slots { each_max, free, kept: 0 }
    }

    fn taken(webhooks: &mut Webhooks, slots: Slots, now: i64) -> Vec<u128> {
        webhooks.take(slots, Time(now)).into_iter().map(|(id, _)| id.as_u128()).collect()
    }

    fn set(webhooks: &mut Webhooks, number: u128, webhook: &Webhook) {
        webhooks.set(JobId::from_u128(number), None, Some(webhook));
    }

    #[test]
    fn a_receiver_with_many_does_not_hold_up_the_others() {
        let mut webhooks = Webhooks::default();
        (0..1_000).for_each(|number| set(&mut webhooks, number, &due("dead", 0)));
        set(&mut webhooks, 5_000, &due("quick", 900));
        set(&mut webhooks, 5_001, &due("quick", 901));
        set(&mut webhooks, 5_002, &due("other", 902));
        assert_eq!(taken(&mut webhooks, slots(2, 9), 899), [0, 1]);
        assert_eq!(webhooks.next_due(slots(2, 9)), Some(Time(900)), "the one that is full counts for nothing");
        assert_eq!(taken(&mut webhooks, slots(2, 2), 1_000), [5_000, 5_002], "each in turn");
        assert_eq!(taken(&mut webhooks, slots(2, 9), 1_000), [5_001]);
        webhooks.set(JobId::from_u128(0), None, None);
        assert_eq!(taken(&mut webhooks, slots(2, 9), 1_000), [2]);
    }

    /// Fault: sixteen receivers that do not answer have eight slots each, and there were so many.
    #[test]
    fn some_slots_are_kept_for_receivers_that_have_none() {
        let mut webhooks = Webhooks::default();
        for number in 0..200 {
            set(&mut webhooks, number, &due(&format!("silent-{}", number % 20), 0));
        }
        let slots = |free| Slots { each_max: 8, free, kept: 32 };
        assert_eq!(taken(&mut webhooks, slots(128), 1).len(), 96);
        assert_eq!(webhooks.next_due(slots(32)), None, "there is no slot for any of them");
        set(&mut webhooks, 1_000, &due("quick", 5));
        set(&mut webhooks, 1_001, &due("quick", 5));
        assert_eq!(webhooks.next_due(slots(32)), Some(Time(5)));
        assert_eq!(taken(&mut webhooks, slots(32), 5), [1_000]);
        assert_eq!(taken(&mut webhooks, slots(0), 5), [0_u128; 0]);
    }

    #[test]
    fn counts_follow_every_move_and_nothing_is_left_of_those_that_are_gone() {
        let (mut webhooks, id) = (Webhooks::default(), JobId::from_u128(1));
        set(&mut webhooks, 1, &Webhook::new(String::new(), "a".to_owned()));
        assert_eq!(webhooks.counts(), WebhookCounts { waiting: 1, ..WebhookCounts::default() });
        assert!(webhooks.knows(id) && !webhooks.is_owed(id) && webhooks.open_of("a", None) == 1);
        set(&mut webhooks, 1, &due("a", 5));
        assert_eq!(webhooks.counts(), WebhookCounts { due: 1, ..WebhookCounts::default() });
        assert_eq!(taken(&mut webhooks, slots(1, 1), 5), [1]);
        assert_eq!(webhooks.counts(), WebhookCounts { taken: 1, ..WebhookCounts::default() });
        assert!(webhooks.is_owed(id));
        set(&mut webhooks, 1, &Webhook { standing: Standing::Delivered { at: Time(6) }, ..due("a", 5) });
        assert!(webhooks.knows(id) && !webhooks.is_owed(id) && webhooks.receivers.is_empty());
        webhooks.set(id, None, None);
        assert!(webhooks.by_job.is_empty());
    }

    #[test]
    fn what_was_taken_is_put_back_once_and_only_while_it_is_the_same_end() {
        let (mut webhooks, id) = (Webhooks::default(), JobId::from_u128(1));
        set(&mut webhooks, 1, &due("a", 5));
        webhooks.put_back(id, 1, Time(9));
        assert_eq!(webhooks.next_due(slots(1, 1)), Some(Time(5)), "nobody had it");
        assert_eq!(taken(&mut webhooks, slots(1, 1), 5), [1]);
        webhooks.put_back(id, 2, Time(9));
        assert_eq!(webhooks.next_due(slots(1, 1)), None);
        webhooks.put_back(id, 1, Time(9));
        assert_eq!(webhooks.next_due(slots(1, 1)), Some(Time(9)));
        assert_eq!(webhooks.counts(), WebhookCounts { due: 1, ..WebhookCounts::default() });
    }

    /// Fault: a clock that was a day ahead is set right, and what was to be tried in a second waits for a day.
    #[test]
    fn a_clock_that_is_set_back_makes_no_pause_longer() {
        let mut webhooks = Webhooks::default();
        set(&mut webhooks, 1, &due("a", 100_000));
        set(&mut webhooks, 2, &due("b", 100_500));
        webhooks.set_back(Duration::from_secs(90));
        assert_eq!(webhooks.next_due(slots(1, 9)), Some(Time(10_000)));
        assert_eq!(taken(&mut webhooks, slots(1, 9), 10_500), [1, 2]);
        assert_eq!(webhooks.counts(), WebhookCounts { taken: 2, ..WebhookCounts::default() });
    }
}
