//! Builds the parts, serves, and stops them in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{self, Api, Front, Hosts, Origins};
use crate::config::Config;
use crate::connections::{self, Certificate, Door};
use crate::job::{Backoff, Persistence};
use crate::plugins::{self, Plugins};
use crate::queue::{self, Queue};
use crate::sandbox::{Capacity, Folders, LOOK_MAX, Limits, Sandbox};
use crate::secrets::SecretSource;
use crate::store::{self, Retention, Share, Store};
use crate::tokens::Tokens;
use crate::webhooks::{self, Secret, Webhooks};
use crate::worker::{Workers, Workplace};

/// Open files that connections leave to everything else, or half of them if there are not so many.
const FILES_KEPT: usize = 1_000;
/// How long requests that are being answered may take once the host is stopping.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A host that is running. [`Server::stop`] it: dropped, it stops without order, as a killed process would.
pub struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    http: JoinHandle<()>,
    is_tls: bool,
    time: JoinHandle<()>,
    webhooks: JoinHandle<()>,
    plugins: Arc<Plugins>,
    workers: Workers,
    queue: Arc<Queue>,
}

impl Server {
    /// Opens the data folder, starts to watch the plugin folder, and serves.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        for (folder, named) in [(&config.data, &config.named.data), (&config.plugins, &config.named.plugins)] {
            let path = folder.clone();
            let found = Folders::default().at(folder).ask(LOOK_MAX, move |_| std::fs::metadata(path));
            // What is wrong with others, which may not even answer, is known to those who open them.
            if found.is_some_and(|found| found.is_ok_and(|found| !found.is_dir())) {
                anyhow::bail!(
                    "{named}: {} is a file, expected a folder, which is made if it is not there",
                    folder.display()
                );
            }
        }
        raise_file_limit();
        let tokens = tokens(config)?;
        let certificate = certificate(config)?;
        let tls = certificate.as_ref().map(Certificate::config).transpose()?;
        let origins = Origins::new(&config.cors_origins).map_err(anyhow::Error::msg).context("cors_origins")?;
        let hosts = Hosts::new(&config.hosts, config.insecure || origins.are_all());
        let webhooks = webhook_settings(config)?;
        let is_tls = tls.is_some();
        // The address first: if it is taken, nothing has been touched.
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener
            .with_context(|| format!("cannot listen on {} (--listen 127.0.0.1:0 takes a free port)", config.listen))?;
        let address = listener.local_addr()?;
        let (data, settings) = (config.data.clone(), store_settings(config));
        let store = tokio::task::spawn_blocking(move || Store::open(&data, &settings)).await?;
        let store = store.with_context(|| format!("cannot open the data folder {}", config.data.display()))?;
        let sandbox = Sandbox::of_host(capacity(config), config.data.join("compiled"))
            .map_err(anyhow::Error::from)
            .context("cannot start the sandbox")?;
        let plugins = Plugins::watch(plugin_settings(config), Arc::clone(&sandbox), store.blobs())
            .with_context(|| format!("cannot use the plugin folder {}", config.plugins.display()))?;
        let failed = store.failed();
        let queue = Arc::new(Queue::new(store, queue_settings(config)));
        queue.recover().await.context("cannot take up where the last host stopped")?;
        let place = Workplace {
            queue: Arc::clone(&queue),
            plugins: Arc::clone(&plugins),
            sandbox,
            jobs_per_thread_max: jobs_per_thread(config),
        };
        let workers = Workers::start(config.worker_count(), &place)?;
        let (timekeeper, watched, kinds) = (Arc::clone(&queue), Arc::clone(&tokens), Arc::clone(&plugins));
        let time = tokio::spawn(async move {
            // None of them ever returns.
            tokio::join!(
                timekeeper.keep_time(|| kinds.retention(timekeeper.retention())),
                timekeeper.keep_telling(),
                timekeeper.events().hand_out(),
                watched.keep_reading(),
                async {
                    if let Some(certificate) = certificate {
                        certificate.keep_reading().await;
                    }
                },
            );
        });
        let stopping = watch::Sender::new(false);
        let webhooks = Arc::new(Webhooks::new(webhooks, Arc::clone(&queue), api::job_as_json));
        let delivering = tokio::spawn(Arc::clone(&webhooks).keep_delivering(stopping.subscribe()));
        let api = Api {
            queue: Arc::clone(&queue),
            plugins: Arc::clone(&plugins),
            tokens,
            rate_limit: config.rate_limit.0,
            webhooks,
            origins,
            hosts,
            limits: api_limits(config),
            workers: config.worker_count(),
            pulse: workers.pulse(),
            stopping: stopping.subscribe(),
        };
        let door = Door::new(listener, tls, connection_limits(config), api::refusal_of_a_connection());
        let http = tokio::spawn(door.serve(Front::new(api), stopping.subscribe()));
        Ok(Self { address, is_tls, stopping, failed, http, time, webhooks: delivering, plugins, workers, queue })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, with the scheme that is spoken there.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.address)
    }

    /// How many durable commits its store has made, over all its life.
    pub fn commits(&self) -> u64 {
        self.queue.store().commits()
    }

    /// Returns, with the reason, once the host can no longer keep its promises and has to end.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        // The store lives as long as this server; if it were gone, that would be a reason as well.
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "the store is gone".to_owned())
    }

    /// Starts no more jobs and lets those that run go on for up to `grace`. Everything else is served as before.
    pub async fn drain(&self, grace: Duration) {
        let left = self.queue.drain(grace).await;
        if left > 0 {
            tracing::info!(jobs = left, "jobs that still run are handed back and will run again");
        }
    }

    /// Stops everything, in the order in which it depends on each other.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { stopping, mut http, time, mut webhooks, plugins, mut workers, queue, .. } = self;
        // 1. No new requests; those that wait for a job are answered now, the others get a moment, and so do webhooks that are
        // being delivered.
        stopping.send_replace(true);
        let (answered, delivered) = tokio::join!(
            tokio::time::timeout(LAST_ANSWERS, &mut http),
            tokio::time::timeout(LAST_ANSWERS, &mut webhooks)
        );
        if answered.is_err() {
            tracing::warn!("some clients did not take their answers in time");
            http.abort();
        }
        if delivered.is_err() {
            tracing::info!("some webhooks are delivered after the next start");
            webhooks.abort();
        }
        // 2. No new plugins. 3. No new jobs; running ones go back to the queue, and that is recorded.
        time.abort();
        let handed_back = tokio::task::spawn_blocking(move || {
            plugins.stop();
            workers.stop(&queue);
            // 4. Nothing changes any more: the store ends its last commit and lets go of the folder.
            queue.store().close();
        });
        handed_back.await?;
        tracing::info!("stopped");
        Ok(())
    }
}

