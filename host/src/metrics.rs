//! What the host counts and times, for Prometheus: the figures themselves, and what a scrape looks like.
//!
//! One process is one host, so there is one set of figures, and whoever has something to note notes it, without being
//! handed anything. Labels come from small closed sets: kinds of jobs (at most 1,000), states, routes, methods, statuses.

use std::collections::HashSet;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::job::{Kind, Usage};

/// The media type of a scrape.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Kinds told apart; further ones are counted together.
const KINDS_MAX: usize = 1_000;
/// What kinds beyond that are counted as, and methods nobody has heard of.
const OTHER: Label = Label::Name("_other");
/// The methods that are told apart.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "CONNECT"];

type Labels<const N: usize> = [(&'static str, Label); N];
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

static FIGURES: LazyLock<Figures> = LazyLock::new(Figures::new);

/// The value of a label, looked up for everything that is counted and so never a text made for that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Label {
    Name(&'static str),
    Kind(Kind),
    Number(u16),
}

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Name(name) => name.encode(encoder),
            Self::Kind(kind) => kind.as_str().encode(encoder),
            Self::Number(number) => number.encode(encoder),
        }
    }
}

struct Figures {
    registry: Registry,
    kinds: Mutex<HashSet<Kind>>,
    attempts: Family<Labels<2>, Counter>,
    run: Histograms<1>,
    wait: Histograms<1>,
    fuel: Family<Labels<1>, Counter>,
    memory: Histograms<1>,
    flush: Histogram,
    batch: Histogram,
    compile: Histogram,
    requests: Histograms<3>,
    webhooks: Histograms<1>,
}

impl Figures {
    fn new() -> Self {
        let mut figures = Self {
            registry: Registry::default(),
            kinds: Mutex::default(),
            attempts: Family::default(),
            run: Family::new_with_constructor(seconds),
            wait: Family::new_with_constructor(seconds),
            fuel: Family::default(),
            memory: Family::new_with_constructor(|| Histogram::new(exponential_buckets(65_536.0, 4.0, 9))),
            flush: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            compile: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            requests: Family::new_with_constructor(seconds),
            webhooks: Family::new_with_constructor(seconds),
        };
        let Self { registry, attempts, run, wait, fuel, memory, flush, batch, compile, requests, webhooks, .. } =
            &mut figures;
        registry.register("dropforge_attempts", "Attempts that ended, by kind and how", attempts.clone());
        registry.register("dropforge_attempt_run_seconds", "Time an attempt took, host calls included", run.clone());
        registry.register(
            "dropforge_job_wait_seconds",
            "Time from when a job could first run to its first start",
            wait.clone(),
        );
        registry.register("dropforge_attempt_fuel", "Fuel burnt by attempts", fuel.clone());
        registry.register(
            "dropforge_attempt_memory_peak_bytes",
            "Most memory an attempt had at a time",
            memory.clone(),
        );
        registry.register("dropforge_store_flush_seconds", "Time a commit took to be durable", flush.clone());
        registry.register("dropforge_store_batch_changes", "Changes that shared a commit", batch.clone());
        registry.register(
            "dropforge_plugin_load_seconds",
            "Time a plugin file took to be compiled, or loaded, and checked",
            compile.clone(),
        );
        registry.register(
            "dropforge_http_request_seconds",
            "Time to the head of an answer, by route, method and status",
            requests.clone(),
        );
        registry.register(
            "dropforge_webhook_try_seconds",
            "Time a try to deliver a webhook took, by what came of it",
            webhooks.clone(),
        );
        figures
    }

    fn kind(&self, kind: &Kind) -> Label {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.contains(kind) || kinds.len() < KINDS_MAX && kinds.insert(kind.clone()) {
            return Label::Kind(kind.clone());
        }
        OTHER
    }
}

fn seconds() -> Histogram {
    // From half a millisecond to half an hour.
    Histogram::new(exponential_buckets(0.000_5, 3.0, 15))
}

/// An attempt has ended: how, and what it used.
pub fn note_attempt(kind: &Kind, ended: &'static str, usage: &Usage) {
    let kind = [("kind", FIGURES.kind(kind))];
    FIGURES.attempts.get_or_create(&[kind[0].clone(), ("ended", Label::Name(ended))]).inc();
    FIGURES.fuel.get_or_create(&kind).inc_by(usage.fuel);
    FIGURES.run.get_or_create(&kind).observe(usage.wall_ms as f64 / 1e3);
    FIGURES.memory.get_or_create(&kind).observe(usage.memory_bytes_peak as f64);
}

