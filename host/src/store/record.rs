//! What stands on disk: the records, and what was read of them in whichever version a host wrote it. `keys` says where each
//! of them lies, `envelope` what stands around each.

mod envelope;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) use self::envelope::{CHUNK_BYTES, decode, encode, encode_here, seal};
use self::envelope::{VERSION, decode_value, encode_as, unknown_version, unseal, unseal_any};
use super::StoreError;
use super::blobs::{Blobs, Content};
use super::exchange::Options;
use super::keys::{Part, chunk_key, job_key, usage_key};
use super::stored::{Inline, Place, Stored};
use super::table::Table;
use crate::job::{Job, JobId, Owner, Run, Usage};
use crate::time::Time;

/// Of a job's record: since 2 its owner follows it, since 3 a small job's payloads stand in it as well.
const JOB_VERSION: u8 = 3;
const OWNED_JOB_VERSION: u8 = 2;

/// A job as it stands on disk. `Running` never does: such a job is written as queued. Written by [`encode_job`] and read by
/// [`decode_job`] alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) job: Job,
    pub(super) input: Stored,
    /// Size of the encoded parameters and arguments, which lie in chunks.
    pub(super) options_bytes: u32,
    pub(super) output: Option<Stored>,
    pub(super) artifacts: u32,
    /// Usage reports written so far; the newest ten are still there.
    pub(super) usages: u32,
    /// Input, what it names, output and artifacts together.
    pub(super) bytes: u64,
    /// Retention has taken input, output and artifacts away.
    pub(super) content_gone: bool,
    /// It was inside a guest when a host process died, and has not ended an attempt since.
    pub(super) suspect: bool,
    /// The encoded parameters and arguments, if they stand here and not in chunks.
    #[serde(skip)]
    pub(super) options: Option<Inline>,
    /// The usage report of the first attempt, encoded, if it stands here and not under its own key.
    #[serde(skip)]
    pub(super) first_report: Option<Inline>,
    /// How many blobs its input names. Earlier hosts did not note it.
    #[serde(skip)]
    pub(super) named: Option<u32>,
}

impl Record {
    /// Bytes of payloads that a job's record holds itself, so that a small job is one value. What stands in it besides is
    /// small as a rule; where it is not, and all of it would be larger than a value may be, they move out.
    pub(super) const HERE_BYTES_MAX: usize = 2_048;

    /// The record of a job that has no input and has left nothing yet.
    pub(super) fn new(job: Job) -> Self {
        Self {
            job,
            input: Stored { media_type: String::new(), size: 0, place: Place::Chunks },
            options_bytes: 0,
            output: None,
            artifacts: 0,
            usages: 0,
            bytes: 0,
            content_gone: false,
            suspect: false,
            options: None,
            first_report: None,
            named: None,
        }
    }

    /// How many more bytes of payloads may stand in it.
    pub(super) fn room(&self) -> usize {
        Self::HERE_BYTES_MAX.saturating_sub(self.here())
    }

    /// The memory it takes, about.
    pub(super) fn footprint(&self) -> usize {
        let Job { tags, failure, progress, .. } = &self.job;
        let tags: usize = tags.iter().map(|tag| size_of::<String>() + tag.len()).sum();
        let failure = failure.as_ref().map_or(0, |failure| failure.message.len());
        // Besides: names, media types, the place in a map.
        size_of::<Self>() + 256 + tags + failure + progress.message.len() + self.here()
    }

    /// Whether all that an attempt needs stands in it.
    pub(super) fn is_whole(&self) -> bool {
        let options_here = self.options_bytes == 0 || self.options.is_some();
        options_here && self.named == Some(0) && matches!(self.input.place, Place::Here(_))
    }

    fn here(&self) -> usize {
        let inline = |part: &Option<Inline>| part.as_ref().map_or(0, |part| part.0.len());
        let output = self.output.as_ref().map_or(0, Stored::here);
        self.input.here() + output + inline(&self.options) + inline(&self.first_report)
    }

