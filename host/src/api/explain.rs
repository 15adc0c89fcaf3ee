//! `GET /v1/jobs/{id}/explain`: why a job is not running yet, where it stands, and how long that may take.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::Segments;
use super::jobs::parse_id;
use super::problem::Problem;
use super::view::Counts;
use crate::job::{Job, JobId, Kind, State as JobState};
use crate::plugins::Unusable;
use crate::queue::Estimate;
use crate::time::Time;

/// Jobs counted before one; beyond that only "at least so many" is said.
const POSITION_MAX: usize = 10_000;
/// What `Retry-After` says while nothing was measured, in seconds.
const RETRY_UNKNOWN: u32 = 1;
/// The most it says: whoever waits longer wants to look once in a while.
const RETRY_MAX: u32 = 3600;

/// Why a job is not running yet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explanation {
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    kind: Kind,
    state: JobState,
    /// The first rule that holds it back, for programs.
    rule: &'static str,
    /// The same for people.
    sentence: String,
    /// Its place among the jobs of its kind, from 1; at most one more than is counted.
    #[schema(required)]
    position: Option<usize>,
    /// The moment it waits for.
    #[schema(required)]
    until: Option<Time>,
    /// Threads that run jobs.
    workers: usize,
    /// Jobs that run.
    running: usize,
    counts: Counts,
    /// From measured run times, if there are any and nobody has to lift the rule.
    #[schema(required)]
    estimate: Option<EstimateView>,
}

/// When a job is likely to start and to end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Estimate)]
struct EstimateView {
    starts_in_ms: u64,
    ends_in_ms: u64,
}

impl From<Estimate> for EstimateView {
    fn from(Estimate { starts_in, ends_in }: Estimate) -> Self {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { starts_in_ms: milliseconds(starts_in), ends_in_ms: milliseconds(ends_in) }
    }
}

/// Why a job is not running yet.
///
/// Names the rule that holds it back, its position, and when it is likely to start and to end.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/explain", operation_id = "explainJob", tag = "jobs",
    responses(
        (status = 200, description = "What holds it back", body = Explanation),
        (status = 404, description = "There is no such job"),
    )
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Segments(id): Segments<String>,
) -> Result<Json<Explanation>, Problem> {
    let job = api.queue.get(parse_id(&id)?)?;
    let ahead = api.queue.store().ahead(job.id, POSITION_MAX);
    let (rule, sentence) = rule(&api, &job, ahead);
    let now = Time::now();
    // Nobody knows how long a rule lasts that only a person can lift.
    let passes_by_itself =
        matches!(rule, "running" | "delay" | "backoff" | "concurrency" | "no_free_slot" | "next" | "suspect");
    let at_once = at_once(&api, &job.kind);
    let estimate = match ahead {
        _ if !passes_by_itself => None,
        // Those that run have to end first, or one of them.
        Some(ahead) if rule == "concurrency" => api.queue.estimate(&job, ahead as u64 + 1, at_once, now),
        Some(ahead) => api.queue.estimate(&job, ahead as u64, at_once, now),
        None => api.queue.estimate_roughly(&job, at_once, now),
    };
    Ok(Json(Explanation {
        rule,
        sentence,
        position: ahead.map(|ahead| ahead + 1),
        until: job.run_at.filter(|_| job.state == JobState::Scheduled),
        workers: api.workers,
        running: api.queue.running_count(),
        counts: Counts::of(&job.kind, &api.queue),
        estimate: estimate.map(EstimateView::from),
        id: job.id,
        state: job.state,
        kind: job.kind,
    }))
}

