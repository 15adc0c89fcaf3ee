//! A job comes in: once for its idempotency key, and with all that it names, or not at all.

use std::sync::Arc;

use crate::store::blobs::{BlobHandle, Content};
use crate::store::group::Group;
use crate::store::incoming::{Incoming, Whole, record_of};
use crate::store::keys::{self, Part};
use crate::store::record::{self, KeyRecord, Record};
use crate::store::space::Room;
use crate::store::stored::Inline;
use crate::store::writes::Writes;
use crate::store::{Accepted, Admission, NewJob, StoreError};
use crate::time::Time;

impl Group<'_> {
    /// Many jobs, one after the other: one that is refused is refused alone.
    pub(in crate::store) fn submit_all(&mut self, jobs: Vec<Incoming>) -> Vec<Result<Accepted, StoreError>> {
        self.reserve(jobs.len());
        let submit = |job| {
            let record = self.submit(job)?;
            Ok(Accepted { id: record.job.id, state: record.job.state })
        };
        jobs.into_iter().map(submit).collect()
    }

    /// A job, or the one that came with the same key before, as it is then.
    pub(in crate::store) fn submit(&mut self, job: Incoming) -> Result<Arc<Record>, StoreError> {
        match job {
            Incoming::Whole(whole) => self.submit_whole(whole),
            Incoming::Other(other) => self.submit_in_parts(other.0, &other.1),
        }
    }

    fn submit_whole(&mut self, whole: Whole) -> Result<Arc<Record>, StoreError> {
        let Whole { record, sealed, queue_max, workers, has_begun } = whole;
        // What has begun has a place, and is owed an end.
        if !has_begun {
            self.check_room()?;
            self.disk.index().take_place(&record.job.kind, queue_max)?;
        }
        self.put_new(&record, sealed);
        if has_begun {
            self.note_early(record.job.id);
        } else {
            self.start_early(record.job.id, workers);
        }
        Ok(record)
    }

    fn submit_in_parts(&mut self, new: NewJob, admission: &Admission) -> Result<Arc<Record>, StoreError> {
        if let Some(earlier) = self.answered_before(admission)? {
            return Ok(earlier);
        }
        self.check_room()?;
        let kind = new.job.kind.clone();
        let record = self.add_to_queue(&kind, admission.queue_max, |group| group.put_parts(new, admission))?;
        self.start_early(record.job.id, admission.workers.clone());
        Ok(record)
    }

    fn check_room(&self) -> Result<(), StoreError> {
        if self.room == Room::Ample { Ok(()) } else { Err(StoreError::DiskFull) }
    }

    fn put_parts(&mut self, new: NewJob, admission: &Admission) -> Result<Arc<Record>, StoreError> {
        let NewJob { job, input, options, blobs: named, webhook } = new;
        let (id, owner) = (job.id, job.owner);
        let options = options.encode()?;
        let (mut record, mut writes) = (record_of(job, &input, options.len(), &named), Writes::default());
        let mut room = record.room();
        if (1..=room).contains(&options.len()) {
            room -= options.len();
            record.options = Some(Inline(options.into()));
        } else {
            writes.bytes(id, Part::Options, &options)?;
        }
        record.input = writes.payload(id, Part::Input, &input, &mut room)?;
        Self::write_uses(&mut writes, id, &named)?;
        let webhook = webhook.map(|new| self.promise_webhook(id, owner, new, &mut writes)).transpose()?;
        let key =
            admission.key.map(|key| (key.name, KeyRecord { id, request: key.request, kept_until: key.kept_until }));
        if let Some((name, key)) = &key {
            writes.record(&keys::idempotency_key(name), key)?;
        }
        let first_named = usize::from(matches!(input.content, Content::Blob(_)));
        let contents = std::iter::once(input).chain(named).map(|payload| payload.content);
        let blobs: Vec<BlobHandle> = contents.filter_map(Content::into_blob).collect();
        // An id is never given twice, so there is nothing to look for that came before.
        self.remember_new(id);
        let record = self.put_record(record, writes, &blobs)?;
        if let Some(webhook) = webhook {
            *self.promised.entry(webhook.receiver.clone()).or_default().entry(owner).or_insert(0) += 1;
            self.set_webhook(id, Some(webhook));
        }
        if let Some(named @ [_, ..]) = blobs.get(first_named..) {
            let uploads = &mut self.disk.index().uploads;
            named.iter().for_each(|blob| uploads.begin_use(blob.sha256()));
        }
        self.keys.extend(key);
        Ok(record)
    }

    /// The job that the same key was given for, if it was.
    fn answered_before(&self, admission: &Admission) -> Result<Option<Arc<Record>>, StoreError> {
        let Some(key) = &admission.key else { return Ok(None) };
        let earlier = self.key(&key.name)?.filter(|earlier| earlier.kept_until > key.now);
        let Some(earlier) = earlier else { return Ok(None) };
        if earlier.request != key.request {
            return Err(StoreError::KeyReused);
        }
        match self.load(earlier.id) {
            Ok(mut record) => {
                // Of one that ends with this very commit the index does not know yet.
                if !record.job.state.is_terminal() {
                    self.disk.index().overlay(&mut record.job);
                }
                Ok(Some(Arc::new(record)))
            }
            // The job was deleted meanwhile; the request is a new one then.
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a key stands for as this group leaves it so far.
    fn key(&self, name: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        match self.keys.get(name) {
            Some(key) => Ok(Some(key.clone())),
            None => record::read(&self.disk.db, &keys::idempotency_key(name)),
        }
    }

    /// Forgets a key whose time is over, unless it was given again and has a new one. Nobody misses one that cannot be
    /// read.
    pub(in crate::store) fn drop_key(&mut self, name: &[u8; 32], now: Time) {
        if !matches!(self.key(name), Ok(Some(key)) if key.kept_until > now) {
            self.writes.remove(&keys::idempotency_key(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::sync::oneshot;

    use super::*;
    use crate::job::{Job, JobId, Kind, State};
    use crate::store::disk::Disk;
    use crate::store::writer::Change;
    use crate::store::{Content, IdempotencyKey, Options, Payload, Settings, Store};

    const SETTINGS: Settings = Settings { claims_max: 1, reserve_bytes: 0 };

    fn job(kind: &str, queue_max: u64, key: Option<[u8; 2]>) -> (NewJob, Admission) {
        let job = Job::new(JobId::now_v7(), Kind::new(kind).expect("well-formed"), Time(5));
        let input = Payload { media_type: String::new(), content: Content::Inline(vec![7; 9].into()) };
        let new = NewJob { job, input, options: Options::default(), blobs: Vec::new(), webhook: None };
        let key = key.map(|[name, request]| {
            let (now, kept_until) = (Time(5), Time(500));
            IdempotencyKey { name: [name; 32], request: [request; 32], now, kept_until }
        });
        (new, Admission { queue_max, key, workers: None })
    }

    /// Fault: many jobs come as one change, and what refuses one of them refuses, or lets in, another.
    #[tokio::test]
    async fn of_many_jobs_each_is_refused_or_accepted_by_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path(), &SETTINGS).expect("it opens");
        let key = |name, request| Some([name, request]);
        let jobs = vec![
            job("a", 2, None),
            job("b", 9, key(1, 1)),
            job("a", 2, None),
            job("a", 2, None),
            job("b", 9, key(1, 1)),
            job("b", 9, key(1, 2)),
            job("b", 9, None),
        ];
        let ids: Vec<JobId> = jobs.iter().map(|(new, _)| new.job.id).collect();
        let commits = store.commits();
        let answers = store.submit_all(jobs).await;
        assert_eq!(store.commits(), commits + 1, "one flush for all");
        let accepted = |number: usize| Accepted { id: ids[number], state: State::Queued };
        match &answers[..] {
            [
                Ok(first),
                Ok(keyed),
                Ok(second),
                Err(StoreError::QueueFull { queue_max: 2 }),
                Ok(again),
                Err(StoreError::KeyReused),
                Ok(last),
            ] => {
                assert_eq!([*first, *keyed, *second], [0, 1, 2].map(accepted));
                assert_eq!([*again, *last], [1, 6].map(accepted), "the same key is the same job");
            }
            others => panic!("{others:?}"),
        }
        drop(store);
        let store = Store::open(folder.path(), &SETTINGS).expect("it opens");
        let kept: Vec<bool> = ids.iter().map(|id| matches!(store.get(*id), Ok(Some(_)))).collect();
        assert_eq!(kept, [true, true, true, false, false, false, true]);
    }

    /// Fault: nothing new may be written, and jobs that come together are written all the same, or wait for room.
    #[test]
    fn many_jobs_are_refused_one_and_all_where_there_is_no_room() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(folder.path(), &SETTINGS).expect("it opens");
        let (mut group, mut held) = (Group::new(&disk, Room::Freeing, 1), VecDeque::new());
        let (reply, mut answers) = oneshot::channel();
        let jobs = [job("a", 9, None), job("b", 9, None)].map(|(new, admission)| Incoming::new(new, admission)).into();
        group.take(Change::SubmitAll { jobs, reply }, &mut held);
        assert_eq!((group.size, group.callers, held.len(), group.writes.is_empty()), (2, 1, 0, true));
        group.commit().expect("there is nothing to write");
        let answers = answers.try_recv().expect("it is answered").expect("the store works");
        assert!(matches!(answers[..], [Err(StoreError::DiskFull), Err(StoreError::DiskFull)]), "{answers:?}");
    }
}
