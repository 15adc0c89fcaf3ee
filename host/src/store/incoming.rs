//! A new job on its way to the writer. One that is small is made ready to be written by whoever brings it, and may start there and then: while
//! the writer still waits for the flush before, workers do what will be part of the next.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::disk::Disk;
use super::exchange::Payload;
use super::record::{Record, encode_job};
use super::space::Room;
use super::stored::{Inline, Place, Stored};
use super::writer::{Change, Reply};
use super::{Admission, Content, NewJob};
use crate::job::Job;

/// A new job, as far as it could be made ready without the writer.
pub(super) enum Incoming {
    /// All of it is one record.
    Whole(Whole),
    /// It has a key, a webhook, or more to write than its record.
    Other(Box<(NewJob, Admission)>),
}

/// A job of one record, which nothing but room on the disk and in its queue can refuse, and nothing at all once it has begun.
pub(super) struct Whole {
    pub(super) record: Arc<Record>,
    /// The same in its envelope.
    pub(super) sealed: Vec<u8>,
    pub(super) queue_max: u64,
    /// Whom to wake when it may be claimed.
    pub(super) workers: Option<Arc<Notify>>,
    /// Whether it may be claimed already.
    pub(super) has_begun: bool,
}

impl Incoming {
    /// Whatever is wrong with it is said by the writer.
    pub(super) fn new(new: NewJob, admission: Admission) -> Self {
        if admission.key.is_some() || new.webhook.is_some() || !new.blobs.is_empty() {
            return Self::Other(Box::new((new, admission)));
        }
        match (&new.input.content, new.options.encode()) {
            (Content::Inline(input), Ok(options)) if input.len() + options.len() <= Record::HERE_BYTES_MAX => {
                let input = input.clone();
                Self::whole(new, input, options, admission)
            }
            _ => Self::Other(Box::new((new, admission))),
        }
    }

    fn whole(new: NewJob, bytes: Bytes, encoded: Vec<u8>, admission: Admission) -> Self {
        let NewJob { job, input, options, blobs, webhook } = new;
        let mut record = record_of(job, &input, encoded.len(), &[]);
        record.options = (!encoded.is_empty()).then(|| Inline(encoded.into()));
        record.input.place = Place::Here(Inline(bytes));
        match encode_job(&record) {
            Ok(sealed) => {
                let Admission { queue_max, workers, .. } = admission;
                Self::Whole(Whole { record: Arc::new(record), sealed, queue_max, workers, has_begun: false })
            }
            // With what else stands in it, it is too large for one value.
            Err(_) => Self::Other(Box::new((NewJob { job: record.job, input, options, blobs, webhook }, admission))),
        }
    }

    /// Gives it to the writer, and lets workers have it from this moment if it is accepted already: the writer hears of it before it
    /// hears what became of it.
    pub(super) fn hand_in(mut self, disk: &Disk, place: mpsc::Permit<'_, Change>, reply: Reply<Job>) {
        // Without the index, as a disk that hangs keeps whoever looks at it.
        let may_start = !disk.is_careful() && disk.space.room_lately() == Room::Ample;
        let mut workers = None;
        let mut index = disk.index();
        if let Self::Whole(whole) = &mut self
            && may_start
            && whole.workers.is_some()
            && index.has_place(&whole.record.job.kind, whole.queue_max)
        {
            index.begin_early(Arc::clone(&whole.record));
            whole.has_begun = true;
            workers = whole.workers.take();
        }
        place.send(Change::Submit { job: self, reply });
        drop(index);
        if let Some(workers) = workers {
            workers.notify_one();
        }
    }
}

