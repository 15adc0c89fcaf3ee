//! `plugins/NAME.toml`: what the operator says about one kind, read and checked.
//!
//! Every key is optional, and a missing file is an empty one. What is wrong is said in one sentence per mistake, which
//! names the key, what was found and what is expected, and never repeats a value that could be a secret.

mod bounds;
mod doubts;
mod mistakes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use serde::Deserialize;

pub use self::bounds::ATTEMPTS_MAX;
pub(crate) use self::doubts::doubts;
pub(crate) use self::mistakes::{nearest, of_text as mistake_in_text, of_value as mistake_in_value};
use crate::job::{Backoff, Code, Kind};
use crate::sandbox::{Absence, FolderGrant, Grants, HttpGrant, Limits, TcpGrant};
use crate::secrets::SecretSource;
use crate::store::Retention;
use crate::time::Span;

/// Larger files are refused.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes an attempt may send and receive over the network, unless its settings say otherwise.
const NETWORK_BYTES: u64 = 1 << 30;

/// The keys of `NAME.toml`. What is not there is as the plugin wishes, or as the host's own settings say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindSettings {
    /// Time limit of an attempt.
    pub timeout: Option<Span>,
    /// The longest time limit a job may ask for.
    pub timeout_max: Option<Span>,
    /// Memory of a job, in bytes.
    pub memory_bytes: Option<u64>,
    /// Result and artifacts of a job together, in bytes.
    pub output_bytes: Option<u64>,
    /// Fuel per millisecond of the time limit.
    pub fuel_per_ms: Option<u64>,
    /// The most jobs of this kind that run at once. No limit of its own by default.
    pub concurrency: Option<u32>,
    /// Unfinished jobs of this kind; further ones are refused.
    pub queue_max: Option<u64>,
    /// Attempts of a job that does not say how many.
    pub max_attempts: Option<u32>,
    /// Failures that are tried again besides `transient` and `internal`.
    pub retry_on: Vec<Code>,
    /// Pause before a second attempt; doubles from attempt to attempt.
    pub retry_pause: Option<Span>,
    /// The longest pause between attempts.
    pub retry_pause_max: Option<Span>,
    /// How long results are kept; the records of their jobs stay as long again.
    pub keep: Option<Span>,
    /// Finished jobs kept at most.
    pub keep_jobs_max: Option<u64>,
    /// Inputs, the blobs they name, results and artifacts of finished jobs kept at most, in bytes.
    pub keep_bytes_max: Option<u64>,
    /// Values the plugin can ask for by name.
    pub config: BTreeMap<String, String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Values from elsewhere: environment variables that `config` of the contract answers as well. Relative paths begin at the
    /// plugin folder.
    secrets: BTreeMap<String, SecretSource>,
    /// Requests it may send.
    pub http: Vec<HttpGrant>,
    /// Addresses it may connect to.
    pub tcp: Vec<TcpGrant>,
    /// Bytes an attempt may send and receive over the network, together.
    pub network_bytes: Option<u64>,
    /// Folders it may read.
    pub folders: Vec<FolderGrant>,
    /// A command's first arguments, after its name.
    pub args: Vec<String>,
    /// Whether a job may append arguments of its own.
    pub job_args: bool,
    /// Media type of a command's output. Guessed by default.
    pub media_type: Option<String>,
    /// Whether a command gets the folders `/in` and `/out`.
    pub scratch: bool,
    /// The most that may lie in `/out`, in bytes. As much as the output by default.
    pub scratch_bytes: Option<u64>,
    /// The most that may lie in `/in`, in bytes. 4 GiB by default.
    pub scratch_in_bytes: Option<u64>,
    /// What is valid and may not be meant: a sentence each, with the key.
    #[serde(skip)]
    pub doubts: Vec<String>,
}

impl KindSettings {
    /// Reads the text of a file. `limits_max` is what the host grants any kind.
    pub(super) fn parse(text: &str, limits_max: &Limits) -> Result<Self, String> {
        // Read in two steps: the errors of the text say where in the file, those of the values which key.
        let table: toml::Table = text.parse().map_err(|error| mistakes::of_text(text, &error))?;
        let figment = Figment::from(Serialized::defaults(table));
        let settings: Self = figment.extract().map_err(mistakes::of_values)?;
        settings.check(limits_max)?;
        Ok(Self { doubts: doubts(&figment), ..settings })
    }

