//! Blobs that clients have uploaded, and which jobs' inputs name them.
//!
//! An upload has a record for each who uploaded it, until its time is over and no job names it; a job's use of a blob
//! has a record as long as the job's content. Each record is a reference, so the file stays as long as one of them does.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::group::Group;
use super::keys::{upload_key, use_key, use_prefix};
use super::record::{self};
use super::stored::Stored;
use super::writer::Change;
use super::writes::Writes;
use super::{Content, Payload, Store, StoreError};
use crate::job::JobId;
use crate::time::Time;

/// Uploads kept at a time, of all owners together.
pub const UPLOADS_MAX: usize = 100_000;
/// Longest name of an owner, in bytes.
const OWNER_BYTES_MAX: usize = 255;
/// Uploads looked at in one round of sweeping.
const SWEEP_MAX: usize = 200;
/// An upload that a job names is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// An upload's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadRecord {
    /// Who may read it and name it; empty where nobody is told from another.
    pub(super) owner: String,
    pub(super) stored: Stored,
    pub(super) kept_until: Time,
}

/// An upload: which bytes, and whose.
pub(super) type UploadName = ([u8; 32], String);

/// What one owner may keep at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Uploads.
    pub uploads_max: u64,
    /// Bytes of all of them together.
    pub bytes_max: u64,
}

/// What memory knows of uploads; rebuilt at open.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    /// Only owners that have any.
    owners: HashMap<String, Owned>,
    uses: HashMap<[u8; 32], u64>,
}

/// The uploads of one owner.
#[derive(Debug, Default)]
struct Owned {
    kept: HashMap<[u8; 32], (Time, u64)>,
    by_time: BTreeSet<(Time, [u8; 32])>,
    bytes: u64,
}

impl Owned {
    fn forget(&mut self, sha256: &[u8; 32]) {
        if let Some((until, size)) = self.kept.remove(sha256) {
            self.by_time.remove(&(until, *sha256));
            self.bytes = self.bytes.saturating_sub(size);
        }
    }
}

impl Uploads {
    /// Notes until when an upload of this size is kept.
    pub(super) fn keep(&mut self, (sha256, owner): UploadName, size: u64, until: Time) {
        let owned = self.owners.entry(owner).or_default();
        owned.forget(&sha256);
        owned.kept.insert(sha256, (until, size));
        owned.by_time.insert((until, sha256));
        owned.bytes = owned.bytes.saturating_add(size);
    }

    fn forget(&mut self, (sha256, owner): &UploadName) {
        let Some(owned) = self.owners.get_mut(owner) else { return };
        owned.forget(sha256);
        if owned.kept.is_empty() {
            self.owners.remove(owner);
        }
    }

    /// Refuses one more upload, of this size, to an owner or to everybody.
    fn check(&self, owner: &str, size: u64, share: Share) -> Result<(), StoreError> {
        if self.owners.values().map(|owned| owned.kept.len()).sum::<usize>() >= UPLOADS_MAX {
            return Err(StoreError::TooManyUploads);
        }
        let (count, bytes, next) = match self.owners.get(owner) {
            Some(owned) => (owned.kept.len() as u64, owned.bytes, owned.by_time.first().map(|(until, _)| *until)),
            None => (0, 0, None),
        };
        if count < share.uploads_max && bytes.saturating_add(size) <= share.bytes_max {
            Ok(())
        } else {
            // One that no share has room for never fits, however long it waits.
            let frees_at = next.filter(|_| size <= share.bytes_max);
            Err(StoreError::ShareFull { share, frees_at })
        }
    }

    /// Counts a job that names the blob.
    pub(super) fn begin_use(&mut self, sha256: [u8; 32]) {
        *self.uses.entry(sha256).or_insert(0) += 1;
    }

    pub(super) fn end_use(&mut self, sha256: &[u8; 32]) {
        if let Some(count) = self.uses.get_mut(sha256) {
            *count -= 1;
            if *count == 0 {
                self.uses.remove(sha256);
            }
        }
    }

    /// Up to `most` uploads whose time is over and that no job names.
    fn overdue(&mut self, now: Time, most: usize) -> Vec<UploadName> {
        let mut overdue = Vec::new();
        for (owner, Owned { kept, by_time, .. }) in &mut self.owners {
            let left = most.saturating_sub(overdue.len());
            let over: Vec<_> = by_time.iter().take_while(|(until, _)| *until <= now).take(left).copied().collect();
            for (until, sha256) in over {
                if self.uses.contains_key(&sha256) {
                    let later = now.after(LOOK_AGAIN);
                    by_time.remove(&(until, sha256));
                    by_time.insert((later, sha256));
                    kept.entry(sha256).and_modify(|(until, _)| *until = later);
                } else {
                    overdue.push((sha256, owner.clone()));
                }
            }
        }
        overdue
    }
}

impl Store {
    /// Keeps an upload for its owner until then, and as long as a job names it. An earlier upload of the same bytes by the
    /// same owner is the same one, and the bytes are kept once for all owners, but count in the share of each. Durable when this
    /// returns.
    pub async fn keep_upload(
        &self,
        upload: Payload,
        owner: &str,
        kept_until: Time,
        share: Share,
    ) -> Result<(), StoreError> {
        if self.is_short_of_room() {
            return Err(StoreError::DiskFull);
        }
        let owner = owner.to_owned();
        self.change(|reply| Change::KeepUpload { upload, owner, kept_until, share, reply }).await
    }

