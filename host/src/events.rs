//! What happens to jobs, told to those who listen: one bounded memory of the newest events, handed out to many.
//!
//! Telling costs the teller the same however many listen: it adds to the memory and goes on. One task hands out from there.
//! A listener that does not keep up is let go; it may come back and go on where it was, as long as the memory reaches
//! so far. Whoever publishes has made durable what the event says.

mod listeners;

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use self::listeners::Listeners;
pub use self::listeners::{Scope, Subscription, TooMany};
use crate::job::{Job, JobId, Kind, Owner, Progress, Sight};
use crate::running::LogLine;
use crate::time::Time;

/// Events remembered for those who come back.
const REMEMBERED_MAX: usize = 10_000;
/// Events handed out before others get their turn.
const HANDED_OUT_AT_ONCE: usize = 256;

/// Something that happened to a job.
#[derive(Debug)]
pub struct Event {
    /// Counts up from 1 while the host runs.
    pub number: u64,
    /// The job.
    pub id: JobId,
    /// Its kind.
    pub kind: Kind,
    /// Who submitted it.
    pub owner: Option<Owner>,
    /// What happened.
    pub what: What,
}

impl Event {
    /// Whether it may be seen.
    fn is_in(&self, sight: &Sight) -> bool {
        sight.covers(self.owner, &self.kind)
    }
}

/// What can happen to a job.
#[derive(Debug)]
pub enum What {
    /// It moved, and is now so. Nothing before this event matters to its state.
    State(Box<Job>),
    /// It says how far it is.
    Progress {
        /// From 1.
        attempt: u32,
        /// The newest.
        progress: Progress,
    },
    /// It wrote a line.
    Log {
        /// From 1.
        attempt: u32,
        /// The line.
        line: LogLine,
    },
}

/// A place in the order of events, as clients remember it. Another host process has an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    process: u64,
    number: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.process, self.number)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (process, number) = text.split_once('-').ok_or(())?;
        let process = u64::from_str_radix(process, 16).map_err(|_| ())?;
        Ok(Self { process, number: number.parse().map_err(|_| ())? })
    }
}

/// The events of one host.
#[derive(Debug)]
pub struct Events {
    /// Tells this process from those before it.
    process: u64,
    past: Mutex<Past>,
    published: Notify,
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Past {
    events: VecDeque<Arc<Event>>,
    last: u64,
    /// The newest event that was handed out, or that there was nobody to hand to.
    handed_out: u64,
    /// Whether anybody listens. While nobody does nothing is handed out.
    is_heard: bool,
}

impl Past {
    /// The remembered events after this number, or nothing if some are forgotten.
    fn after(&self, number: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let missed = usize::try_from(self.last.checked_sub(number)?).ok()?;
        let skip = self.events.len().checked_sub(missed)?;
        Some(self.events.iter().skip(skip))
    }
}

impl Events {
    /// No events yet, and at most so many listeners at a time.
    pub fn new(listeners_max: usize) -> Self {
        Self {
            process: u64::try_from(Time::now().0).unwrap_or(0),
            past: Mutex::default(),
            published: Notify::new(),
            listeners: Mutex::new(Listeners::new(listeners_max)),
        }
    }

    /// Tells what happened. Quick, and takes no lock that is held for long.
    pub fn publish(&self, id: JobId, kind: Kind, owner: Option<Owner>, what: What) {
        let mut past = self.past();
        past.last += 1;
        let number = past.last;
        if past.events.len() == REMEMBERED_MAX {
            past.events.pop_front();
        }
        past.events.push_back(Arc::new(Event { number, id, kind, owner, what }));
        let is_heard = past.is_heard;
        drop(past);
        if is_heard {
            self.published.notify_one();
        }
    }

    /// The number of the newest event.
    pub fn last(&self) -> u64 {
        self.past().last
    }

    /// An event's number as clients remember it.
    pub fn position(&self, number: u64) -> Position {
        Position { process: self.process, number }
    }

