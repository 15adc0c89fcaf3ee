//! What an open does with what the last process left: rebuild memory from the records, and judge a crash.

use super::checkpoint::StoredCheckpoint;
use super::disk::Disk;
use super::index::Index;
use super::inflight::Left;
use super::keys::{self, JOB_PREFIX, KEY_PREFIX};
use super::paused;
use super::record::{self, KeyRecord, StoredArtifact};
use super::stored::Stored;
use super::uploads::UploadRecord;
use super::writes::Writes;
use super::{Store, StoreError};
use crate::job::{Job, JobId, Webhook};
use crate::store::writer::Change;
use crate::time::Time;

/// What follows from a look at all records.
pub(super) struct Rebuilt {
    /// What is to be written before anything else happens.
    pub(super) writes: Writes,
    /// Whether all could be read. A damaged record may name any of the files, so all of them stay.
    pub(super) is_whole: bool,
}

/// Fills the index and the blob counts from the records. Changes nothing on the disk.
pub(super) fn rebuild(disk: &Disk) -> Result<Rebuilt, StoreError> {
    let mut damaged = 0u64;
    let mut complain = |what: &str, id: Option<JobId>, error: &StoreError| {
        damaged += 1;
        tracing::error!(job.id = ?id, %error, "{what} is damaged and is left out; `dropforge verify` says more");
    };
    let mut index = disk.index();
    // Before the jobs: retention leaves those alone whose end is still to be told.
    for entry in disk.db.scan_prefix(keys::WEBHOOK_PREFIX) {
        let (key, sealed) = entry?;
        match (keys::webhook_id(&key), record::decode::<Webhook>(&sealed)) {
            (Some(id), Ok(webhook)) => {
                // Whose it is stands with the job, and counts for as long as it is open. A job that cannot be read is complained of below.
                let job = if webhook.is_open() { record::read_job(&disk.db, id).ok().flatten() } else { None };
                index.webhooks.set(id, job.and_then(|record| record.job.owner), Some(&webhook));
            }
            (None, Ok(_)) => {}
            (id, Err(error)) => {
                id.into_iter().for_each(|id| index.webhooks.set_aside(id));
                complain("a webhook", id, &error);
            }
        }
    }
    for entry in disk.db.scan_prefix(JOB_PREFIX) {
        let (key, sealed) = entry?;
        match record::decode_job(&sealed) {
            Ok(record) => {
                index.replace(None, Some(&record));
                if !record.content_gone {
                    let stored = std::iter::once(&record.input).chain(&record.output);
                    stored.filter_map(|stored| stored.blob()).for_each(|sha256| disk.blobs.retain(sha256));
                }
            }
            Err(error) => complain("a job's record", keys::job_id(&key), &error),
        }
    }
    let writes = note_started(disk, &mut index)?;
    for entry in disk.db.scan_prefix(keys::ARTIFACT_PREFIX) {
        match record::decode::<StoredArtifact>(&entry?.1) {
            Ok(artifact) => artifact.stored.blob().into_iter().for_each(|sha256| disk.blobs.retain(sha256)),
            Err(error) => complain("an artifact's record", None, &error),
        }
    }
    for entry in disk.db.scan_prefix(keys::CHECKPOINT_PREFIX) {
        let (key, sealed) = entry?;
        // Also where it is damaged: it goes when its job ends.
        index.checkpoints.extend(keys::checkpoint_id(&key));
        match record::decode::<StoredCheckpoint>(&sealed) {
            Ok(kept) => kept.stored.blob().into_iter().for_each(|sha256| disk.blobs.retain(sha256)),
            Err(error) => complain("a checkpoint", keys::checkpoint_id(&key), &error),
        }
    }
    for entry in disk.db.scan_prefix(keys::UPLOAD_PREFIX) {
        match record::decode::<UploadRecord>(&entry?.1) {
            Ok(UploadRecord { owner, stored, kept_until }) => {
                if let Some(sha256) = stored.blob() {
                    disk.blobs.retain(sha256);
                    index.uploads.keep((sha256, owner), stored.size, kept_until);
                }
            }
            Err(error) => complain("an upload's record", None, &error),
        }
    }
    for entry in disk.db.scan_prefix(keys::USE_PREFIX) {
        match record::decode::<Stored>(&entry?.1) {
            Ok(stored) => stored.blob().into_iter().for_each(|sha256| {
                disk.blobs.retain(sha256);
                index.uploads.begin_use(sha256);
            }),
            Err(error) => complain("the record of a blob in use", None, &error),
        }
    }
    for entry in disk.db.scan_prefix(KEY_PREFIX) {
        let (key, sealed) = entry?;
        match record::decode::<KeyRecord>(&sealed) {
            Ok(kept) => {
                if let Ok(name) = key[1..].try_into() {
                    index.retained.keep_key(name, kept.kept_until);
                }
            }
            Err(error) => complain("an idempotency key", None, &error),
        }
    }
    for kind in paused::paused(&disk.db) {
        match kind {
            Ok(kind) => disk.set_paused([(kind, true)]),
            Err(error) => complain("the record of a paused kind", None, &error),
        }
    }
    Ok(Rebuilt { writes, is_whole: damaged == 0 })
}