    /// An upload of this owner that is still kept. Whoever owns a job that names a blob has uploaded it, and it stays.
    pub fn uploaded(&self, sha256: [u8; 32], owner: &str) -> Result<Option<Payload>, StoreError> {
        let key = upload_key(&sha256, owner);
        let record = record::read::<UploadRecord>(&self.disk.db, &key)?;
        record.map(|record| self.payload_of(sha256, record)).transpose()
    }

    /// An upload that is still kept, whoever's it is.
    pub fn uploaded_by_anybody(&self, sha256: [u8; 32]) -> Result<Option<Payload>, StoreError> {
        let Some(entry) = self.disk.db.scan_prefix(upload_key(&sha256, "")).next() else { return Ok(None) };
        self.payload_of(sha256, record::decode(&entry?.1)?).map(Some)
    }

    fn payload_of(&self, sha256: [u8; 32], UploadRecord { stored, .. }: UploadRecord) -> Result<Payload, StoreError> {
        let content = Content::Blob(self.disk.blobs.hold(sha256, stored.size)?);
        Ok(Payload { media_type: stored.media_type, content })
    }

    /// Lets go of uploads whose time is over and that no job names, and answers whether there may be more.
    pub async fn sweep_uploads(&self, now: Time) -> Result<bool, StoreError> {
        let overdue = self.disk.index().uploads.overdue(now, SWEEP_MAX);
        let more = overdue.len() == SWEEP_MAX;
        if !overdue.is_empty() {
            self.change(|reply| Change::DropUploads { overdue, now, reply }).await?;
        }
        Ok(more)
    }

    /// The blobs a job's input names.
    pub(super) fn read_uses(&self, id: JobId, named: Option<u32>) -> Result<Vec<Content>, StoreError> {
        if named == Some(0) {
            return Ok(Vec::new());
        }
        let uses = self.disk.db.scan_prefix(use_prefix(id)).map(|entry| {
            let stored: Stored = record::decode(&entry?.1)?;
            let sha256 = stored.blob().ok_or_else(|| StoreError::damaged("a blob in use has no address"))?;
            Ok(Content::Blob(self.disk.blobs.hold(sha256, stored.size)?))
        });
        uses.collect()
    }
}

impl Group<'_> {
    pub(super) fn keep_upload(
        &mut self,
        upload: &Payload,
        owner: String,
        until: Time,
        share: Share,
    ) -> Result<(), StoreError> {
        if owner.len() > OWNER_BYTES_MAX {
            return Err(StoreError::Refused(format!("an owner's name has at most {OWNER_BYTES_MAX} bytes")));
        }
        let stored = Stored::of(&upload.media_type, &upload.content);
        let sha256 = stored.blob().ok_or_else(|| StoreError::Refused("an upload has to come as a blob".to_owned()))?;
        let name = (sha256, owner);
        let before = self.upload(&name)?;
        if before.is_none() {
            self.disk.index().uploads.check(&name.1, stored.size, share)?;
        }
        let size = stored.size;
        let kept_until = before.as_ref().map_or(until, |before| before.kept_until.max(until));
        let record = UploadRecord { owner: name.1.clone(), stored, kept_until };
        self.writes.record(&upload_key(&sha256, &name.1), &record)?;
        if before.is_none() {
            self.disk.blobs.retain(sha256);
        }
        self.uploads.insert(name.clone(), Some(record));
        self.disk.index().uploads.keep(name, size, kept_until);
        Ok(())
    }

    pub(super) fn drop_uploads(&mut self, overdue: &[UploadName], now: Time) -> Result<(), StoreError> {
        for name @ (sha256, owner) in overdue {
            let used = self.disk.index().uploads.uses.contains_key(sha256);
            // Uploaded again, or named by a job, since it was found overdue.
            let stays = used
                || match self.upload(name) {
                    Ok(upload) => upload.is_none_or(|upload| upload.kept_until > now),
                    // Its time is over as far as anybody knows, and nobody could read it.
                    Err(StoreError::Damaged(_)) => false,
                    Err(error) => return Err(error),
                };
            if !stays {
                self.writes.remove(&upload_key(sha256, owner));
                self.uploads.insert(name.clone(), None);
                self.disk.index().uploads.forget(name);
                self.release([*sha256]);
            }
        }
        Ok(())
    }

    /// What is known of an upload as this group leaves it so far.
    fn upload(&self, name: &UploadName) -> Result<Option<UploadRecord>, StoreError> {
        match self.uploads.get(name) {
            Some(upload) => Ok(upload.clone()),
            None => record::read(&self.disk.db, &upload_key(&name.0, &name.1)),
        }
    }

    /// Writes which blobs a new job names.
    pub(super) fn write_uses(writes: &mut Writes, id: JobId, blobs: &[Payload]) -> Result<(), StoreError> {
        for blob in blobs {
            let stored = Stored::of(&blob.media_type, &blob.content);
            let sha256 = stored.blob().ok_or_else(|| StoreError::Refused("a named blob has to be one".to_owned()))?;
            writes.record(&use_key(id, &sha256), &stored)?;
        }
        Ok(())
    }

    /// Takes away which blobs a job named, and answers those to let go of. One whose record is damaged was not counted at
    /// the open.
    pub(super) fn remove_uses(&self, id: JobId, writes: &mut Writes) -> Result<Vec<[u8; 32]>, StoreError> {
        let mut named = Vec::new();
        for entry in self.disk.db.scan_prefix(use_prefix(id)) {
            let (key, sealed) = entry?;
            writes.remove(&key);
            named.extend(record::decode::<Stored>(&sealed).ok().and_then(|stored| stored.blob()));
        }
        Ok(named)
    }
}
