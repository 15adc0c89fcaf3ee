//! A data folder as NDJSON, and back: for backups, for moving to another engine, and to look inside.
//!
//! One JSON object a line: a `header`, then for every job its large contents as `blob` lines and the `job` itself, then
//! idempotency keys, then an `end` with the number of jobs, so that a file that was cut short is noticed. Nothing is left
//! out, so an import gives a folder that differs from the exported one only in where things lie on disk.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::blobs::{BlobHandle, Upload};
use super::disk::Disk;
use super::record::{self, KeyRecord, Part, Record, Stored, StoredArtifact, Writes};
use super::{Content, Options, Settings, StoreError};
use crate::job::{Job, JobId, USAGE_KEPT, Usage};
use crate::time::Time;

const FORMAT: u32 = 1;
/// Bytes of a large content on one line.
const BLOB_LINE_BYTES: usize = 192 * 1024;
/// Writes per commit of an import.
const JOBS_PER_COMMIT: usize = 256;

/// Why an export or import stopped.
#[derive(Debug)]
pub enum TransferError {
    /// The folder.
    Store(StoreError),
    /// The file.
    File(io::Error),
    /// What the file says, and in which line.
    Line(u64, String),
    /// There is something in the folder already.
    NotEmpty,
}

impl std::fmt::Display for TransferError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TransferError::Store(error) => error.fmt(f),
            TransferError::File(error) => write!(f, "the export file: {error}"),
            TransferError::Line(number, what) => write!(f, "line {number} of the export file: {what}"),
            TransferError::NotEmpty => f.write_str("the folder is not empty; import into a new one"),
        }
    }
}

impl std::error::Error for TransferError {}

impl From<StoreError> for TransferError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Header { format: u32 },
    Blob { sha256: String, data: String },
    Job(Box<JobLine>),
    Key { name: String, id: JobId, request: String, kept_until: Time },
    End { jobs: u64 },
}

#[derive(Serialize, Deserialize)]
struct JobLine {
    job: Job,
    parameters: Vec<(String, String)>,
    arguments: Vec<String>,
    input: PayloadLine,
    output: Option<PayloadLine>,
    artifacts: Vec<ArtifactLine>,
    /// Reports written in all; the newest follow.
    usages: u32,
    usage: Vec<Usage>,
    content_gone: bool,
    suspect: bool,
}

#[derive(Serialize, Deserialize)]
struct PayloadLine {
    media_type: String,
    size: u64,
    /// The address of a large content, which stands in lines of its own before.
    blob: Option<String>,
    /// A small content, in base 64.
    data: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ArtifactLine {
    name: String,
    sha256: String,
    payload: PayloadLine,
}

/// Writes everything in the folder to `output`, and answers the number of jobs. The folder must not be in use.
pub fn export(path: &Path, output: &mut dyn Write) -> Result<u64, TransferError> {
    let disk = Disk::open(path, &Settings { claims_max: 0, reserve_bytes: 0 })?;
    write_line(output, &Line::Header { format: FORMAT })?;
    let mut jobs = 0;
    for entry in disk.db.scan_prefix(record::JOB_PREFIX) {
        let record: Record = record::decode(&entry.map_err(StoreError::from)?.1)?;
        let line =
            Exporter { disk: &disk, output, id: record.job.id, content_gone: record.content_gone }.job(record)?;
        write_line(output, &Line::Job(Box::new(line)))?;
        jobs += 1;
    }
    for entry in disk.db.scan_prefix(record::KEY_PREFIX) {
        let (key, sealed) = entry.map_err(StoreError::from)?;
        let KeyRecord { id, request, kept_until } = record::decode(&sealed)?;
        let (name, request) = (hex::encode(&key[1..]), hex::encode(request));
        write_line(output, &Line::Key { name, id, request, kept_until })?;
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
}

impl Exporter<'_> {
    fn job(&mut self, record: Record) -> Result<JobLine, TransferError> {
        let (disk, id) = (self.disk, self.id);
        let options = match u64::from(record.options_bytes) {
            size if size > 0 && !self.content_gone => {
                Options::decode(&record::read_bytes(&disk.db, id, Part::Options, size)?)?
            }
            _ => Options::default(),
        };
        let mut artifacts = Vec::new();
        for number in 0..record.artifacts {
            let key = record::artifact_key(id, number);
            // Gone with the content, if that is gone.
            let Some(artifact) = record::read::<StoredArtifact>(&disk.db, &key)? else { continue };
            let payload = self.payload(Part::Artifact(number), &artifact.stored)?;
            artifacts.push(ArtifactLine { name: artifact.name, sha256: hex::encode(artifact.sha256), payload });
        }
        let numbers = record.usages.saturating_sub(USAGE_KEPT as u32)..record.usages;
        let usage = numbers.filter_map(|number| record::read(&disk.db, &record::usage_key(id, number)).transpose());
        Ok(JobLine {
            usage: usage.collect::<Result<_, StoreError>>()?,
            parameters: options.parameters,
            arguments: options.arguments,
            input: self.payload(Part::Input, &record.input)?,
            output: record.output.as_ref().map(|output| self.payload(Part::Output, output)).transpose()?,
            artifacts,
            usages: record.usages,
            content_gone: record.content_gone,
            suspect: record.suspect,
            job: record.job,
        })
    }

    fn payload(&mut self, part: Part, stored: &Stored) -> Result<PayloadLine, TransferError> {
        let mut line = PayloadLine { media_type: stored.media_type.clone(), size: stored.size, blob: None, data: None };
        if self.content_gone {
            return Ok(line);
        }
        match record::read_content(&self.disk.db, &self.disk.blobs, self.id, part, stored)? {
            Content::Inline(bytes) => line.data = Some(BASE64.encode(bytes)),
            large => {
                let sha256 = hex::encode(large.sha256());
                let mut reader = large.open(0).map_err(StoreError::from)?;
                loop {
                    let chunk = reader.next_chunk(BLOB_LINE_BYTES).map_err(StoreError::from)?;
                    if chunk.is_empty() {
                        break;
                    }
                    write_line(self.output, &Line::Blob { sha256: sha256.clone(), data: BASE64.encode(chunk) })?;
                }
                line.blob = Some(sha256);
            }
        }
        Ok(line)
    }
}

/// Fills a new folder from an export, and answers the number of jobs. What is there already is never touched; after an
/// error the new folder is incomplete and should be deleted.
pub fn import(path: &Path, input: &mut dyn BufRead) -> Result<u64, TransferError> {
    if path.exists() && path.read_dir()?.next().is_some() {
        return Err(TransferError::NotEmpty);
    }
    let disk = Disk::open(path, &Settings { claims_max: 0, reserve_bytes: 0 })?;
    let mut importer = Importer {
        disk: &disk,
        writes: Writes::default(),
        uploads: HashMap::new(),
        held: Vec::new(),
        jobs: 0,
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
    importer.commit()?;
    Ok(importer.jobs)
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
    ended: bool,
}

impl Importer<'_> {
    fn line(&mut self, number: u64, text: &str) -> Result<(), Wrong> {
        let line: Line = serde_json::from_str(text).map_err(|error| Wrong::Line(error.to_string()))?;
        if self.ended {
            return Err("there is more after the end line".into());
        }
        match line {
            Line::Header { format: FORMAT } if number == 1 => Ok(()),
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
                Ok(self.writes.record(&record::idempotency_key(&digest(&name)?), &record)?)
            }
            Line::End { jobs } if jobs == self.jobs => {
                self.ended = true;
                Ok(())
            }
            Line::End { jobs } => Err(Wrong::Line(format!("{jobs} jobs were exported, but {} are here", self.jobs))),
        }
    }

