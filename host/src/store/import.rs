//! A new data folder from NDJSON; see `transfer.rs` for the lines.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::blobs::{self, BlobHandle, Upload};
use super::checkpoint::StoredCheckpoint;
use super::disk::{self, Disk};
use super::keys::{self, Part};
use super::record::{KeyRecord, Record, StoredArtifact};
use super::stored::{Place, Stored};
use super::transfer::{FORMAT, JobLine, Line, PayloadLine, TransferError};
use super::uploads::UploadRecord;
use super::writes::Writes;
use super::{Content, Options, Settings, StoreError};
use crate::job::{Job, JobId, Standing};
use crate::time::Time;

/// More opens are not believed: the count has to go on from there.
const OPENS_MAX: u64 = 1 << 23;
/// Jobs per commit.
const JOBS_PER_COMMIT: u64 = 256;

/// Fills a new folder from an export, and answers the number of jobs. What is there already is never touched. After an
/// error, or if the process dies, the new folder is incomplete, and nothing but its deletion makes it usable.
pub fn import(path: &Path, input: &mut dyn BufRead) -> Result<u64, TransferError> {
    fs::create_dir_all(path)?;
    if !is_empty(path)? {
        return Err(TransferError::NotEmpty);
    }
    let lock = disk::lock_for_import(path)?;
    // Another import may have filled it, and gone, since it was looked at.
    if !is_empty(path)? {
        return Err(TransferError::NotEmpty);
    }
    let marker = path.join(disk::IMPORTING);
    File::create(&marker)?.sync_all()?;
    blobs::sync_folder(path)?;
    let disk = Disk::open_locked(path, &Settings { claims_max: 0, reserve_bytes: 0 }, lock)?;
    let mut importer = Importer {
        disk: &disk,
        writes: Writes::default(),
        uploads: HashMap::new(),
        held: Vec::new(),
        jobs: 0,
        opens: disk.opens,
        ended: false,
    };
    for (number, line) in (1u64..).zip(input.lines()) {
        importer.line(number, &line?).map_err(|what| match what {
            Wrong::Line(what) => TransferError::Line(number, what),
            Wrong::Store(error) => TransferError::Store(error),
        })?;
    }
    if !importer.ended {
        return Err(TransferError::Line(0, "the file has no end line: it was cut short".to_owned()));
    }
    importer.writes.record(keys::OPENS_KEY, &importer.opens)?;
    importer.commit()?;
    fs::remove_file(&marker)?;
    blobs::sync_folder(path)?;
    Ok(importer.jobs)
}

/// Whether nothing is in the folder but what an import that was killed at its very beginning leaves.
fn is_empty(path: &Path) -> io::Result<bool> {
    for entry in path.read_dir()? {
        let name = entry?.file_name();
        if name != disk::LOCK && name != disk::IMPORTING {
            return Ok(false);
        }
    }
    Ok(true)
}

enum Wrong {
    Line(String),
    Store(StoreError),
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<&str> for Wrong {
    fn from(what: &str) -> Self {
        Self::Line(what.to_owned())
    }
}

struct Importer<'a> {
    disk: &'a Disk,
    writes: Writes,
    /// Large contents of the job that comes next.
    uploads: HashMap<String, Upload>,
    /// Keeps files until the records that name them are on disk.
    held: Vec<BlobHandle>,
    jobs: u64,
    /// How often the folder counts as opened: often enough that runs to come are larger than those that were.
    opens: u64,
    ended: bool,
}