pub(crate) fn api_limits(config: &Config) -> api::Limits {
    api::Limits {
        json_bytes_max: config.json_bytes_max,
        body_bytes_max: config.body_bytes_max,
        wait_max: config.wait_max.0,
        keep_alive: config.keep_alive.0,
    }
}

fn connection_limits(config: &Config) -> connections::Limits {
    // Each is an open file; what jobs and the store open must not be kept from it.
    let files =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let possible = files.saturating_sub(FILES_KEPT).max(files / 2);
    if possible < config.connections_max {
        tracing::debug!(possible, "fewer connections than connections_max, as no more files may be open");
    }
    connections::Limits {
        connections_max: config.connections_max.min(possible),
        header_bytes_max: config.header_bytes_max,
        streams_max: config.streams_max,
        header_timeout: config.header_timeout.0,
        idle_timeout: config.idle_timeout.0,
    }
}

fn certificate(config: &Config) -> anyhow::Result<Option<Arc<Certificate>>> {
    match (&config.tls_cert, &config.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some(Certificate::open(certificate.clone(), key.clone())?)),
        _ => Ok(None),
    }
}

/// Who may come in. Where strangers can reach the host, somebody must have said who.
fn tokens(config: &Config) -> anyhow::Result<Arc<Tokens>> {
    let beyond = !config.listen.ip().is_loopback();
    let tokens = Tokens::open(config.data.clone(), beyond && !config.insecure)?;
    if beyond && !tokens.were_made() {
        if !config.insecure {
            anyhow::bail!(
                "listen: whoever reaches {} could run jobs, as there are no tokens; make one with `dropforge token new --data {}`, \
                 or use a loopback address such as 127.0.0.1, or say --insecure if that is what you want",
                config.listen,
                config.data.display()
            );
        }
        tracing::warn!("--insecure, and there are no tokens: whoever reaches {} may run jobs", config.listen);
    }
    Ok(Arc::new(tokens))
}