/// A job that the last process had started was started in time, and expires no more. To be durable before anything else happens: what the
/// last process left is known at this open alone.
fn note_started(disk: &Disk, index: &mut Index) -> Result<Writes, StoreError> {
    let mut writes = Writes::default();
    for id in &disk.left.started {
        // One that cannot be read was complained of above.
        let Ok(Some(mut record)) = record::read_job(&disk.db, *id) else { continue };
        if record.job.expires_at.is_none() || record.job.state.is_terminal() {
            continue;
        }
        let before = record.clone();
        record.job.expires_at = None;
        writes.job(&mut record)?;
        index.replace(Some(&before), Some(&record));
    }
    Ok(writes)
}

impl Store {
    /// Judges how the last process ended, and answers the jobs that were inside a guest when it died. To be called
    /// once, before the first claim.
    ///
    /// Those jobs are suspects and will run one at a time among themselves. Only a job that was being run so when the
    /// process died again is charged with the crash: at `crashes_max` of them it fails. After a reboot nobody is suspected.
    pub async fn recover(&self, crashes_max: u32, now: Time) -> Result<Vec<Job>, StoreError> {
        let disk = &self.disk;
        let Left { opens, same_boot, marked, .. } = &disk.left;
        let judged: u64 = record::read(&disk.db, keys::JUDGED_KEY)?.unwrap_or(0);
        let mut suspects = Vec::new();
        if *same_boot && *opens > judged {
            // The charged one comes last: its charge and the note that it was passed are one commit.
            for (id, alone) in
                marked.iter().filter(|(_, alone)| !alone).chain(marked.iter().filter(|(_, alone)| *alone))
            {
                let charge = alone.then_some(crashes_max);
                match self.change(|reply| Change::Judge { id: *id, charge, now, reply }).await {
                    Ok(job) => suspects.push(job),
                    // It ended in the instant before the process did.
                    Err(StoreError::Fenced) => {}
                    // Or was deleted; or it had started ahead of its submit, and whoever submits it again may bring this process down as well.
                    Err(StoreError::NotFound) => disk.note_lost_early(),
                    // Nobody can run it either.
                    Err(error @ StoreError::Damaged(_)) => {
                        tracing::error!(job.id = %id, %error, "a job that ran when the last host died cannot be read and is set aside; it stays on disk as it is");
                        disk.index().set_aside(*id);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        // The judgement is on disk before the evidence goes, and is noted so that it is not passed twice.
        self.change(|reply| Change::Judged { opens: *opens, reply }).await?;
        disk.in_flight.begin(disk.opens);
        Ok(suspects)
    }
}
