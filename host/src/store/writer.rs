//! The one thread that changes the database.
//!
//! It takes every change that is waiting (up to [`GROUP_MAX`], and about [`GROUP_BYTES_MAX`] of what they write), turns them into one atomic batch, makes that batch
//! durable with one flush, and only then tells everybody. Costs per change shrink as the load grows, and since
//! nobody else writes, every check (does this claim still hold, is the queue full) is a plain `if`.
//!
//! Group commit is an old idea; DeWitt et al., "Implementation Techniques for Main Memory Database Systems" (1984),
//! describe it well.
//!
//! A job starts once its submit is durable, never before. A job that ends within one flush could save its second one if
//! it ran while the first was held back for it, which at one job in flight is worth at the most the flush it saves: half of the
//! way from submit to result. But the writer would have to guess how long to hold the flush, everybody who shares it would
//! wait for that guess, and everything that could leave the host meanwhile would need a gate. Under load the flush is shared
//! with others anyway: `dropforge bench` counts 2 flushes a job at one in flight, and fewer than one for 20 jobs at 256.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::blobs::BlobHandle;
use super::checkpoint::{Checkpoint, StoredCheckpoint};
use super::disk::Disk;
use super::record::{self, KeyRecord, Record};
use super::space::Room;
use super::uploads::{Share, UploadName, UploadRecord};
use super::webhooks::WebhookTry;
use super::writes::Writes;
use super::{Admission, Attempt, NewJob, Payload, StoreError, Token};
use crate::job::{Job, JobId, Kind, Owner, Progress, Webhook};
use crate::metrics;
use crate::time::Time;

/// More changes than this in one flush gain nothing: sled's own work dominates from here on.
const GROUP_MAX: usize = 256;
/// A group with so many bytes to write takes no more changes. Together with the largest change, a finish with some hundred KiB of small
/// results, it stays well below the room that is kept for one group, whatever sled rewrites for it besides.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How often a full disk is looked at again.
const ROOM_EVERY: Duration = Duration::from_millis(100);
/// Changes that wait for room while others go before them; more wait where they come from.
const HELD_MAX: usize = 4_096;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;
/// Called with what became of a change, on the writer's own thread: everybody waits for it, so it must be quick. Dropped without a
/// call if the store fails.
pub type Told = Box<dyn FnOnce(Result<Job, StoreError>) + Send>;

/// What the rest of the store asks the writer to do.
pub(super) enum Change {
    Submit { job: Box<NewJob>, admission: Admission, reply: Reply<Job> },
    Finish { id: JobId, token: Token, attempt: Box<Attempt>, told: Told },
    Checkpoint { id: JobId, token: Token, checkpoint: Box<Checkpoint>, reply: Reply<()> },
    Cancel { id: JobId, progress: Option<Progress>, now: Time, reply: Reply<Job> },
    Retry { id: JobId, queue_max: u64, reply: Reply<Job> },
    Expire { id: JobId, now: Time, reply: Reply<Job> },
    Judge { id: JobId, charge: Option<u32>, now: Time, reply: Reply<Job> },
    Judged { opens: u64, reply: Reply<()> },
    DropContent { id: JobId, reply: Reply<Job> },
    Delete { id: JobId, reply: Reply<Job> },
    KeepUpload { upload: Payload, owner: String, kept_until: Time, share: Share, reply: Reply<()> },
    DropUploads { overdue: Vec<UploadName>, now: Time, reply: Reply<()> },
    Pause { kind: Kind, paused: bool, reply: Reply<()> },
    WebhookTried { id: JobId, a_try: Box<WebhookTry>, reply: Reply<Option<Webhook>> },
    DropKeys { names: Vec<[u8; 32]>, now: Time, reply: Reply<()> },
}