    /// Reads what the plugin is told besides its input.
    pub(super) fn read_options(&self, db: &Table) -> Result<Options, StoreError> {
        match (&self.options, u64::from(self.options_bytes)) {
            (Some(options), _) => Options::decode(&options.0),
            (None, 0) => Ok(Options::default()),
            (None, size) => Options::decode(&read_bytes(db, self.job.id, Part::Options, size)?),
        }
    }

    /// Reads the usage report with this number, if it is still kept.
    pub(super) fn read_report(&self, db: &Table, number: u32) -> Result<Option<Usage>, StoreError> {
        let report = match &self.first_report {
            Some(first) if number == 0 => Some(decode_report(&first.0)?),
            _ => {
                let sealed = db.get(usage_key(self.job.id, number))?;
                sealed.map(|sealed| decode_report(unseal(&sealed)?)).transpose()?
            }
        };
        Ok(report.map(|report| match report.run {
            // Earlier hosts did not note it. The report's number is smaller than all that were noted since.
            Run(0) => Usage { run: Run(number.into()), ..report },
            _ => report,
        }))
    }
}

/// What an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) id: JobId,
    /// Digest of the request it came with.
    pub(super) request: [u8; 32],
    pub(super) kept_until: Time,
}

/// An artifact's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredArtifact {
    pub(super) name: String,
    pub(super) sha256: [u8; 32],
    pub(super) stored: Stored,
}

/// A usage report out of its envelope. Before reports said of which run they are, and how much was logged in it, they ended where that
/// stands now.
fn decode_report(value: &[u8]) -> Result<Usage, StoreError> {
    match postcard::from_bytes(value) {
        Ok(usage) => Ok(usage),
        Err(postcard::Error::DeserializeUnexpectedEnd) => decode_value(&[value, &[0, 0]].concat()),
        Err(_) => decode_value(value),
    }
}

/// A job's record in its envelope.
pub(super) fn encode_job(record: &Record) -> Result<Vec<u8>, StoreError> {
    let Record { job, options, first_report, named, .. } = record;
    encode_as(JOB_VERSION, &(record, job.owner, options, first_report, named))
}

/// A job's record out of its envelope, whichever version of the host wrote it.
pub(super) fn decode_job(sealed: &[u8]) -> Result<Record, StoreError> {
    let (mut record, owner, options, first_report, named): (Record, Option<Owner>, _, _, _) = match unseal_any(sealed)?
    {
        (JOB_VERSION, value) => decode_value(value)?,
        (OWNED_JOB_VERSION, value) => {
            let (record, owner) = decode_value(value)?;
            (record, owner, None, None, None)
        }
        // From before there were owners: nobody's.
        (VERSION, value) => (decode_value(value)?, None, None, None, None),
        (version, _) => return Err(unknown_version(version)),
    };
    record.job.owner = owner;
    Ok(Record { options, first_report, named, ..record })
}

/// A job's record, if there is one.
pub(super) fn read_job(db: &Table, id: JobId) -> Result<Option<Record>, StoreError> {
    db.get(job_key(id))?.map(|sealed| decode_job(&sealed)).transpose()
}

/// The record under `key`, if there is one.
pub(super) fn read<T: DeserializeOwned>(db: &Table, key: &[u8]) -> Result<Option<T>, StoreError> {
    db.get(key)?.map(|sealed| decode(&sealed)).transpose()
}

/// Reads what [`super::writes::Writes::content`] wrote, or opens the blob.
pub(super) fn read_content(
    db: &Table,
    blobs: &Blobs,
    id: JobId,
    part: Part,
    stored: &Stored,
) -> Result<Content, StoreError> {
    match &stored.place {
        Place::Blob(sha256) => Ok(Content::Blob(blobs.hold(*sha256, stored.size)?)),
        Place::Chunks => Ok(Content::Inline(read_bytes(db, id, part, stored.size)?)),
        Place::Here(bytes) => Ok(Content::Inline(bytes.0.clone())),
    }
}

