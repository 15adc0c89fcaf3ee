//! A job handed to a worker: whose turn it is, then all that an attempt needs, read from the disk.
//!
//! The first costs no look at the disk, and nothing here a flush; what a claim promises is kept in memory, and ends with the
//! process. A job may be claimed before its own submit is durable; then nobody hears of the claim before that is done.

use super::keys::Part;
use super::record::{self, Record};
use super::{Claimed, HandedOut, Options, Payload, Store, StoreError, Token};
use crate::job::{JobId, Kind};
use crate::time::Time;

impl Store {
    /// Hands out up to `total` ready jobs, at most so many of each kind, kinds in the order given. Costs no flush.
    pub fn claim(&self, free: &[(Kind, usize)], total: usize, now: Time) -> Vec<Claimed> {
        self.hand_out(free, total, now).into_iter().filter_map(|job| self.read_claimed(job)).collect()
    }

    /// The first half of a [`claim`](Self::claim): whose turn it is, without a look at a job's records. Each is to be read next.
    pub fn hand_out(&self, free: &[(Kind, usize)], total: usize, now: Time) -> Vec<HandedOut> {
        // What could not be recorded at its end is better not begun.
        if self.is_out_of_room() {
            return Vec::new();
        }
        self.disk.index().claim(free, total, now)
    }

    /// The second half: the job and all it needs, from the disk. Nothing if it cannot be read or was taken away meanwhile.
    pub fn read_claimed(&self, HandedOut { id, token, .. }: HandedOut) -> Option<Claimed> {
        let (known, is_suspect, has_checkpoint) = {
            let index = self.disk.index();
            // Who has claimed a job may have it before it is durable.
            let known = index.early(id).or_else(|| index.recent.get(id)).cloned();
            (known, index.is_suspect(id), index.checkpoints.contains(&id))
        };
        let read = || self.disk.load(id).and_then(|record| record.ok_or(StoreError::NotFound));
        let record = match known.map_or_else(read, Ok) {
            Ok(record) => record,
            Err(error) => {
                let mut index = self.disk.index();
                // Unless it was deleted just now, or is another's already.
                if index.holds(id, token) {
                    tracing::error!(job.id = %id, %error, "a job cannot be read and is set aside; it stays on disk as it is");
                    index.set_aside(id);
                }
                return None;
            }
        };
        let (input, blobs) = match self.read_uses(id, record.named) {
            Ok(blobs) => (self.read_input(&record), blobs),
            Err(error) => (Err(error), Vec::new()),
        };
        // Only an attempt of the job saves one, so that none comes up meanwhile.
        let checkpoint = if has_checkpoint { self.checkpoint(id) } else { Ok(None) };
        let mut job = record.job.clone();
        let mut forgotten = None;
        // Without the index: its file lies on the disk, and where that hangs so does the thread that writes to it.
        let mark = self.disk.in_flight.slot(id, is_suspect);
        let mut index = self.disk.index();
        index.overlay(&mut job);
        let is_early = index.note_begun(id);
        // Unless it was cancelled just now: then that was told already and is the last there is to tell.
        if !is_early && index.holds(id, token) {
            self.disk.tell(&job);
            // Its end will be looked up by this. Nobody changes it while the claim holds, unless that is being flushed now.
            if !index.in_flight.contains_key(&id) {
                forgotten = index.recent.put(record);
            }
        }
        drop(index);
        drop(forgotten);
        Some(Claimed { job, token, input, blobs, is_early, checkpoint, mark })
    }

    /// Whether a claim still holds: nobody has ended the job, and nobody else has it.
    pub fn holds(&self, id: JobId, token: Token) -> bool {
        self.disk.index().holds(id, token)
    }

    fn read_input(&self, record: &Record) -> Result<(Payload, Options), StoreError> {
        let Record { job, input, .. } = record;
        let content = record::read_content(&self.disk.db, &self.disk.blobs, job.id, Part::Input, input)?;
        Ok((Payload { media_type: input.media_type.clone(), content }, record.read_options(&self.disk.db)?))
    }
}
