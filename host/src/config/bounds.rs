//! Bounds of a host's settings, and which of them need each other: all that can be said of a value that has the right type.

use std::time::Duration;

use super::{Config, MIB};
use crate::time::Span;

/// Threads that run jobs.
const WORKERS_MAX: usize = 1024;
/// The sandbox reserves address space for each, and a process has 128 TiB of it.
const PARKED_JOBS_MAX: u32 = 2_500;
/// Receivers of webhooks.
const RECEIVERS_MAX: usize = 1_000;
/// Names of the host.
const HOSTS_MAX: usize = 100;
/// Secrets that webhooks are signed with: each makes a signature of every message.
const SECRETS_MAX: usize = 4;

/// A rule about settings.
pub(super) struct Rule {
    /// The settings it is about; the mistake is told of the first one.
    pub(super) keys: &'static [&'static str],
    /// Whether it is kept.
    kept: bool,
    /// What values are expected, or, where it is about several settings, a sentence.
    pub(super) expected: &'static str,
    /// Whether the value that was found says something.
    pub(super) is_bound: bool,
}

/// The rules that are not kept: all of them, as whoever mends the settings wants to do it once.
pub(super) fn broken(config: &Config) -> impl Iterator<Item = Rule> {
    numbers(config).into_iter().chain(times(config)).chain(together(config)).filter(|rule| !rule.kept)
}

fn bound(key: &'static [&'static str], kept: bool, expected: &'static str) -> Rule {
    Rule { keys: key, kept, expected, is_bound: true }
}

fn numbers(config: &Config) -> Vec<Rule> {
    vec![
        bound(&["workers"], config.workers <= WORKERS_MAX, "at most 1024"),
        bound(&["parked_jobs_max"], config.parked_jobs_max <= PARKED_JOBS_MAX, "at most 2500"),
        bound(&["queue_max"], config.queue_max > 0, "at least 1"),
        bound(&["fuel_per_ms"], config.fuel_per_ms > 0, "at least 1"),
        bound(
            &["memory_bytes", "memory_bytes_max"],
            config.memory_bytes <= config.memory_bytes_max,
            "not more than memory_bytes_max",
        ),
        bound(&["memory_bytes_max"], config.memory_bytes_max <= 4096 * MIB, "at most 4 GiB, 4294967296"),
        bound(
            &["output_bytes", "output_bytes_max"],
            config.output_bytes <= config.output_bytes_max,
            "not more than output_bytes_max",
        ),
        bound(&["json_bytes_max"], config.json_bytes_max <= 1024 * MIB, "at most 1 GiB, 1073741824"),
        bound(&["connections_max"], config.connections_max > 0, "at least 1"),
        bound(&["streams_max"], config.streams_max > 0, "at least 1"),
        bound(&["header_bytes_max"], (8 << 10..=1 << 20).contains(&config.header_bytes_max), "8192 to 1048576"),
        bound(&["plugin_checks_max"], (1..=64).contains(&config.plugin_checks_max), "1 to 64"),
        bound(&["crashes_max"], config.crashes_max > 0, "at least 1"),
        bound(&["hosts"], config.hosts.len() <= HOSTS_MAX, "at most 100"),
        bound(&["webhooks"], config.webhooks.len() <= RECEIVERS_MAX, "at most 1000"),
        bound(&["webhook_secrets"], config.webhook_secrets.len() <= SECRETS_MAX, "at most 4"),
    ]
}

fn times(config: &Config) -> Vec<Rule> {
    let some = |key, time: Span| bound(key, !time.0.is_zero(), "at least 1ms");
    vec![
        bound(&["timeout", "timeout_max"], config.timeout.0 <= config.timeout_max.0, "not longer than timeout_max"),
        bound(&["timeout_max"], config.timeout_max.0 <= Duration::from_secs(30 * 24 * 3600), "at most 720h"),
        some(&["timeout"], config.timeout),
        some(&["keep_alive"], config.keep_alive),
        some(&["header_timeout"], config.header_timeout),
        some(&["idle_timeout"], config.idle_timeout),
        some(&["retry_pause"], config.retry_pause),
        some(&["webhook_timeout"], config.webhook_timeout),
        some(&["webhook_pause"], config.webhook_pause),
    ]
}

fn together(config: &Config) -> Vec<Rule> {
    let rule = |keys, kept, expected| Rule { keys, kept, expected, is_bound: false };
    vec![
        rule(
            &["tls_cert", "tls_key"],
            config.tls_cert.is_some() == config.tls_key.is_some(),
            "give both, the certificate and its key (tls_cert, tls_key), or neither",
        ),
        rule(
            &["webhooks"],
            config.webhooks.iter().all(|receiver| receiver.port != Some(0)),
            "port: expected 1 to 65535",
        ),
        rule(
            &["webhook_secrets", "webhooks"],
            config.webhooks.is_empty() || !config.webhook_secrets.is_empty(),
            "webhooks are allowed, and webhook_secrets says nothing about what they are signed with; name at least one secret, \
             such as [{ file = \"webhook.secret\" }] with whsec_ and 24 to 64 bytes in base 64 in it",
        ),
    ]
}
