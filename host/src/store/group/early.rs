//! New jobs that may be claimed before the group is durable, so that a job that ends at once shares the flush of its submit.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Group;
use crate::job::JobId;

impl Group<'_> {
    /// Lets a new job of this group be claimed before the group is durable, if its worker needs nothing else that is in the group;
    /// otherwise after that.
    pub(in crate::store) fn start_early(&mut self, id: JobId, workers: Option<Arc<Notify>>) {
        let Some(workers) = workers else { return };
        let record = self.after.get(&id).and_then(Option::as_ref).filter(|record| record.is_whole());
        let Some(record) = record.filter(|_| !self.disk.is_careful()) else {
            return self.workers.push(workers);
        };
        // The index counts it from now on.
        let mut index = self.disk.index();
        index.join(&record.job.kind, -1);
        index.begin_early(Arc::clone(record));
        drop(index);
        self.note_early(id);
        workers.notify_one();
    }

    /// Takes up a new job of this group that may have started already.
    pub(in crate::store) fn note_early(&mut self, id: JobId) {
        self.early.push(id);
    }

    /// Whether a job of this group that may have started already has not ended yet.
    pub(in crate::store) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Whether somebody waits for the commit.
    pub(in crate::store) fn is_awaited(&self) -> bool {
        self.is_awaited
    }
}