/// Runs until every sender is gone, or until a commit failed.
pub(super) fn run(disk: &Disk, mut changes: mpsc::Receiver<Change>) {
    let mut held = VecDeque::new();
    loop {
        if held.is_empty() {
            let Some(first) = changes.blocking_recv() else { return };
            held.push_back(first);
        }
        let group = gather(disk, &mut held, &mut changes);
        if group.size == 0 && held.is_empty() {
            continue;
        }
        if group.size == 0 {
            if disk.closing.load(Ordering::Relaxed) {
                tracing::error!("the disk is full and the host is stopping; what was not recorded yet will run again");
                return;
            }
            thread::sleep(ROOM_EVERY);
            continue;
        }
        if let Err(error) = group.commit() {
            // What sled holds in memory and what the disk holds may differ now, and a second flush could
            // claim success for pages the kernel already dropped. So nobody is told anything, and it ends here.
            tracing::error!(%error, "a commit failed; the store is closed to keep what is on disk as it is");
            disk.failed.send_replace(Some(error.to_string()));
            return;
        }
    }
}

/// Takes up the changes there is room for. sled cannot go on after a write that found no room, so no write is started without. The others
/// are held: what was accepted waits there for room, and what makes room goes before it.
fn gather<'a>(disk: &'a Disk, held: &mut VecDeque<Change>, changes: &mut mpsc::Receiver<Change>) -> Group<'a> {
    let room = disk.space.room();
    let mut group = Group::new(disk, room);
    for change in std::mem::take(held) {
        if group.is_full() { held.push_back(change) } else { group.take(change, held) }
    }
    while !group.is_full()
        && held.len() < HELD_MAX
        && let Ok(change) = changes.try_recv()
    {
        group.take(change, held);
    }
    group
}

impl Change {
    /// Whether it may be written with so much room.
    fn fits(&self, room: Room) -> bool {
        match self {
            // Refuses itself where there is no room for new jobs, and writes nothing then.
            Self::Submit { .. } => true,
            // The judgement is a few small records, and before it is passed a host does nothing that could make room.
            Self::Judge { .. }
            | Self::Judged { .. }
            | Self::Cancel { .. }
            | Self::DropContent { .. }
            | Self::Delete { .. }
            | Self::DropKeys { .. }
            | Self::DropUploads { .. } => room < Room::None,
            _ => room < Room::Freeing,
        }
    }
}

/// Changes on their way to one commit. Later ones see what earlier ones did; see `changes.rs` for what each does.
pub(super) struct Group<'a> {
    pub(super) disk: &'a Disk,
    /// What there was before it, which its size is bounded for.
    pub(super) room: Room,
    pub(super) writes: Writes,
    size: usize,
    before: HashMap<JobId, Option<Arc<Record>>>,
    /// Jobs as this group leaves them; nothing for a deleted one.
    after: HashMap<JobId, Option<Record>>,
    /// Unfinished jobs by kind that the group adds, or takes away.
    joined: HashMap<Kind, i64>,
    pub(super) keys: HashMap<[u8; 32], KeyRecord>,
    /// Checkpoints that the group saves, and those it takes away.
    pub(super) checkpoints: HashMap<JobId, Option<StoredCheckpoint>>,
    /// Uploads as this group leaves them; nothing for one that goes.
    pub(super) uploads: HashMap<UploadName, Option<UploadRecord>>,
    /// Webhooks as this group leaves them; nothing for one that goes.
    pub(super) webhooks: HashMap<JobId, Option<Webhook>>,
    /// The same as they were before it.
    pub(super) webhooks_before: HashMap<JobId, Option<Webhook>>,
    /// Webhooks that the group promises, by their receivers and whoever submits.
    pub(super) promised: HashMap<String, HashMap<Option<Owner>, usize>>,
    /// Kinds that the group pauses or resumes, in this order.
    pub(super) paused: Vec<(Kind, bool)>,
    released: Vec<[u8; 32]>,
    answers: Vec<Answer>,
}

/// What is told to whom once the commit is durable.
enum Answer {
    Job(Reply<Job>, Box<Job>),
    Told(Told, Box<Job>),
    Done(Reply<()>),
    Webhook(Reply<Option<Webhook>>, Option<Webhook>),
}

