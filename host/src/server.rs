//! Builds the parts, serves, and stops them in order. What each is told of the configuration stands in `settings`.

mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use self::settings::{api_limits, plugin_settings};
use self::settings::{capacity, connection_limits, jobs_per_thread, queue_settings, store_settings, webhook_settings};
use crate::api::{self, Api, Front, Hosts, Origins};
use crate::config::Config;
use crate::connections::{Certificate, Door};
use crate::plugins::Plugins;
use crate::queue::Queue;
use crate::sandbox::{Folders, LOOK_MAX, Sandbox};
use crate::store::{Store, StoreError};
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;
use crate::worker::{Workers, Workplace};

/// How long a start waits until it is noted how the last host ended. A note is one flush, and there are a few of them.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
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
        check_folders(config)?;
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
        recover(&queue).await.context("cannot take up where the last host stopped")?;
        let place = Workplace {
            queue: Arc::clone(&queue),
            plugins: Arc::clone(&plugins),
            sandbox,
            jobs_per_thread_max: jobs_per_thread(config),
        };
        let workers = Workers::start(config.worker_count(), &place)?;
        let time = keep(Arc::clone(&queue), Arc::clone(&plugins), Arc::clone(&tokens), certificate);
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

fn check_folders(config: &Config) -> anyhow::Result<()> {
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
    Ok(())
}

fn certificate(config: &Config) -> anyhow::Result<Option<Arc<Certificate>>> {
    match (&config.tls_cert, &config.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some(Certificate::open(certificate.clone(), key.clone())?)),
        _ => Ok(None),
    }
}

/// Takes up where the last host stopped. On a disk without any room that has to wait; then it goes on while the host serves, so that what is
/// there can be read, everybody is told why no job starts, and the host can be stopped.
async fn recover(queue: &Arc<Queue>) -> Result<(), StoreError> {
    let recovering = Arc::clone(queue);
    let mut recovery = Box::pin(async move { recovering.recover().await });
    if let Ok(recovered) = tokio::time::timeout(RECOVERY_MAX, recovery.as_mut()).await {
        return recovered;
    }
    tracing::warn!(
        "no job starts before the disk of the data folder takes a note of how the last host ended; if it is full, make room there"
    );
    let queue = Arc::clone(queue);
    tokio::spawn(async move {
        match recovery.await {
            Ok(()) => tracing::info!("it is noted how the last host ended; jobs start now"),
            // The host ends, and whoever ends it says why; the next one goes on here.
            Err(StoreError::Closed) => {}
            Err(error) => queue.store().give_up(format!("cannot take up where the last host stopped: {error}")),
        }
    });
    Ok(())
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

/// What goes on by itself, for as long as the host serves.
fn keep(
    queue: Arc<Queue>,
    plugins: Arc<Plugins>,
    tokens: Arc<Tokens>,
    certificate: Option<Arc<Certificate>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        // None of them ever returns.
        tokio::join!(
            queue.keep_time(|| plugins.retention(queue.retention())),
            queue.keep_telling(),
            queue.events().hand_out(),
            tokens.keep_reading(),
            async {
                if let Some(certificate) = certificate {
                    certificate.keep_reading().await;
                }
            },
        );
    })
}

/// Connections and large payloads are open files; the usual soft limit of 1,024 is for programs that use `select`.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}