/// The first rule that holds a job back, for programs and for people.
fn rule(api: &Api, job: &Job, ahead: Option<usize>) -> (&'static str, String) {
    let (kind, attempt) = (&job.kind, job.attempts + 1);
    match job.state {
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => {
            ("finished", format!("The job has ended: {}.", job.state.as_str()))
        }
        JobState::Running => ("running", format!("The job is running, attempt {attempt} of {}.", job.max_attempts)),
        JobState::Blocked => ("blocked", "The job waits for other jobs.".to_owned()),
        JobState::Scheduled => {
            let at = job.run_at.map(|at| at.to_string()).unwrap_or_default();
            match &job.failure {
                Some(failure) => (
                    "backoff",
                    format!(
                        "The last attempt failed ({}); attempt {attempt} of {} starts at {at} at the earliest.",
                        failure.code.as_str(),
                        job.max_attempts
                    ),
                ),
                None => ("delay", format!("The job was submitted to run at {at} at the earliest.")),
            }
        }
        JobState::Queued => held_back(api, kind)
            .or_else(|| {
                api.queue.store().is_suspect(job.id).then(|| {
                    let sentence = "A host process died while this job ran, so it is run when no other suspect is.";
                    ("suspect", sentence.to_owned())
                })
            })
            .unwrap_or_else(|| waiting(api, kind, ahead.unwrap_or(0))),
    }
}

/// What holds back every job of the kind.
fn held_back(api: &Api, kind: &Kind) -> Option<(&'static str, String)> {
    if let Err(why) = api.plugins.find(kind) {
        return Some(match why {
            Unusable::NotReady { what, .. } => {
                ("plugin_compiling", format!("The plugin of {kind} is not ready yet: {what}."))
            }
            Unusable::Rejected { file, reason } => {
                ("plugin_rejected", format!("The plugin {file} was rejected: {}.", reason.trim_end_matches('.')))
            }
            Unusable::Unknown => {
                ("plugin_missing", format!("No plugin serves {kind}; put {kind}.wasm into the plugin folder."))
            }
        });
    }
    if api.queue.is_paused(kind) {
        let sentence = format!("The kind {kind} is paused; POST /v1/kinds/{kind}/resume lets its jobs start.");
        return Some(("paused", sentence));
    }
    if api.queue.is_draining() {
        return Some(("draining", "The host is about to stop; the job starts when it is started again.".to_owned()));
    }
    if api.queue.is_recovering() && !api.queue.store().is_out_of_room() {
        let sentence = "It is being noted how the last host process ended; no job starts before that.";
        return Some(("recovering", sentence.to_owned()));
    }
    if api.queue.store().is_out_of_room() {
        return Some((
            "disk_full",
            "The host's disk is full; jobs start when there is room for their results.".to_owned(),
        ));
    }
    None
}

/// What a job waits for that nothing holds back.
fn waiting(api: &Api, kind: &Kind, ahead: usize) -> (&'static str, String) {
    let at_least = if ahead >= POSITION_MAX { "at least " } else { "" };
    let others = match ahead {
        1 => "1 job of its kind goes first".to_owned(),
        _ => format!("{at_least}{ahead} jobs of its kind go first"),
    };
    let at_once = at_once(api, kind);
    if api.queue.running_of(kind) >= at_once {
        let sentence = format!("As many jobs of {kind} run as its settings allow at once ({at_once}); {others}.");
        return ("concurrency", sentence);
    }
    if api.queue.running_count() < api.workers {
        return ("next", format!("The job is about to start; {others}."));
    }
    ("no_free_slot", format!("All {} workers are busy; {others}.", api.workers))
}

/// How many jobs of a kind its operator lets run at once.
pub(super) fn at_once(api: &Api, kind: &Kind) -> usize {
    let most = api.plugins.serving(kind).and_then(|plugin| plugin.settings.concurrency);
    most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// In how many seconds it is worth asking for an unfinished job again.
pub(super) fn retry_after(api: &Api, job: &Job) -> u32 {
    let now = Time::now();
    let scheduled = job.run_at.filter(|_| job.state == JobState::Scheduled).map(|at| at.since(now));
    let expected =
        api.queue.estimate_roughly(job, at_once(api, &job.kind), now).map(|estimate| estimate.ends_in).or(scheduled);
    expected.map_or(RETRY_UNKNOWN, whole_seconds)
}

/// A wait in whole seconds, as `Retry-After` has it.
pub(super) fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs_f64().ceil() as u64).unwrap_or(RETRY_MAX).clamp(1, RETRY_MAX)
}
