//! Builds the parts, serves, and stops them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{self, Api};
use crate::config::Config;
use crate::job::Backoff;
use crate::plugins::{self, Plugins};
use crate::queue::{self, Queue};
use crate::sandbox::{Capacity, Limits, Sandbox};
use crate::store::{self, Retention, Store};
use crate::worker::{Workers, Workplace};

/// How long requests that are being answered may take once the host is stopping.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A host that is running. [`Server::stop`] it: dropped, it stops without order, as a killed process would.
pub struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    http: JoinHandle<std::io::Result<()>>,
    time: JoinHandle<()>,
    plugins: Arc<Plugins>,
    workers: Workers,
    queue: Arc<Queue>,
}

impl Server {
    /// Opens the data folder, starts to watch the plugin folder, and serves.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        raise_file_limit();
        // The address first: if it is taken, nothing has been touched.
        let listener = TcpListener::bind(config.listen).await;
        let listener =
            listener.with_context(|| format!("cannot listen on {}; try --listen 127.0.0.1:0", config.listen))?;
        let address = listener.local_addr()?;
        let (data, settings) = (config.data.clone(), store_settings(config));
        let store = tokio::task::spawn_blocking(move || Store::open(&data, &settings)).await?;
        let store = store.with_context(|| format!("cannot open the data folder {}", config.data.display()))?;
        let sandbox = Sandbox::new(capacity(config), Some(config.data.join("compiled")))
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
        let timekeeper = Arc::clone(&queue);
        let time = tokio::spawn(async move {
            // None of them ever returns.
            tokio::join!(timekeeper.keep_time(), timekeeper.keep_telling(), timekeeper.events().hand_out());
        });
        let stopping = watch::Sender::new(false);
        let http = serve(config, listener, &queue, &plugins, stopping.subscribe());
        Ok(Self { address, stopping, failed, http, time, plugins, workers, queue })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        let Self { stopping, http, time, plugins, mut workers, queue, .. } = self;
        // 1. No new requests; those that wait for a job are answered now, the others get a moment.
        stopping.send_replace(true);
        let mut http = http;
        if tokio::time::timeout(LAST_ANSWERS, &mut http).await.is_err() {
            tracing::warn!("some clients did not take their answers in time");
            http.abort();
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

fn serve(
    config: &Config,
    listener: TcpListener,
    queue: &Arc<Queue>,
    plugins: &Arc<Plugins>,
    mut stopping: watch::Receiver<bool>,
) -> JoinHandle<std::io::Result<()>> {
    let api = Api {
        queue: Arc::clone(queue),
        plugins: Arc::clone(plugins),
        limits: api::Limits {
            json_bytes_max: config.json_bytes_max,
            body_bytes_max: config.body_bytes_max,
            wait_max: config.wait_max.0,
            keep_alive: config.keep_alive.0,
        },
        workers: config.worker_count(),
        stopping: stopping.clone(),
    };
    // Answers are small and complete; holding them back for more would only make them late.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays slow");
        }
    });
    let stopped = async move {
        // The sender gone means the same as told to stop.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let serving = axum::serve(listener, api::router(api)).with_graceful_shutdown(stopped);
    tokio::spawn(async move { serving.await })
}

/// Connections and large payloads are open files; the usual soft limit of 1,024 is for programs that use `select`.
fn raise_file_limit() {
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
        listeners_max: config.listeners_max,
        workers: config.worker_count(),
    }
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
