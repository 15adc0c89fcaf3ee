//! Which jobs are ready, in which order: the store's memory, rebuilt from its records at every open.
//!
//! Only jobs that are not finished have an entry. `order` says which of them goes first, `claims` who gets it.

mod claims;
mod early;
mod order;
mod places;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

pub use self::claims::{HandedOut, Token};
use self::early::Early;
use self::order::{Place, shifted, state_of, unshifted};
use super::recent::Recent;
use super::record::Record;
use super::retained::Retained;
use super::uploads::Uploads;
use super::webhooks::Webhooks;
use crate::job::{Job, JobId, JobMap, Kind, KindMap, State};
use crate::time::Time;

/// Bits of a token that count the claims of one open; those above them count the opens.
const COUNTER_BITS: u32 = 40;

/// Jobs of one kind, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; State::ALL.len()]);

impl Counts {
    /// How many are in `state`.
    pub fn of(&self, state: State) -> u64 {
        self.0[state as usize]
    }

    /// How many are not finished.
    pub fn unfinished(&self) -> u64 {
        State::ALL.into_iter().filter(|state| !state.is_terminal()).map(|state| self.of(state)).sum()
    }
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    priority: u8,
    expires_at: Option<Time>,
    suspect: bool,
    place: Place,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    entries: JobMap<Entry>,
    ready: KindMap<BTreeSet<(i64, JobId)>>,
    /// Ready jobs under suspicion of having brought a host down. One of them runs at a time.
    suspects: BTreeSet<(i64, JobId)>,
    isolated: Option<JobId>,
    scheduled: BTreeSet<(Time, JobId)>,
    expiring: BTreeSet<(Time, JobId)>,
    counts: KindMap<Counts>,
    /// Unfinished jobs by kind that the commit to come adds, or takes away.
    joining: KindMap<i64>,
    /// What finished jobs left, and idempotency keys.
    pub(super) retained: Retained,
    /// Unfinished jobs that have a checkpoint, so that nobody has to look for those of the others.
    pub(super) checkpoints: HashSet<JobId>,
    /// What clients have uploaded.
    pub(super) uploads: Uploads,
    /// Who is to be told how jobs ended.
    pub(super) webhooks: Webhooks,
    last_token: u64,
    /// Jobs on their way to the writer, in the commit to come, or in the one that is being flushed, that may be claimed already.
    early: JobMap<Early>,
    /// Jobs in the commit that is being flushed, as they were before it: what readers may see until it is durable.
    pub(super) in_flight: JobMap<Option<Arc<Record>>>,
    /// Records as the last durable commit left them.
    pub(super) recent: Recent,
}

impl Index {
    /// An index whose tokens are larger than those of every earlier open.
    pub(super) fn new(opens: u64) -> Self {
        Self { last_token: opens << COUNTER_BITS, ..Self::default() }
    }

    /// Replaces what is known of a job by what its record now says; either may be nothing.
    pub(super) fn replace(&mut self, before: Option<&Record>, after: Option<&Record>) {
        if let Some(before) = before {
            self.remove(before.job.id);
            if let Some(at) = finish_time(&before.job) {
                self.count(&before.job.kind, before.job.state, -1);
                self.retained.remove(&before.job.kind, before.job.id, at);
            }
        }
        if let Some(after) = after {
            self.put(after);
        }
    }

    fn put(&mut self, record: &Record) {
        let job = &record.job;
        self.count(&job.kind, job.state, 1);
        if let Some(at) = finish_time(job) {
            let bytes = (!record.content_gone).then_some(record.bytes);
            // Whoever is told of a job should be able to look at it.
            let stays = self.webhooks.is_owed(job.id);
            return self.retained.add(&job.kind, job.id, at, bytes, stays);
        }
        let due = job.run_at.unwrap_or(job.created_at);
        let place = match job.state {
            State::Scheduled => Place::Scheduled(due),
            _ => Place::Ready(shifted(due, job.priority)),
        };
        let (kind, priority, expires_at) = (job.kind.clone(), job.priority, job.expires_at);
        let entry = Entry { kind, priority, expires_at, suspect: record.suspect, place };
        self.link(job.id, &entry);
        self.entries.insert(job.id, entry);
    }

