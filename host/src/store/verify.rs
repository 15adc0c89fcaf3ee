//! Checks a data folder: every record, every reference, every blob. Changes nothing in it: what is opened is a copy of the
//! database. Only where the disk has no room for one is the database itself opened, and sled may mend the end of its
//! log, as it would at any start.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::blobs;
use super::checkpoint::StoredCheckpoint;
use super::compact;
use super::disk::{self, CommitFile};
use super::error::StoreError;
use super::record::{self, KeyRecord, Part, Stored, StoredArtifact};
use super::untouched::Untouched;
use super::uploads::UploadRecord;
use crate::job::{JobId, Standing, State, USAGE_KEPT, Usage, Webhook};

/// Read at a time while a blob is hashed.
const CHUNK_BYTES: usize = 1 << 20;

/// What a check found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Job records that are whole.
    pub jobs: u64,
    /// Of these, by state on disk.
    pub succeeded: u64,
    /// See `succeeded`.
    pub failed: u64,
    /// See `succeeded`.
    pub cancelled: u64,
    /// Not finished.
    pub pending: u64,
    /// States of unfinished jobs that are whole.
    pub checkpoints: u64,
    /// Webhooks that are whole, delivered or not.
    pub webhooks: u64,
    /// Blobs that are whole.
    pub blobs: u64,
    /// Files that no record names; the next start deletes them. No damage.
    pub unnamed_blobs: u64,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}

/// Checks the folder and says what is wrong. `step` is called for every record with how many were looked at, of how many.
pub fn verify(path: &Path, step: impl Fn(u64, u64)) -> Result<Verdict, StoreError> {
    let folder_of = |name: &str| path.join(name).is_dir();
    // Where a compaction was killed between its two renames only the old database is there.
    if !folder_of("db") && !folder_of("db.old") {
        return Err(StoreError::damaged(format!("{} is no data folder: it has no db in it", path.display())));
    }
    let _lock = disk::lock(path)?;
    compact::mend(path)?;
    let copy = Untouched::copy(path)?;
    let db = disk::open_sled(copy.as_ref().map_or(&path.join("db"), |copy| copy.path()))?;
    let mut check = Check { db: &db, path, verdict: Verdict::default(), hashed: HashSet::new() };
    check.commits()?;
    let total = db.len() as u64;
    for (looked_at, entry) in (1u64..).zip(db.iter()) {
        let (key, sealed) = entry?;
        check.entry(&key, &sealed);
        step(looked_at, total);
    }
    check.files()?;
    Ok(check.verdict)
}

struct Check<'a> {
    db: &'a sled::Db,
    path: &'a Path,
    verdict: Verdict,
    hashed: HashSet<[u8; 32]>,
}

