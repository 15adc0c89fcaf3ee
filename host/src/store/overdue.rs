//! Takes away what is over: jobs that were not started in time, and what is kept of finished ones for too long.
//!
//! Which those are `index.rs` and `retained.rs` know, and what becomes of each `changes.rs`. Here they are asked for, many at
//! a time, and one that is damaged does not hold up the others.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::writer::Change;
use super::{Retention, Store, StoreError};
use crate::job::{Job, JobId, Kind};
use crate::time::Time;

/// Jobs, contents and keys that one call of [`Store::retain`] takes at the most.
const RETAIN_MAX: usize = 200;
/// Jobs that one call of [`Store::expire`] fails at the most: a few groups of the writer.
pub const EXPIRE_MAX: usize = 1_000;

impl Store {
    /// Takes away some of what is kept for too long, oldest first, and answers whether there may be more. `of_kinds` has the
    /// kinds that are kept in a way of their own; what `retention` says of count and size holds for all together.
    pub async fn retain(
        &self,
        retention: &Retention,
        of_kinds: &HashMap<Kind, Retention>,
        now: Time,
    ) -> Result<bool, StoreError> {
        let (overdue, names) = {
            let retained = &mut self.disk.index().retained;
            (retained.overdue(retention, of_kinds, now, RETAIN_MAX), retained.take_overdue_keys(now, RETAIN_MAX))
        };
        let more =
            overdue.jobs.len() == RETAIN_MAX || overdue.contents.len() == RETAIN_MAX || names.len() == RETAIN_MAX;
        if !names.is_empty() {
            self.change(|reply| Change::DropKeys { names, now, reply }).await?;
        }
        let deletes = overdue.jobs.into_iter().map(async |id| (id, self.delete(id).await));
        let drops = overdue.contents.into_iter().map(async |id| (id, self.drop_content(id).await));
        // All at once, so that they share their flushes.
        let (deleted, dropped) = tokio::join!(join_all(deletes), join_all(drops));
        for (id, result) in deleted.into_iter().chain(dropped) {
            match result {
                // A client was quicker: the job was reopened, or deleted.
                Ok(_) | Err(StoreError::NotFound | StoreError::WrongState(_)) => {}
                Err(error @ StoreError::Damaged(_)) => self.leave(id, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(more)
    }

    /// Fails up to [`EXPIRE_MAX`] of the jobs whose time to be started is over, and answers those. Where there is no room to record
    /// that, they wait for it and this does not.
    pub async fn expire(&self, now: Time) -> Result<Vec<Job>, StoreError> {
        if self.is_out_of_room() {
            return Ok(Vec::new());
        }
        let expired = self.disk.index().expired(now, EXPIRE_MAX);
        let expire = async |id| (id, self.change(|reply| Change::Expire { id, now, reply }).await);
        let mut jobs = Vec::with_capacity(expired.len());
        // All at once, so that they share their flushes.
        for (id, result) in join_all(expired.into_iter().map(expire)).await {
            match result {
                Ok(job) => jobs.push(job),
                // A worker or a client was quicker, or the room went meanwhile.
                Err(StoreError::Fenced | StoreError::NotFound | StoreError::DiskFull) => {}
                Err(error @ StoreError::Damaged(_)) => {
                    tracing::error!(job.id = %id, %error, "a job cannot be read and is set aside; it stays on disk as it is");
                    self.disk.index().set_aside(id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(jobs)
    }

    async fn drop_content(&self, id: JobId) -> Result<Job, StoreError> {
        self.change(|reply| Change::DropContent { id, reply }).await
    }

    /// Leaves a finished job that cannot be taken away as it is, until the next open, so that it keeps nobody from the others.
    fn leave(&self, id: JobId, error: &StoreError) {
        tracing::error!(job.id = %id, %error, "what is left of a finished job cannot be taken away and stays on the disk; `dropforge verify` says more");
        self.disk.index().retained.set_aside(id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::keys::artifact_key;
    use super::super::writes::Writes;
    use super::super::{Admission, Artifact, Attempt, Content, NewJob, Options, Payload, Settings, Share};
    use super::*;
    use crate::job::{Backoff, Ended, Progress, Usage};

    const NOW: Time = Time(1_800_000_000_000);

    fn payload(content: Content) -> Payload {
        Payload { media_type: "text/plain".into(), content }
    }

    /// A job that succeeded, with one small artifact.
    async fn succeeded(store: &Store) -> JobId {
        let kind = Kind::new("a").expect("well-formed");
        let small = || payload(Content::Inline(b"small".as_slice().into()));
        let job = Job::new(JobId::now_v7(), kind.clone(), NOW);
        let new = NewJob { job, input: small(), options: Options::default(), blobs: Vec::new(), webhook: None };
        let id = store.submit(new, Admission { queue_max: 9, key: None, workers: None }).await.expect("accepted").id;
        let claimed = store.claim(&[(kind, 1)], 1, NOW).pop().expect("it is ready");
        let artifact = Artifact { name: "one".into(), sha256: small().content.sha256(), payload: small() };
        let attempt = Attempt {
            ended: Ended::Succeeded,
            usage: Usage::default(),
            progress: Progress::default(),
            output: Some(small()),
            artifacts: vec![artifact],
            started_at: NOW,
            now: NOW,
            backoff: Backoff { first: Duration::ZERO, longest: Duration::ZERO },
            jitter: 0.0,
        };
        store.finish(id, claimed.token, attempt).await.expect("the claim holds");
        id
    }

    /// Flips a bit of a record, past sled's own checks.
    fn damage(store: &Store, key: &[u8]) {
        let mut record = store.disk.db.get(key).expect("readable").expect("there").to_vec();
        *record.last_mut().expect("not empty") ^= 1;
        store.disk.db.put(store.commits(), Writes::of(key, record)).expect("small");
    }

    /// Fault: one record that rots keeps everything else from being taken away, and is tried again every second.
    #[tokio::test]
    async fn a_damaged_job_is_left_as_it_is_and_keeps_no_other_from_being_taken_away() {
        for retention in [
            Retention { age: Duration::MAX, jobs_max: 0, bytes_max: u64::MAX },
            Retention { age: Duration::MAX, jobs_max: usize::MAX, bytes_max: 0 },
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let store = Store::open(folder.path(), &Settings { claims_max: 1, reserve_bytes: 0 }).expect("it opens");
            let (bad, good) = (succeeded(&store).await, succeeded(&store).await);
            damage(&store, &artifact_key(bad, 0));
            let retain = async || store.retain(&retention, &HashMap::new(), NOW).await.expect("the others can go");
            retain().await;
            assert!(store.output(bad).expect("readable").is_some(), "the damaged one is as it was");
            assert!(matches!(store.output(good), Ok(None) | Err(StoreError::Gone)), "the other is taken away");
            let commits = store.commits();
            assert!(!retain().await);
            assert!(store.disk.index().retained.overdue(&retention, &HashMap::new(), NOW, 9).is_empty());
            assert_eq!(store.commits(), commits, "nothing is tried again");
        }
    }

    /// Fault: the damaged record of one upload keeps all others on the disk for good.
    #[tokio::test]
    async fn an_upload_whose_record_is_damaged_goes_with_the_others() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path(), &Settings { claims_max: 1, reserve_bytes: 0 }).expect("it opens");
        let mut uploads = Vec::new();
        for byte in 0..2 {
            let mut upload = store.blobs().upload();
            upload.write(&[byte; 100]).expect("the disk works");
            let upload = payload(upload.finish_as_blob().expect("the disk works"));
            uploads.push(upload.content.sha256());
            let share = Share { uploads_max: 9, bytes_max: 1_000 };
            store.keep_upload(upload, "", NOW, share).await.expect("there is room");
        }
        damage(&store, &super::super::keys::upload_key(&uploads[0], ""));
        store.sweep_uploads(NOW).await.expect("all of them can go");
        for sha256 in uploads {
            assert!(matches!(store.uploaded(sha256, ""), Ok(None)));
        }
        let blobs = std::fs::read_dir(folder.path().join("blobs")).expect("readable").count();
        assert_eq!(blobs, 0, "and so do their bytes");
    }
}