/// A job has started for the first time, after it could have for so long.
pub fn note_wait(kind: &Kind, waited: Duration) {
    FIGURES.wait.get_or_create(&[("kind", FIGURES.kind(kind))]).observe(waited.as_secs_f64());
}

/// So many changes have become durable with one flush.
pub fn note_commit(changes: usize, took: Duration) {
    FIGURES.batch.observe(changes as f64);
    FIGURES.flush.observe(took.as_secs_f64());
}

/// A plugin file has been taken through its checks.
pub fn note_load(took: Duration) {
    FIGURES.compile.observe(took.as_secs_f64());
}

/// A request was answered. `route` is one of the router's own; there is none for a path that nobody serves.
pub fn note_request(route: Option<&'static str>, method: &str, status: u16, took: Duration) {
    let method = METHODS.into_iter().find(|known| *known == method).map_or(OTHER, Label::Name);
    let labels =
        [("route", Label::Name(route.unwrap_or("none"))), ("method", method), ("status", Label::Number(status))];
    FIGURES.requests.get_or_create(&labels).observe(took.as_secs_f64());
}

/// A webhook was tried: it was delivered, has failed and is tried again, or is given up.
pub fn note_webhook(outcome: &'static str, took: Duration) {
    FIGURES.webhooks.get_or_create(&[("outcome", Label::Name(outcome))]).observe(took.as_secs_f64());
}

/// How things stand at the moment of a scrape.
#[derive(Debug, Default)]
pub struct Standing {
    /// Kinds, and how many of their jobs are in which state.
    pub jobs: Vec<(Kind, &'static str, u64)>,
    /// Kinds, and for how long the job that is next has been ready, in milliseconds.
    pub ages_ms: Vec<(Kind, u64)>,
    /// Clients that follow events.
    pub listeners: usize,
    /// How far webhooks are that are not delivered yet, and how many.
    pub webhooks: Vec<(&'static str, usize)>,
}

/// Everything, in the text form of OpenMetrics.
pub fn render(standing: Standing) -> String {
    let mut registry = Registry::default();
    let (jobs, ages, listeners, webhooks) = (
        Family::<Labels<2>, Gauge>::default(),
        Family::<Labels<1>, Gauge<f64, std::sync::atomic::AtomicU64>>::default(),
        Gauge::<i64>::default(),
        Family::<Labels<1>, Gauge>::default(),
    );
    for (kind, state, count) in standing.jobs {
        // Those beyond the bound add up.
        let labels = [("kind", FIGURES.kind(&kind)), ("state", Label::Name(state))];
        jobs.get_or_create(&labels).inc_by(i64::try_from(count).unwrap_or(i64::MAX));
    }
    for (kind, age_ms) in standing.ages_ms {
        ages.get_or_create(&[("kind", FIGURES.kind(&kind))]).set(age_ms as f64 / 1e3);
    }
    for (state, count) in standing.webhooks {
        webhooks.get_or_create(&[("state", Label::Name(state))]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    listeners.set(i64::try_from(standing.listeners).unwrap_or(i64::MAX));
    registry.register("dropforge_jobs", "Jobs by kind and state", jobs);
    registry.register(
        "dropforge_queue_age_seconds",
        "For how long the job of a kind that is next could have run",
        ages,
    );
    registry.register("dropforge_listeners", "Clients that follow events", listeners);
    registry.register("dropforge_webhooks", "Webhooks that are not delivered yet", webhooks);
    let mut text = String::new();
    let written = encode_registry(&mut text, &registry)
        .and_then(|()| encode_registry(&mut text, &FIGURES.registry))
        .and_then(|()| encode_eof(&mut text));
    written.expect("a string takes all that is written to it");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_beyond_the_bound_are_counted_together() {
        let kind = |number: usize| Kind::new(&format!("k{number}")).expect("well-formed");
        let figures = Figures::new();
        for number in 0..KINDS_MAX {
            assert_eq!(figures.kind(&kind(number)), Label::Kind(kind(number)));
        }
        assert_eq!((figures.kind(&kind(KINDS_MAX)), figures.kind(&kind(7))), (OTHER, Label::Kind(kind(7))));
    }
}
