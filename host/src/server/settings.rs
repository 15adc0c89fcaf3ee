//! What each part is told of the configuration, in that part's own words.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::job::{Backoff, Persistence};
use crate::sandbox::{Capacity, Limits};
use crate::secrets::SecretSource;
use crate::store::{Retention, Share};
use crate::webhooks::Secret;
use crate::{api, connections, plugins, queue, store, webhooks};

/// Open files that connections leave to everything else, or half of them if there are not so many.
const FILES_KEPT: usize = 1_000;

pub(crate) fn api_limits(config: &Config) -> api::Limits {
    api::Limits {
        json_bytes_max: config.json_bytes_max,
        body_bytes_max: config.body_bytes_max,
        wait_max: config.wait_max.0,
        keep_alive: config.keep_alive.0,
    }
}

pub(super) fn connection_limits(config: &Config) -> connections::Limits {
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

pub(super) fn jobs_per_thread(config: &Config) -> usize {
    1 + (config.parked_jobs_max as usize).div_ceil(config.worker_count())
}

pub(super) fn capacity(config: &Config) -> Capacity {
    let guests = jobs_per_thread(config) * config.worker_count();
    // As many more for `describe` as there are checks at a time.
    let guests = guests + config.plugin_checks_max;
    Capacity { guests_max: u32::try_from(guests).unwrap_or(u32::MAX), memory_bytes_max: config.memory_bytes_max }
}

pub(super) fn queue_settings(config: &Config) -> queue::Settings {
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
pub(super) fn webhook_settings(config: &Config) -> anyhow::Result<webhooks::Settings> {
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

pub(super) fn store_settings(config: &Config) -> store::Settings {
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
