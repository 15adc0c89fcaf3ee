//! Flags, environment, file and defaults, turned into one checked value.
//!
//! A flag goes before a `DROPFORGE_…` variable, that before the file, that before the default. A name that means
//! nothing is an error in all of them: a misspelt limit must not silently be none.

mod bounds;
mod defaults;
mod mistakes;
mod places;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Serialized};
use serde::{Deserialize, Serialize};

pub use self::mistakes::ConfigError;
pub use self::places::Named;
use crate::outbound::HostName;
use crate::rate::RateLimit;
use crate::secrets::SecretSource;
use crate::time::Span;
use crate::webhooks::Receiver;

const PREFIX: &str = "DROPFORGE_";
/// Variables with our prefix that are not settings: where the file is, and what the command line's client uses.
const NOT_SETTINGS: &[&str] = &["config", "url", "token", "patience", "test_crash_word", "test_clock"];

const MIB: u64 = 1 << 20;

/// Everything that can be set, with its default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. `127.0.0.1:8080`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Listen beyond this machine although there are no tokens and nobody has to show who they are. `false`
    pub insecure: bool,
    /// PEM file of the host's certificate, with those that vouch for it after it: what is listened on is TLS. None
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key. None
    pub tls_key: Option<PathBuf>,
    /// Where jobs are kept. `dropforge-data`
    pub data: PathBuf,
    /// Where plugins are dropped. `plugins`
    pub plugins: PathBuf,
    /// Threads that run jobs; 0 means one for each processor. `0`
    pub workers: usize,
    /// Jobs that may wait in host calls at a time. `1000`
    pub parked_jobs_max: u32,
    /// Unfinished jobs per kind. `100000`
    pub queue_max: u64,
    /// Largest JSON body, in bytes. 8 MiB
    pub json_bytes_max: u64,
    /// Largest raw body, in bytes. 256 MiB
    pub body_bytes_max: u64,
    /// How often each token, or each address where there is no token, may ask, such as `60/min`. `off`
    pub rate_limit: RateLimit,
    /// Origins whose pages may talk to this host, such as `https://app.example.org`, or `*`. None
    pub cors_origins: Vec<String>,
    /// Names by which clients may ask where no token is needed, besides addresses and names without a dot. None, and with `insecure` all
    pub hosts: Vec<HostName>,
    /// Connections at a time. `20000`, or fewer if the system allows fewer open files
    pub connections_max: usize,
    /// Requests at a time on one connection of HTTP/2. `200`
    pub streams_max: u32,
    /// Largest head of a request, in bytes. 32 KiB
    pub header_bytes_max: u32,
    /// How long a new connection may take until its first request is there. `10s`
    pub header_timeout: Span,
    /// How long a connection may be without a request, and how long a client may pause while it sends or takes a body. `60s`
    pub idle_timeout: Span,
    /// Longest `Prefer: wait`. `5m`
    pub wait_max: Span,
    /// Clients that may follow events or logs at a time, each open WebSocket included. `20000`
    pub listeners_max: usize,
    /// How long a host that is told to stop waits for running jobs before it hands them back. `10s`
    pub grace: Span,
    /// How often a stream of events that has nothing to tell shows that it is alive. `15s`
    pub keep_alive: Span,
    /// Time limit of an attempt, unless the plugin or the job says otherwise. `60s`
    pub timeout: Span,
    /// The longest time limit anybody may ask for. `1h`
    pub timeout_max: Span,
    /// Fuel a job gets per millisecond of its time limit. `25000000`, more than a processor burns, so that time ends a job
    pub fuel_per_ms: u64,
    /// Memory of a job, in bytes, unless the plugin wishes otherwise. 256 MiB
    pub memory_bytes: u64,
    /// The most memory a plugin may wish, in bytes. 1 GiB
    pub memory_bytes_max: u64,
    /// Result and artifacts of a job, in bytes, unless the plugin wishes otherwise. 256 MiB
    pub output_bytes: u64,
    /// The most output a plugin may wish, in bytes. 4 GiB
    pub output_bytes_max: u64,
    /// Largest plugin file, in bytes. 256 MiB
    pub plugin_file_bytes_max: u64,
    /// Plugin files being compiled at a time; of several, one place is for files of up to 8 MiB. `2`
    pub plugin_checks_max: usize,
    /// Pause before a second attempt; doubles from attempt to attempt. `1s`
    pub retry_pause: Span,
    /// The longest pause between attempts. `10m`
    pub retry_pause_max: Span,
    /// Times the host may die with a job under suspicion before the job fails with `host_crash`. `3`
    pub crashes_max: u32,
    /// How long results are kept; the records of their jobs stay as long again. `168h`
    pub keep: Span,
    /// Finished jobs kept at most. `100000`
    pub keep_jobs_max: usize,
    /// Inputs, the blobs they name, results and artifacts of finished jobs kept at most, in bytes. 10 GiB
    pub keep_bytes_max: u64,
    /// How long an idempotency key is remembered. `24h`
    pub keep_keys: Span,
    /// How long an uploaded blob is kept that no job names. `24h`
    pub keep_uploads: Span,
    /// Uploads kept at a time of each token, or of all clients without one together. `10000`
    pub uploads_max: u64,
    /// What these uploads may have together, in bytes. 10 GiB
    pub upload_bytes_max: u64,
    /// Room on the disk, in bytes, kept for the outcomes of accepted jobs: with less, nothing new is accepted. 256 MiB
    pub disk_reserve_bytes: u64,
    /// Who may be told how jobs end, such as `[{host = "hooks.example.org"}]`. None
    pub webhooks: Vec<Receiver>,
    /// Where the secrets are that webhooks are signed with, such as `[{file = "webhook.secret"}]`. None
    pub webhook_secrets: Vec<SecretSource>,
    /// How long a try to deliver a webhook may take. `15s`
    pub webhook_timeout: Span,
    /// Pause before a second try; doubles from try to try. `5s`
    pub webhook_pause: Span,
    /// The longest pause between tries. `1h`
    pub webhook_pause_max: Span,
    /// How long a webhook is tried before it is given up. `24h`
    pub webhook_keep_trying: Span,
    /// Webhooks of each token, or of all clients without one together, to one receiver that are not delivered yet, those of unfinished jobs
    /// included. `100000`
    pub webhooks_max: usize,
    /// What to log of this host: error, warn, info, debug or trace; or directives such as `info,sled=debug`, where a level is for everything in
    /// the program. `info`
    pub log: String,
    /// What is valid and may not be meant: a sentence each, with the name of the setting.
    #[serde(skip)]
    pub doubts: Vec<String>,
    /// How the folders were named.
    #[serde(skip)]
    pub named: Named,
}