    fn job(&mut self, line: JobLine) -> Result<(), Wrong> {
        let id = line.job.id;
        let mut blobs = HashMap::new();
        for (sha256, upload) in std::mem::take(&mut self.uploads) {
            let Content::Blob(blob) = upload.finish()? else { return Err("a blob is too small to be one".into()) };
            if hex::encode(blob.sha256()) != sha256 {
                return Err(Wrong::Line(format!("blob {sha256} does not have the content of that name")));
            }
            blobs.insert(sha256, blob);
        }
        let options = Options { parameters: line.parameters, arguments: line.arguments }.encode()?;
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
            self.writes.record(&record::artifact_key(id, artifacts), &entry)?;
            artifacts += 1;
        }
        let first = line.usages.saturating_sub(u32::try_from(line.usage.len()).unwrap_or(u32::MAX));
        for (number, usage) in (first..).zip(&line.usage) {
            self.writes.record(&record::usage_key(id, number), usage)?;
        }
        let record = Record {
            job: line.job,
            input,
            options_bytes: u32::try_from(options.len()).unwrap_or(u32::MAX),
            output,
            artifacts,
            usages: line.usages,
            bytes,
            content_gone: line.content_gone,
            suspect: line.suspect,
        };
        self.writes.record(&record::job_key(id), &record)?;
        self.held.extend(blobs.into_values());
        self.jobs += 1;
        if self.jobs.is_multiple_of(JOBS_PER_COMMIT as u64) { self.commit().map_err(Wrong::Store) } else { Ok(()) }
    }

    fn payload(
        &mut self,
        id: JobId,
        part: Part,
        line: PayloadLine,
        blobs: &HashMap<String, BlobHandle>,
        content_gone: bool,
    ) -> Result<Stored, Wrong> {
        let mut stored = Stored { media_type: line.media_type, size: line.size, blob: None };
        match (line.data, line.blob) {
            (Some(data), None) => {
                let bytes = unbase64(&data)?;
                stored.size = bytes.len() as u64;
                self.writes.bytes(id, part, &bytes)?;
            }
            (None, Some(sha256)) => {
                let blob = self.blob(&sha256, blobs)?;
                stored.blob = Some(blob);
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

fn write_line(output: &mut dyn Write, line: &Line) -> Result<(), TransferError> {
    serde_json::to_writer(&mut *output, line).map_err(io::Error::from)?;
    output.write_all(b"\n")?;
    Ok(())
}

fn unbase64(text: &str) -> Result<Vec<u8>, Wrong> {
    BASE64.decode(text).map_err(|error| Wrong::Line(format!("a content is not base 64: {error}")))
}

fn digest(text: &str) -> Result<[u8; 32], Wrong> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|error| Wrong::Line(format!("{text:?} is no digest: {error}")))?;
    Ok(digest)
}
