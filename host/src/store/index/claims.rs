//! Who gets which ready job, and until when that holds.

use super::order::{Place, shifted};
use super::{Entry, Index};
use crate::job::{JobId, Kind, Run};
use crate::time::Time;

/// Proof of a claim. Larger for every claim, across restarts; a finisher with an old one is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub(in crate::store) u64);

impl Token {
    /// The run that began with this claim.
    pub fn run(self) -> Run {
        Run(self.0)
    }
}

/// A job that was claimed and is still to be read.
#[derive(Debug)]
pub struct HandedOut {
    /// The job.
    pub id: JobId,
    /// Its kind.
    pub kind: Kind,
    /// Proof of the claim.
    pub token: Token,
}

impl Index {
    /// Moves jobs whose time has come from scheduled to ready, and says whether there were any.
    pub(in crate::store) fn promote(&mut self, now: Time) -> bool {
        let mut any = false;
        while let Some((due, id)) = self.scheduled.first().copied().filter(|(due, _)| *due <= now) {
            let priority = self.entries.get(&id).map_or(0, |entry| entry.priority);
            // Every scheduled id has an entry; removing it by hand as well keeps this loop finite whatever happens.
            self.scheduled.remove(&(due, id));
            self.relocate(id, Place::Ready(shifted(due, priority)));
            any = true;
        }
        any
    }

    /// Hands out up to `total` ready jobs, at most so many of each kind, kinds in the order given.
    pub(in crate::store) fn claim(&mut self, free: &[(Kind, usize)], total: usize, now: Time) -> Vec<HandedOut> {
        self.promote(now);
        let mut claimed = Vec::new();
        let suspect = self.next_suspect(free).filter(|_| total > 0);
        let mut suspects_kind = suspect.and_then(|id| self.entries.get(&id)).map(|entry| entry.kind.clone());
        if let Some((id, kind)) = suspect.zip(suspects_kind.as_ref()) {
            self.isolated = Some(id);
            claimed.push(self.hand_out(id, kind, now));
        }
        for (kind, slots) in free {
            // The suspect has one of its kind's places.
            let taken = suspects_kind.take_if(|of| *slots > 0 && of == kind).map_or(0, |_| 1);
            for _ in taken..*slots {
                if claimed.len() >= total {
                    break;
                }
                let Some(id) = self.next_ready(kind, now) else { break };
                claimed.push(self.hand_out(id, kind, now));
            }
        }
        claimed
    }

    /// The ready job of a kind to run next. Those before it whose time to be started is over leave the row, so that each is met once.
    fn next_ready(&mut self, kind: &Kind, now: Time) -> Option<JobId> {
        loop {
            let (_, id) = self.ready.get(kind)?.first().copied()?;
            let expires_at = self.entries.get(&id).and_then(|entry| entry.expires_at);
            if expires_at.is_none_or(|at| at > now) {
                return Some(id);
            }
            self.relocate(id, Place::Late);
        }
    }

    /// The suspect to run next, if none is running: alone among its kind of jobs, beside all others.
    fn next_suspect(&self, free: &[(Kind, usize)]) -> Option<JobId> {
        if self.isolated.is_some() {
            return None;
        }
        let has_room = |id: &JobId| {
            let kind = self.entries.get(id).map(|entry| &entry.kind);
            free.iter().any(|(free, slots)| *slots > 0 && Some(free) == kind)
        };
        self.suspects.iter().map(|(_, id)| *id).find(has_room)
    }

    fn hand_out(&mut self, id: JobId, kind: &Kind, now: Time) -> HandedOut {
        self.last_token += 1;
        let token = Token(self.last_token);
        self.relocate(id, Place::Running { token, started_at: now });
        HandedOut { id, kind: kind.clone(), token }
    }

    /// Whether this claim still holds.
    pub(in crate::store) fn holds(&self, id: JobId, token: Token) -> bool {
        matches!(self.entries.get(&id), Some(Entry { place: Place::Running { token: holder, .. }, .. }) if *holder == token)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Record;
    use super::super::tests::{ended, job, kind};
    use super::*;
    use crate::job::State;

    fn order(index: &mut Index, name: &str, now: i64) -> Vec<u128> {
        index.claim(&[(kind(name), 9)], 9, Time(now)).into_iter().map(|job| job.id.as_u128()).collect()
    }

    #[test]
    fn high_priority_goes_first_and_low_priority_ages_past_it() {
        let mut index = Index::new(1);
        index.put(&job(1, "a", 5, 600_000));
        index.put(&job(2, "a", 9, 600_000));
        index.put(&job(3, "a", 0, 600_000));
        index.put(&job(4, "a", 0, 1));
        assert_eq!(order(&mut index, "a", 600_000), [4, 2, 1, 3]);
    }

    #[test]
    fn a_scheduled_job_is_not_handed_out_before_its_time() {
        let mut index = Index::new(1);
        let mut scheduled = job(1, "a", 5, 0);
        scheduled.job.state = State::Scheduled;
        scheduled.job.run_at = Some(Time(500));
        index.put(&scheduled);
        assert_eq!((order(&mut index, "a", 499), index.next_due()), (vec![], Some(Time(500))));
        assert_eq!((order(&mut index, "a", 500), index.next_due()), (vec![1], None));
    }

    #[test]
    fn a_claim_holds_until_the_job_moves_on_and_never_again() {
        let mut index = Index::new(7);
        index.put(&job(1, "a", 5, 0));
        let HandedOut { id, token: first, .. } = index.claim(&[(kind("a"), 1)], 1, Time(0)).remove(0);
        assert!(index.holds(id, first));
        index.replace(Some(&job(1, "a", 5, 0)), Some(&job(1, "a", 5, 0)));
        assert!(!index.holds(id, first));
        let second = index.claim(&[(kind("a"), 1)], 1, Time(0)).remove(0).token;
        assert!(second > first && Index::new(8).last_token > second.0);
    }

    #[test]
    fn suspects_run_one_at_a_time_beside_the_others() {
        let mut index = Index::new(1);
        for number in 1..=2 {
            index.put(&Record { suspect: true, ..job(number, "a", 5, 0) });
        }
        index.put(&job(3, "a", 5, 0));
        assert_eq!(order(&mut index, "a", 0), [1, 3]);
        let still_suspect = Record { suspect: true, ..job(1, "a", 5, 0) };
        index.replace(Some(&still_suspect), Some(&ended(1, 0)));
        assert_eq!(order(&mut index, "a", 0), [2]);
    }
}
