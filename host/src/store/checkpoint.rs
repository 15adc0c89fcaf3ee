//! What an attempt leaves for the next attempt of the same job.
//!
//! A record and a payload under the job's id, apart from the job's own record: saving is no move of the job, so that its
//! claim goes on and nobody is told. The claim has to hold, and the end of the job takes the checkpoint with it.

use serde::{Deserialize, Serialize};

use super::blobs::Content;
use super::group::Group;
use super::keys::{self, Part};
use super::record::{self};
use super::space::Room;
use super::stored::{Place, Stored};
use super::writer::Change;
use super::writes::Writes;
use super::{Store, StoreError, Token};
use crate::job::JobId;

/// Bytes of one checkpoint. A job has one, so this is also what checkpoints take on the disk, per unfinished job.
pub const CHECKPOINT_BYTES_MAX: usize = 1 << 20;

/// State of a job between two of its attempts.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Up to [`CHECKPOINT_BYTES_MAX`] bytes, exactly as they were saved.
    pub content: Content,
    /// Digest of the plugin file that saved them, in hexadecimal digits.
    pub plugin_sha256: String,
}

/// A checkpoint's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredCheckpoint {
    pub(super) plugin_sha256: String,
    pub(super) stored: Stored,
}

impl Store {
    /// Keeps the state of a claimed job for its next attempt, in place of what was kept before. Durable when this returns.
    /// Fails with [`StoreError::Fenced`] if the claim does not hold any more, and with [`StoreError::DiskFull`] where only
    /// outcomes may still be written: the old state is kept then.
    pub async fn save_checkpoint(&self, id: JobId, token: Token, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let size = checkpoint.content.size();
        if size > CHECKPOINT_BYTES_MAX as u64 {
            return Err(too_large(size));
        }
        if self.disk.space.room() != Room::Ample {
            return Err(StoreError::DiskFull);
        }
        self.change(|reply| Change::Checkpoint { id, token, checkpoint: Box::new(checkpoint), reply }).await
    }

    /// The newest checkpoint of a job, of which the index says that it has one.
    pub(super) fn checkpoint(&self, id: JobId) -> Result<Option<Checkpoint>, StoreError> {
        let kept: Option<StoredCheckpoint> = record::read(&self.disk.db, &keys::checkpoint_key(id))?;
        let Some(StoredCheckpoint { plugin_sha256, stored }) = kept else { return Ok(None) };
        let content = record::read_content(&self.disk.db, &self.disk.blobs, id, Part::Checkpoint, &stored)?;
        Ok(Some(Checkpoint { content, plugin_sha256 }))
    }
}

/// Why a checkpoint of this size is not saved.
pub(crate) fn too_large(size: u64) -> StoreError {
    StoreError::Refused(format!("a checkpoint of {size} bytes is too large; {CHECKPOINT_BYTES_MAX} bytes is the most"))
}

impl Group<'_> {
    pub(super) fn save_checkpoint(&mut self, id: JobId, token: Token, new: Checkpoint) -> Result<(), StoreError> {
        if self.is_changed(id) || !self.disk.index().holds(id, token) {
            return Err(StoreError::Fenced);
        }
        let stored = Stored::of("", &new.content);
        let kept = StoredCheckpoint { plugin_sha256: new.plugin_sha256, stored };
        let before = self.kept_checkpoint(id)?;
        let mut writes = Writes::default();
        // In this order: the new one's pieces have the names of the old one's.
        if let Some(before) = &before {
            writes.remove_stored(id, Part::Checkpoint, &before.stored);
        }
        writes.content(id, Part::Checkpoint, &new.content)?;
        writes.record(&keys::checkpoint_key(id), &kept)?;
        self.writes.append(writes);
        kept.stored.blob().into_iter().for_each(|sha256| self.disk.blobs.retain(sha256));
        self.release(before.and_then(|before| before.stored.blob()));
        self.checkpoints.insert(id, Some(kept));
        Ok(())
    }

    /// Takes the checkpoint of a job that has ended away, if it has one.
    pub(super) fn remove_checkpoint(&mut self, id: JobId, writes: &mut Writes) -> Result<(), StoreError> {
        if let Some(kept) = self.kept_checkpoint(id)? {
            writes.remove_stored(id, Part::Checkpoint, &kept.stored);
            writes.remove(&keys::checkpoint_key(id));
            self.release(kept.stored.blob());
            self.checkpoints.insert(id, None);
        }
        Ok(())
    }

    /// The job's checkpoint as this group leaves it so far.
    fn kept_checkpoint(&self, id: JobId) -> Result<Option<StoredCheckpoint>, StoreError> {
        if let Some(kept) = self.checkpoints.get(&id) {
            return Ok(kept.clone());
        }
        if !self.disk.index().checkpoints.contains(&id) {
            return Ok(None);
        }
        match record::read(&self.disk.db, &keys::checkpoint_key(id)) {
            // It must not keep the job from ending. What it named is unknown, so the most it can have named goes.
            Err(StoreError::Damaged(_)) => {
                let size = Content::INLINE_BYTES_MAX as u64;
                let stored = Stored { media_type: String::new(), size, place: Place::Chunks };
                Ok(Some(StoredCheckpoint { plugin_sha256: String::new(), stored }))
            }
            read => read,
        }
    }
}
