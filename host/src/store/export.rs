//! A data folder written as NDJSON; see `transfer.rs` for the lines.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::checkpoint::StoredCheckpoint;
use super::disk::Disk;
use super::keys::{self, Part};
use super::paused;
use super::record::{self, KeyRecord, Record, StoredArtifact};
use super::stored::Stored;
use super::transfer::{ArtifactLine, CheckpointLine, FORMAT, JobLine, Line, PayloadLine, TransferError};
use super::uploads::UploadRecord;
use super::{Content, Options, Settings, StoreError};
use crate::job::{JobId, USAGE_KEPT};

/// Bytes of a large content on one line.
const BLOB_LINE_BYTES: usize = 192 * 1024;

/// Writes everything in the folder to `output`, and answers the number of jobs. The folder must not be in use.
pub fn export(path: &Path, output: &mut dyn Write) -> Result<u64, TransferError> {
    let disk = Disk::open(path, &Settings { claims_max: 0, reserve_bytes: 0 })?;
    write_line(output, &Line::Header { format: FORMAT, opens: disk.opens })?;
    let mut jobs = 0;
    for entry in disk.db.scan_prefix(keys::JOB_PREFIX) {
        let record = record::decode_job(&entry?.1)?;
        let line = Exporter::new(&disk, output, record.job.id, record.content_gone).job(record)?;
        write_line(output, &Line::Job(Box::new(line)))?;
        jobs += 1;
    }
    for entry in disk.db.scan_prefix(keys::KEY_PREFIX) {
        let (key, sealed) = entry?;
        let KeyRecord { id, request, kept_until } = record::decode(&sealed)?;
        let (name, request) = (hex::encode(&key[1..]), hex::encode(request));
        write_line(output, &Line::Key { name, id, request, kept_until })?;
    }
    for entry in disk.db.scan_prefix(keys::UPLOAD_PREFIX) {
        let UploadRecord { owner, stored, kept_until } = record::decode(&entry?.1)?;
        let mut exporter = Exporter::new(&disk, output, JobId::nil(), false);
        let payload = exporter.payload(Part::Input, &stored)?;
        write_line(output, &Line::Upload { owner, kept_until, payload })?;
    }
    for kind in paused::paused(&disk.db) {
        let kind = kind?;
        write_line(output, &Line::Paused { kind })?;
    }
    write_line(output, &Line::End { jobs })?;
    output.flush()?;
    Ok(jobs)
}

struct Exporter<'a> {
    disk: &'a Disk,
    output: &'a mut dyn Write,
    id: JobId,
    content_gone: bool,
    /// Blobs that stand before this line already. The same bytes may be a job's result and an artifact of it.
    written: HashSet<[u8; 32]>,
}

impl<'a> Exporter<'a> {
    fn new(disk: &'a Disk, output: &'a mut dyn Write, id: JobId, content_gone: bool) -> Self {
        Self { disk, output, id, content_gone, written: HashSet::new() }
    }

    fn job(&mut self, record: Record) -> Result<JobLine, TransferError> {
        let (disk, id) = (self.disk, self.id);
        let options = if self.content_gone { Options::default() } else { record.read_options(&disk.db)? };
        let mut artifacts = Vec::new();
        for number in 0..record.artifacts {
            let key = keys::artifact_key(id, number);
            // Gone with the content, if that is gone.
            let Some(artifact) = record::read::<StoredArtifact>(&disk.db, &key)? else { continue };
            let payload = self.payload(Part::Artifact(number), &artifact.stored)?;
            artifacts.push(ArtifactLine { name: artifact.name, sha256: hex::encode(artifact.sha256), payload });
        }
        let mut blobs = Vec::new();
        for entry in disk.db.scan_prefix(keys::use_prefix(id)) {
            let stored: Stored = record::decode(&entry?.1)?;
            blobs.push(self.payload(Part::Input, &stored)?);
        }
        let numbers = record.usages.saturating_sub(USAGE_KEPT as u32)..record.usages;
        let usage = numbers.filter_map(|number| record.read_report(&disk.db, number).transpose());
        let usage = usage.collect::<Result<_, StoreError>>()?;
        Ok(JobLine {
            usage,
            parameters: options.parameters,
            arguments: options.arguments,
            traceparent: options.traceparent,
            input: self.payload(Part::Input, &record.input)?,
            output: record.output.as_ref().map(|output| self.payload(Part::Output, output)).transpose()?,
            artifacts,
            blobs,
            checkpoint: self.checkpoint()?,
            webhook: record::read(&disk.db, &keys::webhook_key(id))?,
            usages: record.usages,
            content_gone: record.content_gone,
            suspect: record.suspect,
            owner: record.job.owner,
            job: record.job,
        })
    }

    fn checkpoint(&mut self) -> Result<Option<CheckpointLine>, TransferError> {
        let kept: Option<StoredCheckpoint> = record::read(&self.disk.db, &keys::checkpoint_key(self.id))?;
        let Some(StoredCheckpoint { plugin_sha256, stored }) = kept else { return Ok(None) };
        Ok(Some(CheckpointLine { plugin_sha256, payload: self.payload(Part::Checkpoint, &stored)? }))
    }

    fn payload(&mut self, part: Part, stored: &Stored) -> Result<PayloadLine, TransferError> {
        let mut line = PayloadLine { media_type: stored.media_type.clone(), size: stored.size, blob: None, data: None };
        if self.content_gone {
            return Ok(line);
        }
        match record::read_content(&self.disk.db, &self.disk.blobs, self.id, part, stored)? {
            Content::Inline(bytes) => line.data = Some(BASE64.encode(bytes)),
            large => {
                if self.written.insert(large.sha256()) {
                    self.blob(&large)?;
                }
                line.blob = Some(hex::encode(large.sha256()));
            }
        }
        Ok(line)
    }

    /// Writes a large content, in as many lines as it takes.
    fn blob(&mut self, large: &Content) -> Result<(), TransferError> {
        let sha256 = hex::encode(large.sha256());
        let mut reader = large.open(0).map_err(StoreError::from)?;
        loop {
            let chunk = reader.next_chunk(BLOB_LINE_BYTES).map_err(StoreError::from)?;
            if chunk.is_empty() {
                return Ok(());
            }
            write_line(self.output, &Line::Blob { sha256: sha256.clone(), data: BASE64.encode(chunk) })?;
        }
    }
}

fn write_line(output: &mut dyn Write, line: &Line) -> Result<(), TransferError> {
    serde_json::to_writer(&mut *output, line).map_err(io::Error::from)?;
    output.write_all(b"\n")?;
    Ok(())
}