impl Check<'_> {
    fn problem(&mut self, what: String) {
        self.verdict.problems.push(what);
    }

    fn commits(&mut self) -> Result<(), StoreError> {
        let acknowledged = CommitFile::acknowledged_in(&self.path.join("commit"))?;
        match record::read::<u64>(self.db, record::COMMIT_KEY) {
            Ok(last) if last.unwrap_or(0) < acknowledged => self.problem(format!(
                "the database ends at commit {}, but commit {acknowledged} was acknowledged",
                last.unwrap_or(0)
            )),
            Ok(_) => {}
            Err(error) => self.problem(format!("the commit counter: {error}")),
        }
        Ok(())
    }

    fn entry(&mut self, key: &[u8], sealed: &[u8]) {
        let result = match key.first() {
            Some(b'j') => self.job(key, sealed),
            // Looked at with the job they belong to; what no job accounts for is found at the end.
            Some(b'b') => self.upload(sealed),
            Some(b'r') => self.belongs(key).and_then(|()| self.blob(&record::decode(sealed)?)),
            Some(b'p' | b'a' | b'u') => self.belongs(key),
            Some(b'c') => self.checkpoint(key, sealed),
            Some(b'w') => self.webhook(key, sealed),
            Some(b'i') => record::decode::<KeyRecord>(sealed).map(drop),
            Some(b'm') => record::decode::<u64>(sealed).map(drop),
            _ => Err(StoreError::damaged("nothing of ours has such a name")),
        };
        if let Err(error) = result {
            self.problem(format!("record {}: {error}", hex::encode(key)));
        }
    }

    /// Job records sort after artifacts and before payloads, so an owner is looked up rather than remembered.
    fn belongs(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let id = key.get(1..17).and_then(|id| JobId::from_slice(id).ok());
        let id = id.ok_or_else(|| StoreError::damaged("its name is too short"))?;
        match record::read_job(self.db, id) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(StoreError::damaged(format!("it belongs to job {id}, which is not there"))),
            // Said where the job itself is looked at.
            Err(_) => Ok(()),
        }
    }

    fn checkpoint(&mut self, key: &[u8], sealed: &[u8]) -> Result<(), StoreError> {
        self.belongs(key)?;
        let kept: StoredCheckpoint = record::decode(sealed)?;
        let id =
            record::checkpoint_id(key).ok_or_else(|| StoreError::damaged("its name is not that of a checkpoint"))?;
        let owner = record::read_job(self.db, id).unwrap_or_default();
        if owner.is_some_and(|owner| owner.job.state.is_terminal()) {
            return Err(StoreError::damaged(format!("job {id} has ended, and its checkpoint is still there")));
        }
        self.payload(id, Part::Checkpoint, &kept.stored)?;
        self.verdict.checkpoints += 1;
        Ok(())
    }

    fn webhook(&mut self, key: &[u8], sealed: &[u8]) -> Result<(), StoreError> {
        self.belongs(key)?;
        let webhook: Webhook = record::decode(sealed)?;
        let id = record::webhook_id(key).ok_or_else(|| StoreError::damaged("its name is not that of a webhook"))?;
        let ended = record::read_job(self.db, id).unwrap_or_default().map(|owner| owner.job.state.is_terminal());
        if ended.is_some_and(|ended| ended == (webhook.standing == Standing::Waiting)) {
            return Err(StoreError::damaged(format!("job {id} and its webhook contradict each other")));
        }
        self.verdict.webhooks += 1;
        Ok(())
    }

    fn job(&mut self, key: &[u8], sealed: &[u8]) -> Result<(), StoreError> {
        let record = record::decode_job(sealed)?;
        let id = record.job.id;
        if record::job_id(key) != Some(id) {
            return Err(StoreError::damaged(format!("it is filed under another id than its own, {id}")));
        }
        self.verdict.jobs += 1;
        match record.job.state {
            State::Succeeded => self.verdict.succeeded += 1,
            State::Failed => self.verdict.failed += 1,
            State::Cancelled => self.verdict.cancelled += 1,
            State::Running => return Err(StoreError::damaged("a running job was written as such")),
            State::Scheduled | State::Blocked | State::Queued => self.verdict.pending += 1,
        }
        let finished = record.job.finished_at.is_some();
        if finished != record.job.state.is_terminal() {
            return Err(StoreError::damaged("its state and its time of finishing contradict each other"));
        }
        for number in record.usages.saturating_sub(USAGE_KEPT as u32)..record.usages {
            let usage: Option<Usage> = record::read(self.db, &record::usage_key(id, number))?;
            usage.ok_or_else(|| StoreError::damaged(format!("usage report {number} is missing")))?;
        }
        if record.content_gone {
            return Ok(());
        }
        self.payload(id, Part::Input, &record.input)?;
        record::read_bytes(self.db, id, Part::Options, u64::from(record.options_bytes))?;
        let mut bytes = record.input.size + u64::from(record.options_bytes);
        if let Some(output) = &record.output {
            self.payload(id, Part::Output, output)?;
            bytes += output.size;
        } else if record.job.state == State::Succeeded {
            return Err(StoreError::damaged("it succeeded but has no result"));
        }
        for number in 0..record.artifacts {
            let artifact: Option<StoredArtifact> = record::read(self.db, &record::artifact_key(id, number))?;
            let artifact = artifact.ok_or_else(|| StoreError::damaged(format!("artifact {number} is missing")))?;
            self.payload(id, Part::Artifact(number), &artifact.stored)?;
            bytes += artifact.stored.size;
        }
        if bytes == record.bytes { Ok(()) } else { Err(StoreError::damaged("its sizes do not add up")) }
    }

    fn upload(&mut self, sealed: &[u8]) -> Result<(), StoreError> {
        let UploadRecord { stored, .. } = record::decode(sealed)?;
        self.blob(&stored)
    }

    fn payload(&mut self, id: JobId, part: Part, stored: &Stored) -> Result<(), StoreError> {
        match stored.blob {
            None => record::read_bytes(self.db, id, part, stored.size).map(drop),
            Some(_) => self.blob(stored),
        }
    }

    fn blob(&mut self, stored: &Stored) -> Result<(), StoreError> {
        let sha256 = stored.blob.ok_or_else(|| StoreError::damaged("a blob has no address"))?;
        // Many jobs may share a blob; hashing it once is enough.
        if !self.hashed.insert(sha256) {
            return Ok(());
        }
        let name = hex::encode(sha256);
        let damaged = |what: String| StoreError::damaged(format!("blob {name}: {what}"));
        let path = self.path.join("blobs").join(&name);
        let opened = blobs::open_file(&path, stored.size, sha256);
        let mut reader = opened.map_err(|error| damaged(error.to_string()))?;
        // Read to its end it is whole; see there.
        while !reader.next_chunk(CHUNK_BYTES).map_err(|error| StoreError::damaged(error.to_string()))?.is_empty() {}
        self.verdict.blobs += 1;
        Ok(())
    }

    fn files(&mut self) -> Result<(), StoreError> {
        for entry in fs::read_dir(self.path.join("blobs"))? {
            let name = entry?.file_name();
            let mut sha256 = [0; 32];
            match hex::decode_to_slice(name.as_encoded_bytes(), &mut sha256) {
                Ok(()) if self.hashed.contains(&sha256) => {}
                Ok(()) => self.verdict.unnamed_blobs += 1,
                Err(_) => self.problem(format!("blobs/{} is not ours", name.to_string_lossy())),
            }
        }
        Ok(())
    }
}
