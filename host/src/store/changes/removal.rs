//! What a finished job left is taken away: its content, or all of it.

use super::report::remove_report;
use crate::job::{Job, JobId, USAGE_KEPT};
use crate::store::StoreError;
use crate::store::group::Group;
use crate::store::keys::{self, Part};
use crate::store::record::{self, Record, StoredArtifact};
use crate::store::writes::Writes;

impl Group<'_> {
    /// Takes input, output and artifacts of a finished job away; the record stays.
    pub(in crate::store) fn drop_content(&mut self, id: JobId) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        if !record.job.state.is_terminal() {
            return Err(self.wrong_state(record.job));
        }
        let mut writes = Writes::default();
        self.remove_content(&mut record, &mut writes)?;
        self.put(record, writes, &[])
    }

    /// Takes a finished job away altogether.
    pub(in crate::store) fn delete(&mut self, id: JobId) -> Result<Job, StoreError> {
        let mut record = self.load(id)?;
        if !record.job.state.is_terminal() {
            return Err(self.wrong_state(record.job));
        }
        let mut writes = Writes::default();
        self.remove_content(&mut record, &mut writes)?;
        for number in record.usages.saturating_sub(USAGE_KEPT as u32)..record.usages {
            remove_report(&mut writes, &mut record, number);
        }
        self.forget(record, writes)
    }

    fn remove_content(&mut self, record: &mut Record, writes: &mut Writes) -> Result<(), StoreError> {
        if record.content_gone {
            return Ok(());
        }
        let id = record.job.id;
        let mut blobs = Vec::new();
        writes.remove_stored(id, Part::Input, &record.input);
        record.input.take_out();
        if record.options.take().is_none() {
            writes.remove_chunks(id, Part::Options, u64::from(record.options_bytes));
        }
        blobs.extend(record.input.blob());
        if let Some(output) = &mut record.output {
            writes.remove_stored(id, Part::Output, output);
            output.take_out();
            blobs.extend(output.blob());
        }
        for number in 0..record.artifacts {
            let key = keys::artifact_key(id, number);
            // The attempt that wrote it may have ended in this very group.
            let written = if self.is_changed(id) { self.writes.find(&key)? } else { None };
            let artifact = match written {
                Some(artifact) => Some(artifact),
                None => record::read::<StoredArtifact>(&self.disk.db, &key)?,
            };
            if let Some(artifact) = artifact {
                writes.remove_stored(id, Part::Artifact(number), &artifact.stored);
                blobs.extend(artifact.stored.blob());
            }
            writes.remove(&key);
        }
        // Only once nothing can fail any more: what is let go of is let go of with the commit, whatever becomes of this change.
        let named = if record.named == Some(0) { Vec::new() } else { self.remove_uses(id, writes)? };
        named.iter().for_each(|sha256| self.disk.index().uploads.end_use(sha256));
        self.release(blobs.into_iter().chain(named));
        record.content_gone = true;
        Ok(())
    }
}