    fn remove(&mut self, id: JobId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.unlink(id, &entry);
            self.count(&entry.kind, state_of(entry.place), -1);
        }
        if self.isolated == Some(id) {
            self.isolated = None;
        }
    }

    fn link(&mut self, id: JobId, entry: &Entry) {
        match entry.place {
            Place::Scheduled(due) => drop(self.scheduled.insert((due, id))),
            Place::Ready(key) if entry.suspect => drop(self.suspects.insert((key, id))),
            Place::Ready(key) => drop(self.ready.entry(entry.kind.clone()).or_default().insert((key, id))),
            Place::Running { .. } => return,
            Place::Late => {}
        }
        if let Some(expires_at) = entry.expires_at {
            self.expiring.insert((expires_at, id));
        }
    }

    fn unlink(&mut self, id: JobId, entry: &Entry) {
        match entry.place {
            Place::Scheduled(due) => drop(self.scheduled.remove(&(due, id))),
            Place::Ready(key) if entry.suspect => drop(self.suspects.remove(&(key, id))),
            Place::Ready(key) => {
                if let Some(ready) = self.ready.get_mut(&entry.kind) {
                    ready.remove(&(key, id));
                }
            }
            Place::Running { .. } | Place::Late => {}
        }
        if let Some(expires_at) = entry.expires_at {
            self.expiring.remove(&(expires_at, id));
        }
    }

    fn count(&mut self, kind: &Kind, state: State, change: i64) {
        if !self.counts.contains_key(kind) {
            self.counts.insert(kind.clone(), Counts::default());
        }
        if let Some(counts) = self.counts.get_mut(kind) {
            let count = &mut counts.0[state as usize];
            *count = count.saturating_add_signed(change);
        }
    }

    fn relocate(&mut self, id: JobId, place: Place) -> Option<()> {
        let mut entry = self.entries.remove(&id)?;
        self.unlink(id, &entry);
        self.count(&entry.kind, state_of(entry.place), -1);
        entry.place = place;
        self.count(&entry.kind, state_of(place), 1);
        self.link(id, &entry);
        self.entries.insert(id, entry);
        Some(())
    }

    /// Takes a job that cannot be read out of the running; it stays on disk as it is.
    pub(super) fn set_aside(&mut self, id: JobId) {
        self.remove(id);
    }

    /// Lays over a record what only memory knows: whether a worker has the job, and since when.
    pub(super) fn overlay(&self, job: &mut Job) {
        match self.entries.get(&job.id).map(|entry| entry.place) {
            Some(Place::Running { started_at, .. }) => {
                job.state = State::Running;
                job.started_at = Some(started_at);
            }
            Some(Place::Ready(_) | Place::Late) => job.state = State::Queued,
            Some(Place::Scheduled(_)) | None => {}
        }
    }

    /// Whether the job is being run under suspicion.
    pub(super) fn is_suspect(&self, id: JobId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.suspect)
    }

    /// How many ready jobs of its kind go before a ready job, counted up to `most`.
    pub(super) fn ahead(&self, id: JobId, most: usize) -> Option<usize> {
        let entry = self.entries.get(&id)?;
        let Place::Ready(key) = entry.place else { return None };
        let ready = if entry.suspect { &self.suspects } else { self.ready.get(&entry.kind)? };
        Some(ready.range(..(key, id)).take(most).count())
    }

    /// The state of an unfinished job.
    pub(super) fn state(&self, id: JobId) -> Option<State> {
        self.entries.get(&id).map(|entry| state_of(entry.place))
    }

    /// The next moment at which a scheduled job becomes ready.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.scheduled.first().map(|(due, _)| *due)
    }

    /// Up to `most` jobs that were not started in time, those first that should have been started first.
    pub(super) fn expired(&self, now: Time, most: usize) -> Vec<JobId> {
        self.expiring.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, id)| *id).collect()
    }

    /// How many jobs of each kind that has any stand where.
    pub(super) fn all_counts(&self) -> Vec<(Kind, Counts)> {
        let some = self.counts.iter().filter(|(_, counts)| counts.0.iter().any(|count| *count > 0));
        some.map(|(kind, counts)| (kind.clone(), *counts)).collect()
    }

    /// For each kind of which a job is ready: since when the one that is next has been.
    pub(super) fn next_ready_since(&self) -> Vec<(Kind, Time)> {
        let next = self.ready.iter().filter_map(|(kind, ready)| {
            let (key, id) = ready.first()?;
            Some((kind.clone(), unshifted(*key, self.entries.get(id)?.priority)))
        });
        next.collect()
    }

    /// How many jobs of a kind stand where.
    pub(super) fn counts(&self, kind: &Kind) -> Counts {
        self.counts.get(kind).copied().unwrap_or_default()
    }
}

/// When a finished job ended; nothing for others.
fn finish_time(job: &Job) -> Option<Time> {
    job.state.is_terminal().then(|| job.finished_at.unwrap_or(job.created_at))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::store) fn kind(name: &str) -> Kind {
        Kind::new(name).expect("well-formed")
    }

    pub(in crate::store) fn job(number: u128, name: &str, priority: u8, created_at: i64) -> Record {
        let job = Job { priority, ..Job::new(JobId::from_u128(number), kind(name), Time(created_at)) };
        Record { bytes: 10, ..Record::new(job) }
    }

    pub(super) fn ended(number: u128, at: i64) -> Record {
        let mut record = job(number, "a", 5, 0);
        record.job.state = State::Succeeded;
        record.job.finished_at = Some(Time(at));
        record
    }

    #[test]
    fn counts_follow_every_move() {
        let mut index = Index::new(1);
        index.put(&job(1, "a", 5, 0));
        index.put(&job(2, "b", 5, 0));
        index.claim(&[(kind("a"), 1)], 1, Time(0));
        let counts = index.counts(&kind("a"));
        assert_eq!((counts.of(State::Queued), counts.of(State::Running), counts.unfinished()), (0, 1, 1));
        index.replace(Some(&job(1, "a", 5, 0)), Some(&ended(1, 0)));
        let counts = index.counts(&kind("a"));
        assert_eq!((counts.of(State::Running), counts.of(State::Succeeded), counts.unfinished()), (0, 1, 0));
        index.replace(Some(&ended(1, 0)), None);
        assert_eq!(index.counts(&kind("a")), Counts::default());
    }
}
