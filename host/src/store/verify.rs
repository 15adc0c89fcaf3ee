//! Checks a data folder: every record, every reference, every blob. Changes nothing in it: what is opened is a copy of the
//! database. Only where the disk has no room for one is the database itself opened, and sled may mend the end of its
//! log, as it would at any start.

mod files;

use std::collections::HashSet;
use std::path::Path;

use super::checkpoint::StoredCheckpoint;
use super::commits::CommitFile;
use super::compact;
use super::disk;
use super::error::StoreError;
use super::journal::Found;
use super::keys::{self, Part};
use super::paused;
use super::record::{self, KeyRecord, StoredArtifact};
use super::stored::{Place, Stored};
use super::table::{self, Table};
use super::untouched::Untouched;
use super::uploads::UploadRecord;
use crate::job::{JobId, Standing, State, USAGE_KEPT, Webhook};

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
    let database = path.join("db");
    table::read_from_disk(&database)?;
    let copy = Untouched::copy(path)?;
    let db = Table::open(copy.as_ref().map_or(&database, |copy| copy.path()))?;
    let laid_over = db.lay_over(&mut Found::read(path)?);
    let mut check = Check { db: &db, path, verdict: Verdict::default(), hashed: HashSet::new() };
    if let Err(error) = laid_over {
        check.problem(format!("the journal: {error}"));
    }
    check.commits()?;
    let total = db.len() as u64;
    for (looked_at, entry) in (1u64..).zip(db.scan_prefix("")) {
        let (key, sealed) = entry?;
        check.entry(&key, &sealed);
        step(looked_at, total.max(looked_at));
    }
    check.files()?;
    Ok(check.verdict)
}

