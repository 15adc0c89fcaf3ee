//! What the host counts and times, for Prometheus: the figures themselves, and what a scrape looks like.
//!
//! One process is one host, so there is one set of figures, and whoever has something to note notes it, without being
//! handed anything. Labels come from small closed sets: kinds of jobs (at most 1,000), states, routes, methods, statuses.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
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
const OTHER: &str = "_other";
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

/// Figures that were found once: to find them by all their labels, hashed with care, takes longer than to count. The keys are of the small closed
/// sets, so a quick hash will do.
struct Found<K, F>(RwLock<HashMap<K, F, foldhash::fast::RandomState>>);

impl<K: Clone + Eq + Hash, F: Clone> Found<K, F> {
    fn new() -> Self {
        Self(RwLock::default())
    }

    /// What was found for this key, or is found now. `find` is told whether there is room to keep it, for up to `max` of them.
    fn get(&self, key: &K, max: usize, find: impl FnOnce(bool) -> F) -> F {
        // It stays usable if a thread panicked: each change is a single step.
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return found.clone();
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(key) || all.len() < max {
            return all.entry(key.clone()).or_insert_with(|| find(true)).clone();
        }
        find(false)
    }
}

/// The figures of one kind, or of all that are not told apart.
struct OfKind {
    label: Label,
    attempts: Found<&'static str, Counter>,
    run: Histogram,
    wait: Histogram,
    fuel: Counter,
    memory: Histogram,
}

struct Figures {
    registry: Registry,
    kinds: Found<Kind, Arc<OfKind>>,
    answers: Found<(&'static str, &'static str, u16), Histogram>,
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
            kinds: Found::new(),
            answers: Found::new(),
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

    fn kind(&self, kind: &Kind) -> Arc<OfKind> {
        self.kinds.get(kind, KINDS_MAX, |is_kept| {
            let labels = [("kind", if is_kept { Label::Kind(kind.clone()) } else { Label::Name(OTHER) })];
            Arc::new(OfKind {
                attempts: Found::new(),
                run: self.run.get_or_create_owned(&labels),
                wait: self.wait.get_or_create_owned(&labels),
                fuel: self.fuel.get_or_create_owned(&labels),
                memory: self.memory.get_or_create_owned(&labels),
                label: labels[0].1.clone(),
            })
        })
    }
}

fn seconds() -> Histogram {
    // From half a millisecond to half an hour.
    Histogram::new(exponential_buckets(0.000_5, 3.0, 15))
}

/// An attempt has ended: how, and what it used.
pub fn note_attempt(kind: &Kind, ended: &'static str, usage: &Usage) {
    let of = FIGURES.kind(kind);
    let attempts = of.attempts.get(&ended, usize::MAX, |_| {
        FIGURES.attempts.get_or_create_owned(&[("kind", of.label.clone()), ("ended", Label::Name(ended))])
    });
    attempts.inc();
    of.fuel.inc_by(usage.fuel);
    of.run.observe(usage.wall_ms as f64 / 1e3);
    of.memory.observe(usage.memory_bytes_peak as f64);
}

/// A job has started for the first time, after it could have for so long.
pub fn note_wait(kind: &Kind, waited: Duration) {
    FIGURES.kind(kind).wait.observe(waited.as_secs_f64());
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
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER);
    let route = route.unwrap_or("none");
    let answers = FIGURES.answers.get(&(route, method, status), usize::MAX, |_| {
        let labels =
            [("route", Label::Name(route)), ("method", Label::Name(method)), ("status", Label::Number(status))];
        FIGURES.requests.get_or_create_owned(&labels)
    });
    answers.observe(took.as_secs_f64());
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
        let labels = [("kind", FIGURES.kind(&kind).label.clone()), ("state", Label::Name(state))];
        jobs.get_or_create(&labels).inc_by(i64::try_from(count).unwrap_or(i64::MAX));
    }
    for (kind, age_ms) in standing.ages_ms {
        ages.get_or_create(&[("kind", FIGURES.kind(&kind).label.clone())]).set(age_ms as f64 / 1e3);
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
        let label = |number| figures.kind(&kind(number)).label.clone();
        for number in 0..KINDS_MAX {
            assert_eq!(label(number), Label::Kind(kind(number)));
        }
        assert_eq!((label(KINDS_MAX), label(7)), (Label::Name(OTHER), Label::Kind(kind(7))));
    }
}