impl<'a> Group<'a> {
    fn new(disk: &'a Disk, room: Room) -> Self {
        Self {
            disk,
            room,
            writes: Writes::default(),
            size: 0,
            before: HashMap::new(),
            after: HashMap::new(),
            joined: HashMap::new(),
            keys: HashMap::new(),
            checkpoints: HashMap::new(),
            uploads: HashMap::new(),
            webhooks: HashMap::new(),
            webhooks_before: HashMap::new(),
            promised: HashMap::new(),
            paused: Vec::new(),
            released: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        // Room was looked for once, for a group no larger than this.
        self.size >= GROUP_MAX || self.writes.size_bytes() >= GROUP_BYTES_MAX
    }

    /// Adds a change if there is room for it; otherwise it is held, or refused where whoever asked goes on without.
    fn take(&mut self, change: Change, held: &mut VecDeque<Change>) {
        match change {
            change if change.fits(self.room) => self.add(change),
            // The clock asks again, and what makes room comes behind this: it must not wait for it.
            Change::Expire { reply, .. } | Change::Retry { reply, .. } => drop(reply.send(Err(StoreError::DiskFull))),
            Change::Checkpoint { reply, .. } | Change::KeepUpload { reply, .. } => {
                drop(reply.send(Err(StoreError::DiskFull)));
            }
            change => held.push_back(change),
        }
    }

    fn add(&mut self, change: Change) {
        self.size += 1;
        let (reply, result) = match change {
            Change::Submit { job, admission, reply } => (reply, self.submit(*job, &admission)),
            Change::Cancel { id, progress, now, reply } => (reply, self.cancel(id, progress, now)),
            Change::Retry { id, queue_max, reply } => (reply, self.retry(id, queue_max)),
            Change::Expire { id, now, reply } => (reply, self.expire(id, now)),
            Change::Judge { id, charge, now, reply } => (reply, self.judge(id, charge, now)),
            Change::DropContent { id, reply } => (reply, self.drop_content(id)),
            Change::Delete { id, reply } => (reply, self.delete(id)),
            Change::Finish { id, token, attempt, told } => {
                return match self.finish(id, token, *attempt) {
                    Ok(job) => self.answers.push(Answer::Told(told, Box::new(job))),
                    Err(refusal) => told(Err(refusal)),
                };
            }
            Change::Judged { opens, reply } => return self.note(record::JUDGED_KEY, &opens, reply),
            Change::Pause { kind, paused, reply } => {
                let result = self.pause(kind, paused);
                return self.answer_done(reply, result);
            }
            Change::Checkpoint { id, token, checkpoint, reply } => {
                let result = self.save_checkpoint(id, token, *checkpoint);
                return self.answer_done(reply, result);
            }
            Change::KeepUpload { upload, owner, kept_until, share, reply } => {
                let done = self.keep_upload(&upload, owner, kept_until, share);
                return self.answer_done(reply, done);
            }
            Change::DropUploads { overdue, now, reply } => {
                let done = self.drop_uploads(&overdue, now);
                return self.answer_done(reply, done);
            }
            Change::WebhookTried { id, a_try, reply } => {
                return match self.webhook_tried(id, *a_try) {
                    Ok(webhook) => self.answers.push(Answer::Webhook(reply, webhook)),
                    Err(refusal) => drop(reply.send(Err(refusal))),
                };
            }
            Change::DropKeys { names, now, reply } => {
                names.iter().for_each(|name| self.drop_key(name, now));
                return self.answers.push(Answer::Done(reply));
            }
        };
        match result {
            Ok(job) => self.answers.push(Answer::Job(reply, Box::new(job))),
            // Nothing was changed, so there is nothing to wait for. If the caller has gone, nobody needs to know.
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn note(&mut self, key: &[u8], value: &u64, reply: Reply<()>) {
        let done = self.writes.record(key, value);
        self.answer_done(reply, done);
    }

    /// Answers a change that is not one of a job: after the commit, or at once if it is refused.
    fn answer_done(&mut self, reply: Reply<()>, done: Result<(), StoreError>) {
        match done {
            Ok(()) => self.answers.push(Answer::Done(reply)),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// The job as this group leaves it so far.
    pub(super) fn load(&self, id: JobId) -> Result<Record, StoreError> {
        match self.after.get(&id) {
            Some(record) => record.clone().ok_or(StoreError::NotFound),
            None => self.disk.newest(id)?.map(|record| Record::clone(&record)).ok_or(StoreError::NotFound),
        }
    }

    /// Whether an earlier change of this group moved the job, so that the index is out of date for it.
    pub(super) fn is_changed(&self, id: JobId) -> bool {
        self.after.contains_key(&id)
    }

    /// Refuses one more unfinished job of a kind that has as many as it may, those counted that this group adds.
    pub(super) fn check_queue(&self, kind: &Kind, queue_max: u64) -> Result<(), StoreError> {
        let joined = self.joined.get(kind).copied().unwrap_or(0);
        let unfinished = self.disk.index().counts(kind).unfinished().saturating_add_signed(joined);
        if unfinished < queue_max { Ok(()) } else { Err(StoreError::QueueFull { queue_max }) }
    }

    /// Adds a changed job to the commit. Everything that can fail has happened before the first line that adds.
    pub(super) fn put(
        &mut self,
        mut record: Record,
        mut writes: Writes,
        blobs: &[BlobHandle],
    ) -> Result<Job, StoreError> {
        let id = record.job.id;
        writes.job(&mut record)?;
        self.remember(id)?;
        let webhook = self.moved_webhook(&record, &mut writes)?;
        if record.job.state.is_terminal() {
            self.remove_checkpoint(id, &mut writes)?;
        }
        if webhook.is_some() {
            self.set_webhook(id, webhook);
        }
        self.writes.append(writes);
        for blob in blobs {
            self.disk.blobs.retain(blob.sha256());
        }
        let was_unfinished = self.is_unfinished(id);
        let job = record.job.clone();
        self.after.insert(id, Some(record));
        let joined = i64::from(!job.state.is_terminal()) - i64::from(was_unfinished);
        if joined != 0 {
            *self.joined.entry(job.kind.clone()).or_insert(0) += joined;
        }
        Ok(job)
    }

    /// Whether the group leaves the job unfinished so far; it has been remembered.
    fn is_unfinished(&self, id: JobId) -> bool {
        let newest = match self.after.get(&id) {
            Some(after) => after.as_ref(),
            None => self.before.get(&id).and_then(Option::as_deref),
        };
        newest.is_some_and(|record| !record.job.state.is_terminal())
    }

    /// Takes a job's record out with the commit.
    pub(super) fn forget(&mut self, record: Record, mut writes: Writes) -> Result<Job, StoreError> {
        let id = record.job.id;
        self.remember(id)?;
        writes.remove(&record::job_key(id));
        if self.disk.index().webhooks.knows(id) || self.webhooks.contains_key(&id) {
            writes.remove(&record::webhook_key(id));
            self.set_webhook(id, None);
        }
        self.writes.append(writes);
        self.after.insert(id, None);
        Ok(record.job)
    }

    /// Has the index look at a job again that stays as it is, if it is there and can be read.
    pub(super) fn touch(&mut self, id: JobId) -> Result<(), StoreError> {
        match self.load(id) {
            Ok(record) => {
                self.remember(id)?;
                self.after.insert(id, Some(record));
                Ok(())
            }
            // Said at open, and by `dropforge verify`.
            Err(StoreError::NotFound | StoreError::Damaged(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets go of blobs once the commit is durable.
    pub(super) fn release(&mut self, blobs: impl IntoIterator<Item = [u8; 32]>) {
        self.released.extend(blobs);
    }

    /// Keeps what readers may see of a job until the commit is durable.
    fn remember(&mut self, id: JobId) -> Result<(), StoreError> {
        if !self.before.contains_key(&id) {
            let before = self.disk.newest(id)?;
            self.before.insert(id, before);
        }
        Ok(())
    }

    /// The same for a job that is not there yet.
    pub(super) fn remember_new(&mut self, id: JobId) {
        self.before.entry(id).or_default();
    }

    /// Makes the changes durable, then visible, then known.
    fn commit(mut self) -> Result<(), StoreError> {
        if !self.writes.is_empty() {
            {
                let mut index = self.disk.index();
                index.in_flight = std::mem::take(&mut self.before);
                index.webhooks.in_flight = std::mem::take(&mut self.webhooks_before);
            }
            let began = Instant::now();
            self.disk.commit(std::mem::take(&mut self.writes))?;
            metrics::note_commit(self.size, began.elapsed());
            let mut index = self.disk.index();
            index.webhooks.in_flight.clear();
            // Before the jobs: whether retention may have one depends on it.
            for (id, webhook) in &self.webhooks {
                let submitted = self.after.get(id).and_then(Option::as_ref).and_then(|record| record.job.owner);
                let owner = submitted.or(index.webhooks.owner_of(*id));
                index.webhooks.set(*id, owner, webhook.as_ref());
            }
            if !self.webhooks.is_empty() {
                self.disk.webhooks_due.notify_one();
            }
            let mut forgotten = Vec::new();
            for (id, before) in std::mem::take(&mut index.in_flight) {
                let Some(after) = self.after.remove(&id) else { continue };
                // Before the index lets a worker have the job: what happens to it next is told next.
                after
                    .iter()
                    .filter(|after| has_moved(before.as_deref(), after))
                    .for_each(|after| self.disk.tell(&after.job));
                index.replace(before.as_deref(), after.as_ref());
                match after {
                    Some(after) => forgotten.extend(index.recent.put(Arc::new(after))),
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
            self.disk.set_paused(std::mem::take(&mut self.paused));
            self.released.iter().for_each(|sha256| self.disk.blobs.release(sha256));
        }
        for answer in self.answers {
            // A caller that has gone away needs no answer; what it asked for is done all the same.
            match answer {
                Answer::Job(reply, job) => drop(reply.send(Ok(*job))),
                Answer::Told(told, job) => told(Ok(*job)),
                Answer::Done(reply) => drop(reply.send(Ok(()))),
                Answer::Webhook(reply, webhook) => drop(reply.send(Ok(webhook))),
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::{Content, Options, Settings};
    use super::*;

    /// Fault: the clock waits for room on behalf of jobs that expire, and never comes to what would make room.
    #[test]
    fn on_a_full_disk_expiry_is_refused_and_what_makes_room_goes_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(folder.path(), &Settings { claims_max: 1, reserve_bytes: 0 }).expect("it opens");
        let (id, now) = (JobId::now_v7(), Time(0));
        let (mut group, mut held) = (Group::new(&disk, Room::Freeing), VecDeque::new());
        let (reply, mut expired) = oneshot::channel();
        group.take(Change::Expire { id, now, reply }, &mut held);
        assert!(matches!(expired.try_recv(), Ok(Err(StoreError::DiskFull))) && held.is_empty());
        let (reply, _paused) = oneshot::channel();
        let paused = Kind::new("a").expect("well-formed");
        group.take(Change::Pause { kind: paused, paused: true, reply }, &mut held);
        assert_eq!((group.size, held.len()), (0, 1), "others wait for room");
        let (reply, mut deleted) = oneshot::channel();
        group.take(Change::Delete { id, reply }, &mut held);
        assert!(matches!(deleted.try_recv(), Ok(Err(StoreError::NotFound))), "it was looked at");
    }

    /// Fault: many large results that end at once are one commit, larger than the room that was looked for, and it ends the store.
    #[test]
    fn a_group_takes_no_more_changes_than_there_is_room_kept_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(folder.path(), &Settings { claims_max: 1, reserve_bytes: 0 }).expect("it opens");
        let kind = Kind::new("a").expect("well-formed");
        let (sender, mut changes) = mpsc::channel(200);
        let replies: Vec<_> = (0..200)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                let content = Content::Inline(vec![7; Content::INLINE_BYTES_MAX].into());
                let input = Payload { media_type: String::new(), content };
                let job = Job::new(JobId::now_v7(), kind.clone(), Time(0));
                let new = NewJob { job, input, options: Options::default(), blobs: Vec::new(), webhook: None };
                let admission = Admission { queue_max: u64::MAX, key: None };
                let submit = Change::Submit { job: Box::new(new), admission, reply };
                assert!(sender.try_send(submit).is_ok(), "there is room for all of them");
                answer
            })
            .collect();
        let (mut held, mut groups) = (VecDeque::new(), Vec::new());
        while groups.iter().sum::<usize>() < 200 {
            let group = gather(&disk, &mut held, &mut changes);
            let bytes = group.writes.size_bytes();
            assert!(bytes < GROUP_BYTES_MAX + 2 * Content::INLINE_BYTES_MAX, "{bytes} bytes in one group");
            assert!(group.size > 0 && held.is_empty());
            groups.push(group.size);
            group.commit().expect("the disk works");
        }
        assert_eq!(groups.len(), 4, "{groups:?}");
        for mut answer in replies {
            assert!(matches!(answer.try_recv(), Ok(Ok(_))), "each is answered");
        }
    }
}