struct Check<'a> {
    db: &'a Table,
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
        match record::read::<u64>(self.db, keys::COMMIT_KEY) {
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
            Some(b'b') => self.upload(key, sealed),
            Some(b'r') => self.named(key, sealed),
            Some(b'p' | b'a' | b'u') => self.belongs(key),
            Some(b'c') => self.checkpoint(key, sealed),
            Some(b'w') => self.webhook(key, sealed),
            Some(b'i') => record::decode::<KeyRecord>(sealed).map(drop),
            Some(b'm') => Self::note(key, sealed),
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
        let id = keys::checkpoint_id(key).ok_or_else(|| StoreError::damaged("its name is not that of a checkpoint"))?;
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
        let id = keys::webhook_id(key).ok_or_else(|| StoreError::damaged("its name is not that of a webhook"))?;
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
        if keys::job_id(key) != Some(id) {
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
            let usage = record.read_report(self.db, number)?;
            usage.ok_or_else(|| StoreError::damaged(format!("usage report {number} is missing")))?;
        }
        if record.content_gone {
            return Ok(());
        }
        self.payload(id, Part::Input, &record.input)?;
        record.read_options(self.db)?;
        let mut bytes = record.input.size + u64::from(record.options_bytes);
        if let Some(output) = &record.output {
            self.payload(id, Part::Output, output)?;
            bytes += output.size;
        } else if record.job.state == State::Succeeded {
            return Err(StoreError::damaged("it succeeded but has no result"));
        }
        for number in 0..record.artifacts {
            let artifact: Option<StoredArtifact> = record::read(self.db, &keys::artifact_key(id, number))?;
            let artifact = artifact.ok_or_else(|| StoreError::damaged(format!("artifact {number} is missing")))?;
            self.payload(id, Part::Artifact(number), &artifact.stored)?;
            bytes += artifact.stored.size;
        }
        let mut named = 0;
        for entry in self.db.scan_prefix(keys::use_prefix(id)) {
            // One that is damaged is told of where it is looked at itself.
            named += record::decode::<Stored>(&entry?.1).map_or(0, |stored| stored.size);
        }
        // Earlier hosts did not count what the input names.
        if record.bytes == bytes + named || record.bytes == bytes {
            Ok(())
        } else {
            Err(StoreError::damaged("its sizes do not add up"))
        }
    }

    fn upload(&mut self, key: &[u8], sealed: &[u8]) -> Result<(), StoreError> {
        let UploadRecord { stored, owner, .. } = record::decode(sealed)?;
        if stored.blob().is_none_or(|sha256| keys::upload_key(&sha256, &owner) != key) {
            return Err(StoreError::damaged("an upload is filed under another address or owner than its own"));
        }
        self.blob(&stored)
    }

    fn named(&mut self, key: &[u8], sealed: &[u8]) -> Result<(), StoreError> {
        self.belongs(key)?;
        let stored: Stored = record::decode(sealed)?;
        if stored.blob().is_none_or(|sha256| key.get(17..) != Some(sha256.as_slice())) {
            return Err(StoreError::damaged("a blob in use is filed under another address than its own"));
        }
        self.blob(&stored)
    }

    /// What is kept once for the folder, and the kinds that are paused.
    fn note(key: &[u8], sealed: &[u8]) -> Result<(), StoreError> {
        if key.starts_with(keys::PAUSED_PREFIX) {
            paused::kind_of(key)?;
        } else if ![keys::COMMIT_KEY, keys::OPENS_KEY, keys::JUDGED_KEY].contains(&key) {
            return Err(StoreError::damaged("nothing of ours has such a name"));
        }
        record::decode::<u64>(sealed).map(drop)
    }

    fn payload(&mut self, id: JobId, part: Part, stored: &Stored) -> Result<(), StoreError> {
        match &stored.place {
            Place::Chunks => record::read_bytes(self.db, id, part, stored.size).map(drop),
            Place::Blob(_) => self.blob(stored),
            Place::Here(_) if stored.here() as u64 == stored.size => Ok(()),
            Place::Here(_) => Err(StoreError::damaged("a payload has another size than its record says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::writes::Writes;
    use super::super::{Payload, Settings, Share, Store};
    use super::*;
    use crate::job::Kind;
    use crate::time::Time;

    /// Moves a record under another key, as damage or a bug could, and answers what a check says of it.
    fn problems_once_moved(path: &Path, from: &[u8], to: &[u8]) -> Vec<String> {
        let db = table::open_sled(&path.join("db")).expect("it is whole");
        let sealed = db.remove(from).expect("readable").expect("it is there");
        db.insert(to, &sealed).expect("writable");
        db.flush().expect("writable");
        drop(db);
        let found = verify(path, |_, _| {}).expect("it can be read").problems;
        let db = table::open_sled(&path.join("db")).expect("it is whole");
        db.remove(to).and_then(|_| db.insert(from, sealed)).expect("writable");
        db.flush().expect("writable");
        found
    }

    #[tokio::test]
    async fn a_record_under_a_name_that_is_not_its_own_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path(), &Settings { claims_max: 1, reserve_bytes: 0 }).expect("it can be made");
        let mut upload = store.blobs().upload();
        upload.write(b"bytes").expect("writable");
        let content = upload.finish_as_blob().expect("writable");
        let (sha256, kind) = (content.sha256(), Kind::new("kind").expect("well-formed"));
        let share = Share { uploads_max: 1, bytes_max: 5 };
        let payload = Payload { media_type: "text/plain".to_owned(), content };
        store.keep_upload(payload, "ann", Time(1 << 60), share).await.expect("there is room");
        store.set_paused(kind.clone(), true).await.expect("the disk works");
        drop(store);
        assert_eq!(verify(folder.path(), |_, _| {}).expect("it can be read").problems, [""; 0]);
        let upload = keys::upload_key(&sha256, "ann");
        for (from, to, hint) in [
            (&upload, keys::upload_key(&sha256, "bob"), "another address or owner"),
            (&upload, keys::upload_key(&[7; 32], "ann"), "another address or owner"),
            (&keys::paused_key(&kind), b"m/paused/NO KIND".to_vec(), "no proper name"),
            (&keys::paused_key(&kind), b"m/passed/kind".to_vec(), "nothing of ours"),
        ] {
            let found = problems_once_moved(folder.path(), from, &to);
            assert!(found.len() == 1 && found[0].contains(hint), "{hint}: {found:?}");
        }
        let mut writes = Writes::default();
        let stored = Stored { media_type: String::new(), size: 5, place: Place::Blob(sha256) };
        writes.record(&keys::use_key(JobId::nil(), &[7; 32]), &stored).expect("small");
        let db = table::open_sled(&folder.path().join("db")).expect("it is whole");
        for (key, value) in writes.into_entries() {
            db.insert(key, value.expect("it is set")).expect("writable");
        }
        db.flush().expect("writable");
        drop(db);
        assert_eq!(verify(folder.path(), |_, _| {}).expect("it can be read").problems.len(), 1, "of no job");
    }
}