/// What was given on the command line; the rest comes from elsewhere.
#[derive(Debug, Default, Serialize)]
pub struct Flags {
    /// `--listen`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// `--insecure`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// `--tls-cert`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// `--data`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// `--plugins`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<PathBuf>,
    /// `--workers`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// `--grace`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
}

impl Config {
    /// Puts everything together. `file` must exist if it is named.
    pub fn load(flags: &Flags, file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError::Missing(file.to_owned()));
            }
            figment = figment.merge(Serialized::defaults(mistakes::read(file)?));
        }
        let figment = figment.merge(Env::prefixed(PREFIX).ignore(NOT_SETTINGS)).merge(Serialized::defaults(flags));
        let config: Self = figment.extract().map_err(|errors| {
            // All of them: whoever has to mend the file wants to do it once.
            ConfigError::Wrong(
                errors.into_iter().map(|error| mistakes::told(&error, file)).collect::<Vec<_>>().join("; "),
            )
        })?;
        let broken: Vec<String> =
            bounds::broken(&config).map(|rule| mistakes::told_of_rule(&rule, &figment, file)).collect();
        if !broken.is_empty() {
            return Err(ConfigError::Wrong(broken.join("; ")));
        }
        Ok(Self { doubts: crate::plugins::doubts(&figment), named: Named::of(&figment, file), ..config })
    }

    /// How many threads run jobs.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}

#[cfg(test)]
// A closure of figment's test jail returns its large error type.
#[expect(clippy::result_large_err, reason = "the jail's closure type is figment's choice")]
mod tests {
    use std::time::Duration;

    use figment::Jail;

    use super::*;

    pub(super) fn load(flags: &Flags) -> Result<Config, ConfigError> {
        Config::load(flags, Path::new("dropforge.toml").is_file().then_some(Path::new("dropforge.toml")))
    }

    #[test]
    fn a_flag_goes_before_a_variable_before_the_file_before_the_default() {
        Jail::expect_with(|jail| {
            jail.create_file("dropforge.toml", "workers = 3\nqueue_max = 7\ntimeout = \"5s\"")?;
            jail.set_env("DROPFORGE_WORKERS", "4");
            jail.set_env("DROPFORGE_TIMEOUT", "500ms");
            let config = load(&Flags { workers: Some(5), ..Flags::default() }).expect("valid");
            assert_eq!((config.workers, config.queue_max), (5, 7));
            assert_eq!(config.timeout.0, Duration::from_millis(500));
            assert_eq!(load(&Flags::default()).expect("valid").workers, 4);
            Ok(())
        });
    }

    #[test]
    fn short_times_without_a_unit_are_doubted_wherever_they_stand() {
        Jail::expect_with(|jail| {
            jail.create_file(
                "dropforge.toml",
                "timeout = 30\nkeep = 168\nretry_pause = \"50ms\"\nwait_max = 100\nkeep_keys = 0",
            )?;
            jail.set_env("DROPFORGE_KEEP_ALIVE", "15");
            let config = load(&Flags { grace: Some("10".to_owned()), ..Flags::default() }).expect("valid");
            let keys: Vec<_> = config.doubts.iter().filter_map(|doubt| Some(doubt.split_once(':')?.0)).collect();
            assert_eq!(keys, ["grace", "keep_alive", "timeout", "keep"], "{:?}", config.doubts);
            Ok(())
        });
        Jail::expect_with(|_| {
            assert_eq!(load(&Flags::default()).expect("valid").doubts, [""; 0]);
            Ok(())
        });
    }

    #[test]
    fn unknown_names_and_impossible_values_are_errors() {
        for (file, variable, hint) in [
            ("wrokers = 3", None, "wrokers"),
            ("", Some(("DROPFORGE_WROKERS", "3")), "wrokers"),
            ("timeout = \"soon\"", None, "timeout"),
            ("timeout = \"2h\"", None, "timeout_max"),
            ("webhooks = [{ host = \"a.example\" }]", None, "webhook_secrets"),
            ("webhooks = [{ host = \"a.example\", methods = [] }]", None, "methods"),
            ("webhooks = [{ host = \"http://a.example\" }]", None, "host name"),
        ] {
            Jail::expect_with(|jail| {
                jail.create_file("dropforge.toml", file)?;
                if let Some((name, value)) = variable {
                    jail.set_env(name, value);
                }
                let error = load(&Flags::default()).expect_err(hint).to_string();
                assert!(error.to_lowercase().contains(hint), "{error}");
                Ok(())
            });
        }
    }
}
