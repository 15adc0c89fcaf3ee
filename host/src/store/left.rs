//! What jobs left: their records page by page, the reports of their attempts, results and artifacts.

use std::sync::Arc;

use super::blobs::Content;
use super::exchange::{Artifact, ArtifactEntry, Filter, Payload};
use super::keys::{self, Part};
use super::record::{self, StoredArtifact};
use super::stored::Stored;
use super::{Store, StoreError};
use crate::job::{Job, JobId, USAGE_KEPT, Usage};

/// Records looked at for one page of a list. A page may come out short and still have a next one.
const SCAN_MAX: usize = 20_000;

impl Store {
    /// Up to `limit` jobs older than `before`, newest first, and where the next page begins.
    pub fn list(
        &self,
        filter: &Filter,
        limit: usize,
        before: Option<JobId>,
    ) -> Result<(Vec<Job>, Option<JobId>), StoreError> {
        let end = before.map_or_else(|| b"k".to_vec(), |id| keys::job_key(id).to_vec());
        let mut jobs = Vec::new();
        let mut last = None;
        for (looked_at, entry) in self.disk.db.backwards(keys::JOB_PREFIX, &end).enumerate() {
            if jobs.len() == limit || looked_at == SCAN_MAX {
                return Ok((jobs, last));
            }
            let (key, sealed) = entry?;
            last = keys::job_id(&key);
            let Some(id) = last else { continue };
            // A damaged record was reported at open; it must not keep the others from being listed.
            let Ok(record) = record::decode_job(&sealed) else { continue };
            jobs.extend(self.disk.as_durable(id, Some(Arc::new(record))).filter(|job| filter.admits(job)));
        }
        Ok((jobs, None))
    }
    /// The reports of its last attempts, oldest first.
    pub fn usage(&self, id: JobId) -> Result<Vec<Usage>, StoreError> {
        self.usage_since(id, 0).map(|(reports, _)| reports)
    }

    /// The reports of its attempts from the report with this number on, as far as they are kept, and how many there ever
    /// were.
    pub fn usage_since(&self, id: JobId, number: u32) -> Result<(Vec<Usage>, u32), StoreError> {
        let Some(record) = self.disk.load(id)? else { return Ok((Vec::new(), 0)) };
        let first = record.usages.saturating_sub(USAGE_KEPT as u32).max(number);
        let reports = (first..record.usages).map(|number| record.read_report(&self.disk.db, number));
        Ok((reports.filter_map(Result::transpose).collect::<Result<_, _>>()?, record.usages))
    }

    /// A succeeded job's result; [`StoreError::Gone`] once retention has taken it.
    pub fn output(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        let Some(record) = self.disk.load(id)? else { return Ok(None) };
        let Some(stored) = &record.output else { return Ok(None) };
        if record.content_gone {
            return Err(StoreError::Gone);
        }
        let content = self.read_content(id, Part::Output, stored)?;
        Ok(Some(Payload { media_type: stored.media_type.clone(), content }))
    }

    /// What a job's artifacts are, in creation order.
    pub fn artifacts(&self, id: JobId) -> Result<Vec<ArtifactEntry>, StoreError> {
        let describe = |StoredArtifact { name, sha256, stored }: StoredArtifact| {
            let (media_type, size) = (stored.media_type, stored.size);
            ArtifactEntry { name, media_type, size, sha256 }
        };
        Ok(self.stored_artifacts(id)?.into_iter().map(describe).collect())
    }

    /// A job's artifact of that name.
    pub fn artifact(&self, id: JobId, name: &str) -> Result<Option<Artifact>, StoreError> {
        let artifacts = self.stored_artifacts(id)?;
        let found = (0u32..).zip(artifacts).find(|(_, entry)| entry.name == name);
        found.map(|(number, entry)| self.read_artifact(id, number, entry)).transpose()
    }

    /// A job's artifact, by its place in the order of creation, from 0.
    pub fn artifact_numbered(&self, id: JobId, number: u32) -> Result<Option<Artifact>, StoreError> {
        match self.disk.load(id)? {
            Some(record) if record.content_gone => Err(StoreError::Gone),
            Some(record) if number < record.artifacts => {
                let entry = self.stored_artifact(id, number).map_err(|error| self.gone_or(id, error))?;
                self.read_artifact(id, number, entry).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn stored_artifacts(&self, id: JobId) -> Result<Vec<StoredArtifact>, StoreError> {
        let Some(record) = self.disk.load(id)? else { return Ok(Vec::new()) };
        if record.content_gone {
            return Err(StoreError::Gone);
        }
        let entries = (0..record.artifacts).map(|number| self.stored_artifact(id, number));
        entries.collect::<Result<_, _>>().map_err(|error| self.gone_or(id, error))
    }

    fn stored_artifact(&self, id: JobId, number: u32) -> Result<StoredArtifact, StoreError> {
        record::read(&self.disk.db, &keys::artifact_key(id, number))?
            .ok_or_else(|| StoreError::damaged(format!("job {id}: the record of artifact {number} is missing")))
    }

    fn read_artifact(&self, id: JobId, number: u32, entry: StoredArtifact) -> Result<Artifact, StoreError> {
        let content = self.read_content(id, Part::Artifact(number), &entry.stored)?;
        let payload = Payload { media_type: entry.stored.media_type, content };
        Ok(Artifact { name: entry.name, sha256: entry.sha256, payload })
    }

    fn read_content(&self, id: JobId, part: Part, stored: &Stored) -> Result<Content, StoreError> {
        let content = record::read_content(&self.disk.db, &self.disk.blobs, id, part, stored);
        content.map_err(|error| self.gone_or(id, error))
    }

    /// What it means that a piece of a job's content is missing: if the content was taken away while it was being
    /// read, it is gone; else something is wrong.
    fn gone_or(&self, id: JobId, error: StoreError) -> StoreError {
        // Past what readers may see, since pieces and record change at once, and the pieces have vanished before that shows.
        match record::read_job(&self.disk.db, id) {
            Ok(Some(record)) if !record.content_gone => error,
            Ok(_) => StoreError::Gone,
            Err(damaged) => damaged,
        }
    }
}