    /// What the guests of this kind may reach, with the secrets that `read` reads; relative paths begin at `base`. Whether the folders are
    /// there is not looked at.
    pub(super) fn grants(
        &self,
        kind: &Kind,
        base: &Path,
        mut read: impl FnMut(&SecretSource) -> Result<String, String>,
    ) -> Result<Grants, String> {
        let mut grants = Grants {
            settings_file: format!("plugins/{kind}.toml"),
            network_bytes: self.network_bytes.unwrap_or(NETWORK_BYTES),
            config: self.config.clone(),
            environment: self.environment.clone(),
            http: self.http.clone(),
            tcp: self.tcp.clone(),
            folders: self.granted_folders(base),
        };
        for (name, source) in &self.secrets {
            let secret = read(source).map_err(|error| format!("secrets.{name}: {error}"))?;
            grants.config.insert(name.clone(), secret.clone());
            grants.environment.insert(name.clone(), secret);
        }
        Ok(grants)
    }

    fn granted_folders(&self, base: &Path) -> Vec<FolderGrant> {
        let granted = self.folders.iter();
        granted.map(|folder| FolderGrant { host: base.join(&folder.host), guest: folder.guest.clone() }).collect()
    }

    /// What is said of one of the folders that is not known to be there.
    pub(super) fn absence(&self, number: usize, absence: Absence) -> String {
        let found = self.folders.get(number).map(|folder| folder.host.as_path()).unwrap_or(Path::new(""));
        match absence {
            Absence::Missing => format!("folders.{number}.host: found {found:?}, expected a folder that is there"),
            Absence::Silent => format!(
                "folders.{number}.host: {found:?} does not answer, as on a disk or server that is gone; the file is checked \
                 again when it does"
            ),
        }
    }

    /// Where those secrets lie that are in files; relative paths begin at `base`.
    pub(super) fn secret_files(&self, base: &Path) -> Vec<PathBuf> {
        self.secrets.values().filter_map(|source| Some(base.join(source.file()?))).collect()
    }

    /// For a job component: says which keys are of no use to it.
    pub(super) fn check_no_command(&self) -> Result<(), String> {
        let keys = [
            ("args", !self.args.is_empty()),
            ("job_args", self.job_args),
            ("media_type", self.media_type.is_some()),
            ("scratch", self.scratch),
            ("scratch_bytes", self.scratch_bytes.is_some()),
            ("scratch_in_bytes", self.scratch_in_bytes.is_some()),
        ];
        match keys.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(format!("{key}: it is for programs, and this is a job component; leave it out")),
            None => Ok(()),
        }
    }

    /// The pauses between attempts, where they differ from the host's.
    pub fn backoff(&self, host: Backoff) -> Backoff {
        let first = self.retry_pause.map_or(host.first, |span| span.0);
        // Whoever sets only the first pause means it.
        let longest = self.retry_pause_max.map_or(host.longest.max(first), |span| span.0);
        Backoff { first: first.min(longest), longest }
    }

    /// Whether finished jobs of this kind are kept in a way of their own.
    pub(super) fn has_retention(&self) -> bool {
        self.keep.is_some() || self.keep_jobs_max.is_some() || self.keep_bytes_max.is_some()
    }

    /// What is left of finished jobs of this kind. Their number and size have no limit of their own by default: the host's
    /// counts them among all the others.
    pub fn retention(&self, host: Retention) -> Retention {
        Retention {
            age: self.keep.map_or(host.age, |span| span.0),
            jobs_max: self.keep_jobs_max.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX),
            bytes_max: self.keep_bytes_max.unwrap_or(u64::MAX),
        }
    }

    /// Whether such a failure is tried again while attempts are left.
    pub fn retries(&self, code: Code) -> bool {
        self.retry_on.contains(&code)
    }
}