    /// What happened in this scope, of what may be seen, after a position, and the newest number looked at. Nothing if some
    /// of it is no longer remembered.
    pub fn since(&self, position: Position, scope: &Scope, sight: &Sight) -> Option<(Vec<Arc<Event>>, u64)> {
        let past = self.past();
        let after = past.after(position.number).filter(|_| position.process == self.process)?;
        Some((after.filter(|event| scope.covers(event) && event.is_in(sight)).cloned().collect(), past.last))
    }

    /// Whether anything may have happened to the job after an event's number.
    pub fn has_moved(&self, id: JobId, number: u64) -> bool {
        let past = self.past();
        past.after(number).is_none_or(|mut after| after.any(|event| event.id == id))
    }

    /// How many listen.
    pub fn listening(&self) -> usize {
        self.listeners().len()
    }

    /// Listens from now on, to what may be seen.
    pub fn subscribe(self: &Arc<Self>, scope: Scope, sight: Sight) -> Result<Subscription, TooMany> {
        Subscription::new(self, scope, sight)
    }

    /// Hands out events as they come. Never returns.
    pub async fn hand_out(&self) {
        loop {
            self.published.notified().await;
            while let Some(batch) = self.next_batch() {
                self.tell_listeners(&batch);
                tokio::task::yield_now().await;
            }
        }
    }

    fn tell_listeners(&self, batch: &[Arc<Event>]) {
        let mut listeners = self.listeners();
        if batch.is_empty() {
            // More was told than is remembered before this task had its turn: all of them have missed something.
            listeners.let_all_go();
        }
        batch.iter().for_each(|event| listeners.tell(event));
    }

    /// What is to be handed out next, if there is anything; empty if that is forgotten already.
    fn next_batch(&self) -> Option<Vec<Arc<Event>>> {
        let past = &mut *self.past();
        if past.handed_out == past.last {
            return None;
        }
        let batch = past.after(past.handed_out).map(|after| after.take(HANDED_OUT_AT_ONCE).cloned().collect());
        let batch: Vec<Arc<Event>> = batch.unwrap_or_default();
        past.handed_out = batch.last().map_or(past.last, |event| event.number);
        Some(batch)
    }

    /// Notes whether anybody listens, from now on. To be called while the listeners are held, so that nobody comes or goes in between.
    fn note_heard(&self, is_heard: bool) {
        let mut past = self.past();
        if is_heard && !past.is_heard {
            past.handed_out = past.last;
        }
        past.is_heard = is_heard;
    }

    // Both stay usable if a thread panicked: each change is a single step.
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(events: &Events, number: u128) {
        let kind = Kind::new("a").expect("well-formed");
        let id = JobId::from_u128(number);
        events.publish(id, kind.clone(), None, What::State(Box::new(Job::new(id, kind, Time(0)))));
    }

    #[test]
    fn what_was_missed_is_told_as_long_as_it_is_remembered() {
        let events = Events::new(1);
        (0..10).for_each(|number| publish(&events, number % 2));
        let scope = Scope::Job(JobId::from_u128(1));
        let numbers = |from| {
            let (found, last) = events.since(events.position(from), &scope, &Sight::default())?;
            Some((found.iter().map(|event| event.number).collect::<Vec<_>>(), last))
        };
        assert_eq!(numbers(5), Some((vec![6, 8, 10], 10)));
        assert_eq!(numbers(10), Some((vec![], 10)));
        assert_eq!(numbers(11), None, "a number that was never given");
        (0..REMEMBERED_MAX).for_each(|_| publish(&events, 0));
        assert_eq!(numbers(10).map(|(found, _)| found.len()), Some(0));
        assert_eq!(numbers(9), None, "event 10 is forgotten");
        let other = Position { process: events.process + 1, number: 10_010 };
        assert!(events.since(other, &scope, &Sight::default()).is_none());
        assert!(events.has_moved(JobId::from_u128(0), 10_000) && !events.has_moved(JobId::from_u128(1), 10_000));
    }

    #[test]
    fn positions_are_read_as_they_are_written() {
        let position = Position { process: 0xabc, number: 7 };
        assert_eq!((position.to_string().as_str(), "abc-7".parse()), ("abc-7", Ok(position)));
        for text in ["", "7", "-", "x-1", "abc-", "abc--1", "abc-99999999999999999999"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