impl Importer<'_> {
    fn line(&mut self, number: u64, text: &str) -> Result<(), Wrong> {
        let line: Line = serde_json::from_str(text).map_err(|error| Wrong::Line(error.to_string()))?;
        if self.ended {
            return Err("there is more after the end line".into());
        }
        match line {
            Line::Header { format: FORMAT, opens } if number == 1 => {
                self.opens = self.opens.max(opens.min(OPENS_MAX));
                Ok(())
            }
            Line::Header { .. } => Err("this header is not that of an export this version reads".into()),
            _ if number == 1 => Err("this is no export: it does not begin with a header line".into()),
            Line::Blob { sha256, data } => {
                let bytes = unbase64(&data)?;
                let upload = self.uploads.entry(sha256).or_insert_with(|| self.disk.blobs.upload());
                Ok(upload.write(&bytes)?)
            }
            Line::Job(job) => self.job(*job),
            Line::Key { name, id, request, kept_until } => {
                let record = KeyRecord { id, request: digest(&request)?, kept_until };
                Ok(self.writes.record(&keys::idempotency_key(&digest(&name)?), &record)?)
            }
            Line::Upload { owner, kept_until, payload } => self.upload(owner, kept_until, payload),
            Line::Paused { kind } => Ok(self.writes.record(&keys::paused_key(&kind), &1u64)?),
            Line::End { jobs } if jobs == self.jobs => {
                self.ended = true;
                Ok(())
            }
            Line::End { jobs } => Err(Wrong::Line(format!("{jobs} jobs were exported, but {} are here", self.jobs))),
        }
    }

    /// The large contents that came in the lines before this one.
    fn take_blobs(&mut self) -> Result<HashMap<String, BlobHandle>, Wrong> {
        let mut blobs = HashMap::new();
        for (sha256, upload) in std::mem::take(&mut self.uploads) {
            let Content::Blob(blob) = upload.finish_as_blob()? else { return Err("a blob is no blob".into()) };
            if hex::encode(blob.sha256()) != sha256 {
                return Err(Wrong::Line(format!("blob {sha256} does not have the content of that name")));
            }
            blobs.insert(sha256, blob);
        }
        Ok(blobs)
    }

    fn upload(&mut self, owner: String, kept_until: Time, line: PayloadLine) -> Result<(), Wrong> {
        let blobs = match (&line.blob, line.size) {
            // An empty content has no lines of its own.
            (Some(sha256), 0) => HashMap::from([(sha256.clone(), self.empty_blob()?)]),
            _ => self.take_blobs()?,
        };
        let stored = self.payload(JobId::nil(), Part::Input, line, &blobs, false)?;
        let sha256 = stored.blob().ok_or("an upload has to be a blob")?;
        self.writes.record(&keys::upload_key(&sha256, &owner), &UploadRecord { owner, stored, kept_until })?;
        self.held.extend(blobs.into_values());
        Ok(())
    }

    fn empty_blob(&self) -> Result<BlobHandle, Wrong> {
        match self.disk.blobs.upload().finish_as_blob()? {
            Content::Blob(blob) => Ok(blob),
            Content::Inline(_) => Err("a blob is no blob".into()),
        }
    }

    fn job(&mut self, line: JobLine) -> Result<(), Wrong> {
        let id = line.job.id;
        let mut blobs = self.take_blobs()?;
        for empty in line.blobs.iter().filter(|blob| blob.size == 0) {
            if let Some(sha256) = &empty.blob {
                blobs.insert(sha256.clone(), self.empty_blob()?);
            }
        }
        let (parameters, arguments, traceparent) = (line.parameters, line.arguments, line.traceparent);
        let options = Options { parameters, arguments, traceparent }.encode()?;
        let input = self.payload(id, Part::Input, line.input, &blobs, line.content_gone)?;
        self.writes.bytes(id, Part::Options, &options)?;
        let mut bytes = input.size + options.len() as u64;
        let mut output = None;
        if let Some(payload) = line.output {
            output = Some(self.payload(id, Part::Output, payload, &blobs, line.content_gone)?);
            bytes += output.as_ref().map_or(0, |output| output.size);
        }
        let mut artifacts = 0;
        for artifact in line.artifacts {
            let stored = self.payload(id, Part::Artifact(artifacts), artifact.payload, &blobs, false)?;
            bytes += stored.size;
            let entry = StoredArtifact { name: artifact.name, sha256: digest(&artifact.sha256)?, stored };
            self.writes.record(&keys::artifact_key(id, artifacts), &entry)?;
            artifacts += 1;
        }
        if let Some(checkpoint) = line.checkpoint {
            if line.job.state.is_terminal() {
                return Err("a finished job has no checkpoint".into());
            }
            let stored = self.payload(id, Part::Checkpoint, checkpoint.payload, &blobs, false)?;
            let kept = StoredCheckpoint { plugin_sha256: checkpoint.plugin_sha256, stored };
            self.writes.record(&keys::checkpoint_key(id), &kept)?;
        }
        if let Some(webhook) = &line.webhook {
            if line.job.state.is_terminal() == (webhook.standing == Standing::Waiting) {
                return Err("a webhook is due once its job has ended, and not before".into());
            }
            self.writes.record(&keys::webhook_key(id), webhook)?;
        }
        for blob in line.blobs {
            let stored = self.payload(id, Part::Input, blob, &blobs, line.content_gone)?;
            if let Some(sha256) = stored.blob() {
                bytes += stored.size;
                self.writes.record(&keys::use_key(id, &sha256), &stored)?;
            }
        }
        let first = line.usages.saturating_sub(u32::try_from(line.usage.len()).unwrap_or(u32::MAX));
        for (number, usage) in (first..).zip(&line.usage) {
            self.writes.record(&keys::usage_key(id, number), usage)?;
        }
        let mut record = Record {
            input,
            options_bytes: u32::try_from(options.len()).unwrap_or(u32::MAX),
            output,
            artifacts,
            usages: line.usages,
            bytes,
            content_gone: line.content_gone,
            suspect: line.suspect,
            ..Record::new(Job { owner: line.owner, ..line.job })
        };
        self.writes.job(&mut record)?;
        self.held.extend(blobs.into_values());
        self.jobs += 1;
        if self.jobs.is_multiple_of(JOBS_PER_COMMIT) { self.commit().map_err(Wrong::Store) } else { Ok(()) }
    }

    fn payload(
        &mut self,
        id: JobId,
        part: Part,
        line: PayloadLine,
        blobs: &HashMap<String, BlobHandle>,
        content_gone: bool,
    ) -> Result<Stored, Wrong> {
        let mut stored = Stored { media_type: line.media_type, size: line.size, place: Place::Chunks };
        match (line.data, line.blob) {
            (Some(data), None) => {
                let bytes = unbase64(&data)?;
                stored.size = bytes.len() as u64;
                self.writes.bytes(id, part, &bytes)?;
            }
            (None, Some(sha256)) => {
                let blob = self.blob(&sha256, blobs)?;
                stored.place = Place::Blob(blob);
            }
            (None, None) if content_gone => {}
            _ => return Err("a content has either data or a blob".into()),
        }
        Ok(stored)
    }

    /// The address of a blob that came with this job, counted as named by a record.
    fn blob(&self, sha256: &str, blobs: &HashMap<String, BlobHandle>) -> Result<[u8; 32], Wrong> {
        let blob = blobs.get(sha256).ok_or_else(|| Wrong::Line(format!("blob {sha256} is missing before this job")))?;
        self.disk.blobs.retain(blob.sha256());
        Ok(blob.sha256())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.disk.commit(std::mem::take(&mut self.writes))?;
        self.held.clear();
        Ok(())
    }
}

fn unbase64(text: &str) -> Result<Vec<u8>, Wrong> {
    BASE64.decode(text).map_err(|error| Wrong::Line(format!("a content is not base 64: {error}")))
}

fn digest(text: &str) -> Result<[u8; 32], Wrong> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|error| Wrong::Line(format!("{text:?} is no digest: {error}")))?;
    Ok(digest)
}
