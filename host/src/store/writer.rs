//! The one thread that decides what changes, and commits it.
//!
//! It takes every change that is waiting (up to [`GROUP_MAX`], and about [`GROUP_BYTES_MAX`] of what they write), commits them, each whole or
//! not at all, with one flush, and only then tells everybody. Costs per change shrink as the load grows, and since nobody else decides,
//! every check (does this claim still hold, is the queue full) is a plain `if`. While many share a flush, the next one waits for an instant, so
//! that more do.
//!
//! Group commit is an old idea; DeWitt et al., "Implementation Techniques for Main Memory Database Systems" (1984),
//! describe it well.
//!
//! A job may start while its own submit is still to be flushed, or on its way to here (`incoming`), and the flush is held back for an
//! instant if jobs end as quickly as that (`hold`): then one flush is all there is between a submit and its result, and one write. Until
//! it is done nobody sees the job, but for how many there are of its kind, and nothing leaves the host for it: the attempt waits for it (`Store::settle`) where something would.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoint;
use super::disk::Disk;
use super::group::Group;
use super::hold::Hold;
use super::incoming::{Incoming, Whole};
use super::space::{ROOM_EVERY, Room};
use super::uploads::{Share, UploadName};
use super::webhooks::WebhookTry;
use super::{Accepted, Attempt, Payload, StoreError, Token};
use crate::job::{Job, JobId, Kind, Progress, Webhook};
use crate::time::Time;

/// More changes than this in one flush gain nothing.
pub(super) const GROUP_MAX: usize = 256;
/// A group with so many bytes to write takes no more changes. Together with the largest change, a finish with some hundred KiB of small
/// results, it stays well below the room that is kept for one group.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;
/// A flush that so many callers shared is followed by others like it, so waiting for company pays. After one that fewer
/// shared, as where clients are few, nobody waits.
const COMPANY: usize = 8;
/// So long, and so often at the most, until as many have come as shared the last one. What they cost each other by coming one by one is more
/// than the flush: each is woken and wakes others. PostgreSQL knows the figures as `commit_siblings` and `commit_delay`. With twice about half
/// of 64 clients share a flush, and the others are served while it is written. Four times brings most of them into one, and then either they
/// wait for the disk or the disk for them: a tenth fewer submits. Once gives no more of those, and up to a tenth fewer waits for results.
const LINGER: Duration = Duration::from_micros(200);
const LINGERS_MAX: usize = 2;
/// Changes that wait for room while others go before them; more wait where they come from.
const HELD_MAX: usize = 4_096;

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;
/// Called with what became of a change, on the writer's own thread: everybody waits for it, so it must be quick. Dropped without a
/// call if the store fails.
pub type Told = Box<dyn FnOnce(Result<Job, StoreError>) + Send>;

/// What the rest of the store asks the writer to do.
pub(super) enum Change {
    Submit { job: Incoming, reply: Reply<Job> },
    SubmitAll { jobs: Vec<Incoming>, reply: Reply<Vec<Result<Accepted, StoreError>>> },
    Finish { id: JobId, token: Token, attempt: Box<Attempt>, told: Told },
    Checkpoint { id: JobId, token: Token, checkpoint: Box<Checkpoint>, reply: Reply<()> },
    Cancel { id: JobId, progress: Option<Progress>, now: Time, reply: Reply<Job> },
    Retry { id: JobId, queue_max: u64, reply: Reply<Job> },
    Expire { id: JobId, now: Time, reply: Reply<Job> },
    Judge { id: JobId, charge: Option<u32>, now: Time, reply: Reply<Job> },
    Judged { opens: u64, reply: Reply<()> },
    Settle { reply: Reply<()> },
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
    let (mut held, mut hold) = (VecDeque::new(), Hold::new());
    loop {
        if held.is_empty() {
            let Some(first) = changes.blocking_recv() else { break };
            held.push_back(first);
        }
        let mut group = gather(disk, &mut held, &mut changes);
        hold.fill(&mut group, &mut held, &mut changes);
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
        let callers = group.callers;
        if let Err(error) = group.commit() {
            // What the disk holds is unknown now, and a second flush could claim success for pages the kernel already dropped. So nobody
            // is told anything, and it ends here.
            tracing::error!(%error, "a commit failed; the store is closed to keep what is on disk as it is");
            disk.failed.send_replace(Some(error.to_string()));
            return;
        }
        // Those who were just told come back at once, as often as not; without this they would find the next flush under way, and
        // half of them would share each from then on.
        let mut lingers = if callers >= COMPANY { LINGERS_MAX } else { 0 };
        while lingers > 0 && held.len() + changes.len() < callers {
            thread::sleep(LINGER);
            lingers -= 1;
        }
    }
    if let Err(error) = disk.bring_all() {
        tracing::warn!(%error, "not everything came to the database; the journal has it, and the next start goes on from there");
    }
}

/// Takes up the changes there is room for. After a write that found no room nothing goes on, so none is started without. The others
/// are held: what was accepted waits there for room, and what makes room goes before it.
fn gather<'a>(disk: &'a Disk, held: &mut VecDeque<Change>, changes: &mut mpsc::Receiver<Change>) -> Group<'a> {
    let room = disk.space.room();
    let waiting = (held.len() + changes.len()).min(GROUP_MAX);
    let mut group = Group::new(disk, room, waiting);
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
    /// How many jobs it is about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::SubmitAll { jobs, .. } => jobs.len(),
            _ => 1,
        }
    }

    /// Whether it may be written with so much room.
    pub(super) fn fits(&self, room: Room) -> bool {
        match self {
            // There was room when it was accepted, so it is owed a record like any outcome.
            Self::Submit { job: Incoming::Whole(Whole { has_begun: true, .. }), .. } => room < Room::Freeing,
            // Others refuse themselves where there is no room for new jobs, and write nothing then.
            Self::Submit { .. } | Self::SubmitAll { .. } => true,
            // The judgement is a few small records, and before it is passed no job runs.
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

#[cfg(test)]
mod tests {
    use super::super::{Admission, Content, NewJob, Options, Settings};
    use super::*;

    /// Fault: the clock waits for room on behalf of jobs that expire, and never comes to what would make room.
    #[test]
    fn on_a_full_disk_expiry_is_refused_and_what_makes_room_goes_on() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(folder.path(), &Settings { claims_max: 1, reserve_bytes: 0 }).expect("it opens");
        let (id, now) = (JobId::now_v7(), Time(0));
        let (mut group, mut held) = (Group::new(&disk, Room::Freeing, 1), VecDeque::new());
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
                let admission = Admission { queue_max: u64::MAX, key: None, workers: None };
                let submit = Change::Submit { job: Incoming::new(new, admission), reply };
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
