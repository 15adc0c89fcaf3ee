//! Blobs that clients have uploaded, and which jobs' inputs name them.
//!
//! An upload has a record for each who uploaded it, until its time is over and no job names it; a job's use of a blob has a record as long as the
//! job's content. Each record is a reference, so the file stays as long as one of them does.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{self, Stored, upload_key, use_key, use_prefix};
use super::writer::{Change, Group};
use super::writes::Writes;
use super::{Content, Payload, Store, StoreError};
use crate::job::JobId;
use crate::time::Time;

/// Uploads kept at a time.
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

/// What memory knows of uploads; rebuilt at open.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    kept: HashMap<UploadName, Time>,
    by_time: BTreeSet<(Time, UploadName)>,
    uses: HashMap<[u8; 32], u64>,
}

impl Uploads {
    /// Notes until when an upload is kept.
    pub(super) fn keep(&mut self, name: UploadName, until: Time) {
        if let Some(before) = self.kept.insert(name.clone(), until) {
            self.by_time.remove(&(before, name.clone()));
        }
        self.by_time.insert((until, name));
    }

    fn forget(&mut self, name: &UploadName) {
        if let Some(until) = self.kept.remove(name) {
            self.by_time.remove(&(until, name.clone()));
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

    /// Uploads whose time is over and that no job names.
    fn overdue(&mut self, now: Time, most: usize) -> Vec<UploadName> {
        let over: Vec<_> = self.by_time.iter().take_while(|(until, _)| *until <= now).take(most).cloned().collect();
        let is_used = |(_, (sha256, _)): &(Time, UploadName)| self.uses.contains_key(sha256);
        let (used, unused): (Vec<_>, Vec<_>) = over.into_iter().partition(is_used);
        used.into_iter().for_each(|(_, name)| self.keep(name, now.after(LOOK_AGAIN)));
        unused.into_iter().map(|(_, name)| name).collect()
    }
}

impl Store {
    /// Keeps an upload for its owner until then, and as long as a job names it. An earlier upload of the same bytes by the
    /// same owner is the same one, and the bytes are kept once for all owners. Durable when this returns.
    pub async fn keep_upload(&self, upload: Payload, owner: &str, kept_until: Time) -> Result<(), StoreError> {
        if self.is_short_of_room() {
            return Err(StoreError::DiskFull);
        }
        let owner = owner.to_owned();
        self.change(|reply| Change::KeepUpload { upload, owner, kept_until, reply }).await
    }

    /// An upload of this owner that is still kept. Whoever owns a job that names a blob has uploaded it, and it stays.
    pub fn uploaded(&self, sha256: [u8; 32], owner: &str) -> Result<Option<Payload>, StoreError> {
        let key = upload_key(&sha256, owner);
        let Some(record) = record::read::<UploadRecord>(&self.disk.db, &key)? else { return Ok(None) };
        let content = Content::Blob(self.disk.blobs.hold(sha256, record.stored.size)?);
        Ok(Some(Payload { media_type: record.stored.media_type, content }))
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
    pub(super) fn read_uses(&self, id: JobId) -> Result<Vec<Content>, StoreError> {
        let uses = self.disk.db.scan_prefix(use_prefix(id)).map(|entry| {
            let stored: Stored = record::decode(&entry?.1)?;
            let sha256 = stored.blob.ok_or_else(|| StoreError::damaged("a blob in use has no address"))?;
            Ok(Content::Blob(self.disk.blobs.hold(sha256, stored.size)?))
        });
        uses.collect()
    }
}

impl Group<'_> {
    pub(super) fn keep_upload(&mut self, upload: &Payload, owner: String, until: Time) -> Result<(), StoreError> {
        if owner.len() > OWNER_BYTES_MAX {
            return Err(StoreError::Refused(format!("an owner's name has at most {OWNER_BYTES_MAX} bytes")));
        }
        let stored = Stored::of(&upload.media_type, &upload.content);
        let sha256 = stored.blob.ok_or_else(|| StoreError::Refused("an upload has to come as a blob".to_owned()))?;
        let name = (sha256, owner);
        let before = self.upload(&name)?;
        if before.is_none() && self.disk.index().uploads.kept.len() >= UPLOADS_MAX {
            return Err(StoreError::TooManyUploads);
        }
        let kept_until = before.as_ref().map_or(until, |before| before.kept_until.max(until));
        let record = UploadRecord { owner: name.1.clone(), stored, kept_until };
        self.writes.record(&upload_key(&sha256, &name.1), &record)?;
        if before.is_none() {
            self.disk.blobs.retain(sha256);
        }
        self.uploads.insert(name.clone(), Some(record));
        self.disk.index().uploads.keep(name, kept_until);
        Ok(())
    }

    pub(super) fn drop_uploads(&mut self, overdue: &[UploadName], now: Time) -> Result<(), StoreError> {
        for name @ (sha256, owner) in overdue {
            let used = self.disk.index().uploads.uses.contains_key(sha256);
            // Uploaded again, or named by a job, since it was found overdue.
            let stays = used || self.upload(name)?.is_none_or(|upload| upload.kept_until > now);
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
            let sha256 = stored.blob.ok_or_else(|| StoreError::Refused("a named blob has to be one".to_owned()))?;
            writes.record(&use_key(id, &sha256), &stored)?;
        }
        Ok(())
    }

    /// Takes away which blobs a job named, and answers those to let go of. One whose record is damaged was not counted at the open.
    pub(super) fn remove_uses(&self, id: JobId, writes: &mut Writes) -> Result<Vec<[u8; 32]>, StoreError> {
        let mut named = Vec::new();
        for entry in self.disk.db.scan_prefix(use_prefix(id)) {
            let (key, sealed) = entry?;
            writes.remove(&key);
            named.extend(record::decode::<Stored>(&sealed).ok().and_then(|stored| stored.blob));
        }
        Ok(named)
    }
}