/// Connections and large payloads are open files; the usual soft limit of 1,024 is for programs that use `select`.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}

fn jobs_per_thread(config: &Config) -> usize {
    1 + (config.parked_jobs_max as usize).div_ceil(config.worker_count())
}

fn capacity(config: &Config) -> Capacity {
    let guests = jobs_per_thread(config) * config.worker_count();
    // As many more for `describe` as there are checks at a time.
    let guests = guests + config.plugin_checks_max;
    Capacity { guests_max: u32::try_from(guests).unwrap_or(u32::MAX), memory_bytes_max: config.memory_bytes_max }
}

fn queue_settings(config: &Config) -> queue::Settings {
    let backoff = Backoff { first: config.retry_pause.0, longest: config.retry_pause_max.0 };
    let retention = Retention { age: config.keep.0, jobs_max: config.keep_jobs_max, bytes_max: config.keep_bytes_max };
    queue::Settings {
        queue_max: config.queue_max,
        backoff,
        crashes_max: config.crashes_max,
        retention,
        keys_kept: config.keep_keys.0,
        uploads_kept: config.keep_uploads.0,
        uploads_share: Share { uploads_max: config.uploads_max, bytes_max: config.upload_bytes_max },
        listeners_max: config.listeners_max,
        workers: config.worker_count(),
    }
}

/// Who may be told of jobs, with the secrets read. What is said of a secret that cannot be used names its place alone.
fn webhook_settings(config: &Config) -> anyhow::Result<webhooks::Settings> {
    let read = |(number, source): (usize, &SecretSource)| {
        let secret =
            source.read(Path::new("")).and_then(|text| Secret::parse(&text).map_err(|error| error.to_string()));
        secret.map_err(|error| anyhow::anyhow!("webhook_secrets.{number}: {error}"))
    };
    let backoff =
        Backoff { first: config.webhook_pause.0, longest: config.webhook_pause_max.0.max(config.webhook_pause.0) };
    Ok(webhooks::Settings {
        receivers: config.webhooks.clone(),
        secrets: config.webhook_secrets.iter().enumerate().map(read).collect::<anyhow::Result<_>>()?,
        timeout: config.webhook_timeout.0,
        persistence: Persistence { backoff, longest: config.webhook_keep_trying.0, may_end: true },
        open_max: config.webhooks_max,
    })
}

fn store_settings(config: &Config) -> store::Settings {
    let claims_max = jobs_per_thread(config) * config.worker_count();
    store::Settings { claims_max, reserve_bytes: config.disk_reserve_bytes }
}

/// What the plugin folder has to know.
pub(crate) fn plugin_settings(config: &Config) -> plugins::Settings {
    let fuel =
        |timeout: Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).saturating_mul(config.fuel_per_ms);
    let limits =
        |timeout, memory_bytes, output_bytes| Limits { timeout, fuel: fuel(timeout), memory_bytes, output_bytes };
    plugins::Settings {
        folder: config.plugins.clone(),
        kept: config.data.join("plugins"),
        file_bytes_max: config.plugin_file_bytes_max,
        checks_max: config.plugin_checks_max,
        limits: limits(config.timeout.0, config.memory_bytes, config.output_bytes),
        limits_max: limits(config.timeout_max.0, config.memory_bytes_max, config.output_bytes_max),
        fuel_per_ms: config.fuel_per_ms,
    }
}