/// Reads what [`super::writes::Writes::bytes`] wrote.
pub(super) fn read_bytes(db: &Table, id: JobId, part: Part, size: u64) -> Result<Bytes, StoreError> {
    let size = usize::try_from(size).ok().filter(|size| *size <= Content::INLINE_BYTES_MAX * 2);
    let size = size.ok_or_else(|| StoreError::damaged("a payload claims an impossible size"))?;
    let mut bytes = Vec::with_capacity(size);
    for sequence in 0u32.. {
        if bytes.len() >= size {
            break;
        }
        let chunk = db.get(chunk_key(id, part, sequence))?;
        let chunk = chunk.ok_or_else(|| StoreError::damaged(format!("job {id}: a piece of a payload is missing")))?;
        bytes.extend_from_slice(unseal(&chunk)?);
    }
    if bytes.len() == size { Ok(bytes.into()) } else { Err(StoreError::damaged("a payload has the wrong size")) }
}

#[cfg(test)]
mod tests {
    use super::super::writes::Writes;
    use super::*;
    use crate::job::Kind;

    #[test]
    fn a_report_is_read_whichever_version_wrote_it() {
        let usage =
            Usage { attempt: 3, log: vec!["x".to_owned(); 2], log_lines: 300, run: Run(7 << 40), ..Usage::default() };
        let encoded = encode_here(&usage).expect("small enough");
        assert_eq!(decode_report(&encoded).ok(), Some(usage.clone()));
        // The first version wrote neither of the last two.
        let first = encode_here(&Usage { log_lines: 0, run: Run(0), ..usage.clone() }).expect("small enough");
        let first = &first[..first.len() - 2];
        let expected = Usage { log_lines: 0, run: Run(0), ..usage };
        assert_eq!(decode_report(first).ok(), Some(expected.clone()));
        assert!(decode_report(&first[..first.len() - 3]).is_err(), "half of it is none");
        let kind = Kind::new("a").expect("well-formed");
        let job = Job::new(JobId::from_u128(7), kind, Time(5));
        let record =
            Record { first_report: Some(Inline(Bytes::copy_from_slice(first))), usages: 1, ..Record::new(job) };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let db = Table::open(folder.path()).expect("it opens");
        assert_eq!(record.read_report(&db, 0).ok(), Some(Some(expected.clone())));
        let mut writes = Writes::default();
        writes.sealed(&usage_key(record.job.id, 4), first).expect("small");
        db.put(1, writes).expect("small");
        assert_eq!(record.read_report(&db, 4).ok(), Some(Some(Usage { run: Run(4), ..expected })));
    }

    #[test]
    fn a_job_is_read_whichever_version_wrote_it() {
        let kind = Kind::new("a").expect("well-formed");
        let mut record = Record {
            job: Job { tags: vec!["x".to_owned()], ..Job::new(JobId::from_u128(7), kind, Time(5)) },
            input: Stored { media_type: "text/plain".to_owned(), size: 3, place: Place::Chunks },
            options_bytes: 0,
            output: None,
            artifacts: 0,
            usages: 2,
            bytes: 3,
            content_gone: false,
            suspect: true,
            options: None,
            first_report: None,
            named: None,
        };
        // The form in which the first version wrote it.
        assert_eq!(decode_job(&encode(&record).expect("small enough")).ok(), Some(record.clone()));
        record.job.owner = Some(Owner::new(9));
        // That in which the second one did.
        let second = encode_as(OWNED_JOB_VERSION, &(&record, record.job.owner)).expect("small enough");
        assert_eq!(decode_job(&second).ok(), Some(record.clone()));
        record.options = Some(Inline(Bytes::from_static(b"options")));
        record.first_report = Some(Inline(Bytes::from_static(b"report")));
        record.input.place = Place::Here(Inline(Bytes::from_static(b"abc")));
        record.named = Some(0);
        let sealed = encode_job(&record).expect("small enough");
        assert_eq!(decode_job(&sealed).ok(), Some(record));
        let mut later = sealed.clone();
        later[0] = JOB_VERSION + 1;
        assert!(decode_job(&later).is_err());
        assert!(decode::<Record>(&sealed).is_err(), "nobody reads it without its owner");
    }
}