/// The record of a new job, and where its payloads are, of which none is in it so far.
pub(super) fn record_of(job: Job, input: &Payload, options_bytes: usize, named: &[Payload]) -> Record {
    // A blob counts for each job that names it, as equal results do.
    let named_bytes: u64 = named.iter().map(|payload| payload.content.size()).sum();
    Record {
        input: Stored::of(&input.media_type, &input.content),
        options_bytes: u32::try_from(options_bytes).unwrap_or(u32::MAX),
        bytes: input.content.size() + options_bytes as u64 + named_bytes,
        named: u32::try_from(named.len()).ok(),
        ..Record::new(job)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::super::StoreError;
    use super::super::group::Group;
    use super::super::group::early::tests::{Answer, Place, end_of, kind};
    use super::*;
    use crate::job::{Ended, JobId, State};

    /// A job that was handed in, and is still on its way to the writer.
    fn handed_in(place: &Place, input_bytes: usize, queue_max: u64) -> (JobId, Change, Answer) {
        let (sender, mut changes) = mpsc::channel(1);
        let ((id, job), (reply, answer)) = (place.incoming(input_bytes, queue_max), oneshot::channel());
        job.hand_in(&place.store.disk, sender.try_reserve().expect("it is empty"), reply);
        (id, changes.try_recv().expect("it is on its way"), answer)
    }

    fn take(group: &mut Group<'_>, change: Change) {
        group.take(change, &mut VecDeque::new());
    }

    #[test]
    fn a_job_that_ends_while_the_writer_waits_is_one_commit_and_seen_by_nobody_before() {
        let place = Place::new();
        let (id, submit, mut answer) = handed_in(&place, 9, 9);
        assert!(place.is_woken());
        let claimed = place.claim().expect("it may start");
        let (end, mut ended) = end_of(&claimed, Ended::Succeeded);
        assert!(claimed.is_early && place.store.is_early(id) && place.claim().is_none());
        assert_eq!((place.sees(id), place.told_of(id)), (None, vec![]));
        let (before, mut group) = (place.store.commits(), place.group());
        take(&mut group, submit);
        take(&mut group, end);
        assert!(!group.has_early() && answer.try_recv().is_err() && place.sees(id).is_none());
        group.commit().expect("the disk works");
        assert_eq!((place.sees(id), place.store.commits() - before), (Some(State::Succeeded), 1));
        assert_eq!(place.told_of(id), [State::Queued, State::Running, State::Succeeded]);
        assert!(matches!(answer.try_recv(), Ok(Ok(job)) if job.state == State::Queued));
        assert!(matches!(ended.try_recv(), Ok(Ok(job)) if job.state == State::Succeeded));
        let counts = place.store.counts(&kind());
        assert_eq!((counts.of(State::Succeeded), counts.unfinished()), (1, 0));
        assert_eq!(place.reopened().sees(id), Some(State::Succeeded));
    }

    /// Fault: the room goes between the acceptance and the commit, and a job that a worker has is refused.
    #[test]
    fn what_has_begun_is_accepted_and_waits_for_room_like_an_outcome() {
        let place = Place::new();
        let (id, submit, mut answer) = handed_in(&place, 9, 9);
        let mut held = VecDeque::new();
        let mut group = Group::new(&place.store.disk, Room::Freeing, 1);
        group.take(submit, &mut held);
        let (reply, mut settled) = oneshot::channel();
        group.take(Change::Settle { reply }, &mut held);
        assert!(matches!(settled.try_recv(), Ok(Err(StoreError::DiskFull))), "it may not act outside yet");
        assert_eq!((group.size, held.len()), (0, 1));
        drop(group);
        let claimed = place.claim().expect("it may start");
        let (end, mut ended) = end_of(&claimed, Ended::Succeeded);
        let mut group = Group::new(&place.store.disk, Room::Scarce, 1);
        held.into_iter().chain([end]).for_each(|change| take(&mut group, change));
        group.commit().expect("the disk works");
        assert!(matches!((answer.try_recv(), ended.try_recv()), (Ok(Ok(_)), Ok(Ok(_)))));
        assert_eq!(place.sees(id), Some(State::Succeeded));
    }

    /// Fault: jobs that the index does not count yet, and those that it counts already, are more than a queue may have.
    #[test]
    fn a_queue_has_no_more_places_for_jobs_that_come_in_different_ways() {
        let place = Place::new();
        let mut group = place.group();
        let (_, mut large) = place.submit(&mut group, 9_000, 2);
        let (_, first, mut accepted) = handed_in(&place, 9, 2);
        let (_, second, mut refused) = handed_in(&place, 9, 2);
        assert!(place.claim().is_some() && place.claim().is_none());
        take(&mut group, first);
        take(&mut group, second);
        let (_, mut too_large) = place.submit(&mut group, 9_000, 2);
        for answer in [&mut refused, &mut too_large] {
            assert!(matches!(answer.try_recv(), Ok(Err(StoreError::QueueFull { queue_max: 2 }))));
        }
        group.commit().expect("the disk works");
        assert!(matches!((large.try_recv(), accepted.try_recv()), (Ok(Ok(_)), Ok(Ok(_)))));
        assert_eq!(place.store.counts(&kind()).unfinished(), 2);
        let (_, third, mut refused) = handed_in(&place, 9, 2);
        take(&mut place.group(), third);
        assert!(matches!(refused.try_recv(), Ok(Err(StoreError::QueueFull { .. }))));
    }

    #[test]
    fn a_job_waits_for_the_writer_where_it_could_be_refused_or_is_to_wait() {
        let place = Place::new();
        let waits = |input_bytes, queue_max| {
            let (_, submit, _answer) = handed_in(&place, input_bytes, queue_max);
            assert!(!place.is_woken() && place.claim().is_none());
            submit
        };
        let mut group = place.group();
        take(&mut group, waits(9_000, 9));
        drop(waits(9, 0));
        place.store.disk.note_lost_early();
        take(&mut group, waits(9, 9));
        group.commit().expect("the disk works");
        assert!(place.is_woken() && place.claim().is_some_and(|claimed| !claimed.is_early));
    }

    /// Fault: a quick worker's end of a job comes to the writer before the job, and is refused.
    #[test]
    fn the_writer_hears_of_each_job_before_its_end() {
        const JOBS: usize = 5_000;
        let place = Place::new();
        let (sender, mut changes) = mpsc::channel(2 * JOBS);
        let submit = || {
            for _ in 0..JOBS {
                let (job, reply) = (place.incoming(9, u64::MAX).1, oneshot::channel().0);
                job.hand_in(&place.store.disk, sender.try_reserve().expect("there is room"), reply);
            }
        };
        let work = || {
            let (mut ended, until) = (0, Instant::now() + Duration::from_secs(60));
            while ended < JOBS && Instant::now() < until {
                let Some(claimed) = place.claim() else { continue };
                let (end, _answer) = end_of(&claimed, Ended::Succeeded);
                assert!(sender.try_send(end).is_ok());
                ended += 1;
            }
        };
        std::thread::scope(|threads| {
            threads.spawn(work);
            submit();
        });
        let mut known = HashSet::new();
        while let Ok(change) = changes.try_recv() {
            match change {
                Change::Submit { job: Incoming::Whole(whole), .. } => assert!(known.insert(whole.record.job.id)),
                Change::Finish { id, .. } => assert!(known.remove(&id), "of {id} the end came first"),
                _ => panic!("nothing else was asked for"),
            }
        }
        assert!(known.is_empty(), "{} of them never ended", known.len());
    }
}
