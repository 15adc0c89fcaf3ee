//! Changes on their way to one commit; `records` is what they make of jobs, `visible` commits them and lets them be seen.
//!
//! Later changes of a group see what earlier ones did; see `changes.rs` for what each does. Readers see nothing of it before the flush.

pub(super) mod early;
mod records;
mod visible;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use self::visible::Answer;
use super::StoreError;
use super::checkpoint::StoredCheckpoint;
use super::disk::Disk;
use super::keys;
use super::record::{KeyRecord, Record};
use super::space::Room;
use super::uploads::{UploadName, UploadRecord};
use super::writer::{Change, GROUP_BYTES_MAX, GROUP_MAX, Reply};
use super::writes::Writes;
use crate::job::{JobId, JobMap, Kind, Owner, Webhook};

/// Changes on their way to one commit. Later ones see what earlier ones did; see `changes.rs` for what each does.
pub(super) struct Group<'a> {
    pub(super) disk: &'a Disk,
    /// What there was before it, which its size is bounded for.
    pub(super) room: Room,
    pub(super) writes: Writes,
    pub(super) size: usize,
    /// Who wait for it: fewer than there are changes where many came as one.
    pub(super) callers: usize,
    before: JobMap<Option<Arc<Record>>>,
    /// Jobs as this group leaves them; nothing for a deleted one.
    after: JobMap<Option<Arc<Record>>>,
    pub(super) keys: HashMap<[u8; 32], KeyRecord>,
    /// Checkpoints that the group saves, and those it takes away.
    pub(super) checkpoints: JobMap<Option<StoredCheckpoint>>,
    /// Uploads as this group leaves them; nothing for one that goes.
    pub(super) uploads: HashMap<UploadName, Option<UploadRecord>>,
    /// Webhooks as this group leaves them; nothing for one that goes.
    pub(super) webhooks: JobMap<Option<Webhook>>,
    /// The same as they were before it.
    pub(super) webhooks_before: JobMap<Option<Webhook>>,
    /// Webhooks that the group promises, by their receivers and whoever submits.
    pub(super) promised: HashMap<String, HashMap<Option<Owner>, usize>>,
    /// Kinds that the group pauses or resumes, in this order.
    pub(super) paused: Vec<(Kind, bool)>,
    /// Jobs that may have started ahead of this commit, and whose ends are not part of it so far.
    early: Vec<JobId>,
    /// Whether somebody waits for this commit to go on.
    is_awaited: bool,
    /// Whom to wake once new jobs of it are durable.
    workers: Vec<Arc<Notify>>,
    released: Vec<[u8; 32]>,
    answers: Vec<Answer>,
}

impl<'a> Group<'a> {
    /// An empty group with space for so many changes.
    pub(super) fn new(disk: &'a Disk, room: Room, changes: usize) -> Self {
        let space = || JobMap::with_capacity_and_hasher(changes, Default::default());
        Self {
            disk,
            room,
            writes: Writes::with_capacity(changes),
            size: 0,
            callers: 0,
            before: space(),
            after: space(),
            keys: HashMap::new(),
            checkpoints: JobMap::default(),
            uploads: HashMap::new(),
            webhooks: JobMap::default(),
            webhooks_before: JobMap::default(),
            promised: HashMap::new(),
            paused: Vec::new(),
            early: Vec::new(),
            is_awaited: false,
            workers: Vec::new(),
            released: Vec::new(),
            answers: Vec::with_capacity(changes),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        // Room was looked for once, for a group no larger than this.
        self.size >= GROUP_MAX || self.writes.size_bytes() >= GROUP_BYTES_MAX
    }

    /// Adds a change if there is room for it; otherwise it is held, or refused where whoever asked goes on without.
    pub(super) fn take(&mut self, change: Change, held: &mut VecDeque<Change>) {
        match change {
            change if change.fits(self.room) => self.add(change),
            // The clock asks again, and what makes room comes behind this: it must not wait for it.
            Change::Expire { reply, .. } | Change::Retry { reply, .. } => drop(reply.send(Err(StoreError::DiskFull))),
            // Of the first, what it is about is held.
            Change::Settle { reply } | Change::Checkpoint { reply, .. } | Change::KeepUpload { reply, .. } => {
                drop(reply.send(Err(StoreError::DiskFull)));
            }
            change => held.push_back(change),
        }
    }

    fn add(&mut self, change: Change) {
        self.size += change.size();
        self.callers += 1;
        let (reply, result) = match change {
            Change::Submit { job, reply } => (reply, self.submit(job).map(|record| record.job.clone())),
            Change::SubmitAll { jobs, reply } => {
                let accepted = self.submit_all(jobs);
                return self.answers.push(Answer::Accepted(reply, accepted));
            }
            Change::Cancel { id, progress, now, reply } => (reply, self.cancel(id, progress, now)),
            Change::Retry { id, queue_max, reply } => (reply, self.retry(id, queue_max)),
            Change::Expire { id, now, reply } => (reply, self.expire(id, now)),
            Change::Judge { id, charge, now, reply } => (reply, self.judge(id, charge, now)),
            Change::DropContent { id, reply } => (reply, self.drop_content(id)),
            Change::Delete { id, reply } => (reply, self.delete(id)),
            Change::Finish { id, token, attempt, told } => {
                self.early.retain(|early| *early != id);
                return match self.finish(id, token, *attempt) {
                    Ok(job) => self.answers.push(Answer::Told(told, Box::new(job))),
                    Err(refusal) => told(Err(refusal)),
                };
            }
            Change::Settle { reply } => {
                // Whoever asks goes on after the flush, and what could have ended before it is not worth another wait.
                self.is_awaited = true;
                return self.answers.push(Answer::Done(reply));
            }
            Change::Judged { opens, reply } => return self.note(keys::JUDGED_KEY, &opens, reply),
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

    /// Lets go of blobs once the commit is durable.
    pub(super) fn release(&mut self, blobs: impl IntoIterator<Item = [u8; 32]>) {
        self.released.extend(blobs);
    }
}