#[cfg(test)]
pub(in crate::store) mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tempfile::TempDir;
    use tokio::sync::oneshot;

    use super::super::super::disk::Observer;
    use super::super::super::incoming::Incoming;
    use super::super::super::writer::{Change, Reply};
    use super::super::super::{
        Admission, Attempt, Claimed, Content, Disk, Filter, NewJob, Options, Payload, Room, Settings, Store, StoreError,
    };
    use super::*;
    use crate::job::{Backoff, Ended, Job, Kind, Progress, State, Usage};
    use crate::time::Time;

    const NOW: Time = Time(1_000);

    /// A store without a writer, whose commits the test makes itself.
    pub(in crate::store) struct Place {
        pub(in crate::store) store: Store,
        told: Arc<Mutex<Vec<(JobId, State)>>>,
        workers: Arc<Notify>,
        folder: TempDir,
    }

    impl Place {
        fn open(folder: TempDir) -> Self {
            let settings = Settings { claims_max: 8, reserve_bytes: 0 };
            let disk = Arc::new(Disk::open(folder.path(), &settings).expect("it opens"));
            let told = Arc::new(Mutex::new(Vec::new()));
            let tells = Arc::clone(&told);
            let observer = Observer(Box::new(move |job: &Job| tells.lock().expect("whole").push((job.id, job.state))));
            assert!(disk.observer.set(observer).is_ok());
            Self {
                store: Store { disk, changes: Mutex::new(None), writer: Mutex::new(None) },
                told,
                workers: Arc::default(),
                folder,
            }
        }

        pub(in crate::store) fn new() -> Self {
            Self::open(tempfile::tempdir().expect("a temporary folder"))
        }

        /// As if the process had died and another come.
        pub(in crate::store) fn reopened(self) -> Self {
            let Self { store, folder, .. } = self;
            drop(store);
            Self::open(folder)
        }

        pub(in crate::store) fn group(&self) -> Group<'_> {
            Group::new(&self.store.disk, Room::Ample, 1)
        }

        pub(in crate::store) fn submit(
            &self,
            group: &mut Group<'_>,
            input_bytes: usize,
            queue_max: u64,
        ) -> (JobId, Answer) {
            let (id, job) = self.incoming(input_bytes, queue_max);
            let (reply, answer) = oneshot::channel();
            group.take(Change::Submit { job, reply }, &mut VecDeque::new());
            (id, answer)
        }

        pub(in crate::store) fn incoming(&self, input_bytes: usize, queue_max: u64) -> (JobId, Incoming) {
            let job = Job::new(JobId::now_v7(), kind(), NOW);
            let input = Payload { media_type: String::new(), content: Content::Inline(vec![7; input_bytes].into()) };
            let new = NewJob { job, input, options: Options::default(), blobs: Vec::new(), webhook: None };
            let admission = Admission { queue_max, key: None, workers: Some(Arc::clone(&self.workers)) };
            (new.job.id, Incoming::new(new, admission))
        }

        pub(in crate::store) fn claim(&self) -> Option<Claimed> {
            self.store.claim(&[(kind(), 1)], 1, NOW).pop()
        }

        fn end(group: &mut Group<'_>, claimed: &Claimed, ended: Ended) -> Answer {
            let (end, answer) = end_of(claimed, ended);
            group.take(end, &mut VecDeque::new());
            answer
        }

        /// Whether somebody was told since the last call that there is work.
        pub(in crate::store) fn is_woken(&self) -> bool {
            self.workers.notified().now_or_never().is_some()
        }

        pub(in crate::store) fn sees(&self, id: JobId) -> Option<State> {
            let listed = self.store.list(&Filter::default(), 9, None).expect("readable").0;
            let found = self.store.get(id).expect("readable");
            assert_eq!(listed.iter().find(|job| job.id == id), found.as_ref());
            found.map(|job| job.state)
        }

        pub(in crate::store) fn told_of(&self, id: JobId) -> Vec<State> {
            self.told.lock().expect("whole").iter().filter(|(of, _)| *of == id).map(|(_, state)| *state).collect()
        }
    }

    pub(in crate::store) type Answer = oneshot::Receiver<Result<Job, StoreError>>;

    /// The end of an attempt, as a worker hands it in.
    pub(in crate::store) fn end_of(claimed: &Claimed, ended: Ended) -> (Change, Answer) {
        let (reply, answer): (Reply<Job>, _) = oneshot::channel();
        let attempt = Attempt {
            ended,
            usage: Usage::default(),
            progress: Progress::default(),
            output: None,
            artifacts: Vec::new(),
            started_at: NOW,
            now: NOW,
            backoff: Backoff { first: Duration::ZERO, longest: Duration::ZERO },
            jitter: 0.0,
        };
        let told = Box::new(move |result| drop(reply.send(result)));
        (Change::Finish { id: claimed.job.id, token: claimed.token, attempt: Box::new(attempt), told }, answer)
    }

    pub(in crate::store) fn kind() -> Kind {
        Kind::new("a").expect("well-formed")
    }

    #[test]
    fn a_job_is_claimed_before_it_is_durable_and_nobody_sees_it_before_it_is() {
        let place = Place::new();
        let mut group = place.group();
        let (id, mut answer) = place.submit(&mut group, 9, 9);
        assert!(place.is_woken() && group.has_early());
        let claimed = place.claim().expect("it may start");
        assert!(claimed.is_early && claimed.job.id == id && claimed.input.is_ok() && place.store.is_early(id));
        assert_eq!((place.sees(id), place.told_of(id)), (None, vec![]));
        assert!(answer.try_recv().is_err() && place.claim().is_none());
        group.commit().expect("the disk works");
        assert_eq!(place.told_of(id), [State::Queued, State::Running]);
        assert!(place.sees(id) == Some(State::Running) && !place.store.is_early(id));
        assert!(matches!(answer.try_recv(), Ok(Ok(_))) && place.claim().is_none(), "it is in one worker's hands");
        let mut group = place.group();
        let mut ended = Place::end(&mut group, &claimed, Ended::Succeeded);
        group.commit().expect("the disk works");
        assert!(matches!(ended.try_recv(), Ok(Ok(_))) && place.sees(id) == Some(State::Succeeded));
        let counts = place.store.counts(&kind());
        assert_eq!((counts.of(State::Succeeded), counts.unfinished()), (1, 0));
    }

    #[test]
    fn a_job_that_ends_at_once_shares_the_flush_of_its_submit() {
        let place = Place::new();
        let before = place.store.commits();
        let mut group = place.group();
        let (id, mut answer) = place.submit(&mut group, 9, 9);
        let claimed = place.claim().expect("it may start");
        let mut ended = Place::end(&mut group, &claimed, Ended::Succeeded);
        assert!(!group.has_early() && place.sees(id).is_none() && ended.try_recv().is_err());
        group.commit().expect("the disk works");
        assert_eq!(place.told_of(id), [State::Queued, State::Running, State::Succeeded]);
        assert_eq!((place.sees(id), place.store.commits() - before), (Some(State::Succeeded), 1));
        assert!(matches!(answer.try_recv(), Ok(Ok(job)) if job.state == State::Queued));
        assert!(matches!(ended.try_recv(), Ok(Ok(job)) if job.state == State::Succeeded));
        let counts = place.store.counts(&kind());
        assert_eq!((counts.of(State::Succeeded), counts.unfinished()), (1, 0));
        let place = place.reopened();
        assert_eq!((place.sees(id), place.store.usage(id).expect("readable").len()), (Some(State::Succeeded), 1));
    }

    #[test]
    fn an_attempt_that_is_cut_short_before_the_flush_is_made_again() {
        let place = Place::new();
        let mut group = place.group();
        let (id, _answer) = place.submit(&mut group, 9, 9);
        let first = place.claim().expect("it may start");
        let _ended = Place::end(&mut group, &first, Ended::Interrupted);
        assert!(place.claim().is_none(), "its next attempt begins once the end of this one is durable");
        group.commit().expect("the disk works");
        let second = place.claim().expect("it waits again");
        assert!(second.token > first.token && !second.is_early && second.job.interruptions == 1);
        assert!(!place.store.holds(id, first.token));
        assert_eq!(place.told_of(id), [State::Queued, State::Running, State::Queued, State::Running]);
    }

    /// Fault: the process dies between the claim and the flush, and the next one finds half a job, or suspects it.
    #[tokio::test]
    async fn of_a_job_that_started_and_was_never_durable_nothing_is_left() {
        let place = Place::new();
        place.store.disk.in_flight.begin(place.store.disk.opens);
        let mut group = place.group();
        let (id, _answer) = place.submit(&mut group, 9, 9);
        let claimed = place.claim().expect("it may start");
        claimed.mark.set(true);
        drop(group);
        // It is as if it were still inside the guest.
        std::mem::forget(claimed);
        let place = place.reopened();
        assert!(place.store.disk.left.marked.iter().any(|(marked, _)| *marked == id), "its mark was left");
        assert_eq!((place.sees(id), place.store.counts(&kind()).unfinished()), (None, 0));
        let Place { store, folder, .. } = place;
        drop(store);
        let store = Store::open(folder.path(), &Settings { claims_max: 8, reserve_bytes: 0 }).expect("it opens");
        assert!(store.recover(3, NOW).await.expect("the disk works").is_empty());
        assert!(store.disk.is_careful(), "it may have been the one that brought the host down");
    }

    #[test]
    fn a_claim_that_is_read_after_the_flush_is_told_once() {
        let place = Place::new();
        let mut group = place.group();
        let (id, _answer) = place.submit(&mut group, 9, 9);
        let handed_out = place.store.hand_out(&[(kind(), 1)], 1, NOW).pop().expect("it may start");
        group.commit().expect("the disk works");
        assert_eq!(place.told_of(id), [State::Queued]);
        let claimed = place.store.read_claimed(handed_out).expect("readable");
        assert!(!claimed.is_early);
        assert_eq!(place.told_of(id), [State::Queued, State::Running]);
    }

    #[test]
    fn a_job_whose_input_lies_beside_its_record_waits_for_the_flush() {
        let place = Place::new();
        let mut group = place.group();
        let (id, _answer) = place.submit(&mut group, 9_000, 9);
        assert!(!place.is_woken() && !group.has_early() && place.claim().is_none());
        group.commit().expect("the disk works");
        assert!(place.is_woken());
        assert!(place.claim().is_some_and(|claimed| claimed.job.id == id && !claimed.is_early));
    }

    /// Fault: a job that brings the host down at once is never durable, and so never found guilty, however often its client tries again.
    #[test]
    fn after_a_job_was_lost_in_a_crash_none_starts_before_it_is_durable() {
        let place = Place::new();
        place.store.disk.note_lost_early();
        let mut group = place.group();
        let (id, _answer) = place.submit(&mut group, 9, 9);
        assert!(!place.is_woken() && place.claim().is_none());
        group.commit().expect("the disk works");
        assert!(place.is_woken() && place.claim().is_some_and(|claimed| claimed.job.id == id && !claimed.is_early));
    }

    #[test]
    fn each_of_them_has_one_place_in_its_queue() {
        let place = Place::new();
        let mut group = place.group();
        let mut answers: Vec<_> = (0..3).map(|_| place.submit(&mut group, 9, 2).1).collect();
        assert!(matches!(answers[2].try_recv(), Ok(Err(StoreError::QueueFull { queue_max: 2 }))));
        let claimed = place.claim().expect("it may start");
        let _ended = Place::end(&mut group, &claimed, Ended::Succeeded);
        let (_, _accepted) = place.submit(&mut group, 9, 2);
        assert!(matches!(place.submit(&mut group, 9, 2).1.try_recv(), Ok(Err(StoreError::QueueFull { .. }))));
        group.commit().expect("the disk works");
        assert_eq!(place.store.counts(&kind()).unfinished(), 2);
        assert!(matches!(place.submit(&mut place.group(), 9, 2).1.try_recv(), Ok(Err(StoreError::QueueFull { .. }))));
    }
}
