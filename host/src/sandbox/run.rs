//! One call of a guest, from a fresh instance to a named outcome.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::{Resource, TypedFunc};
use wasmtime_wasi::I32Exit;

use super::bindings::dropforge::job::types as wit;
use super::bounded::{Bounded, OnTurn, Times, within};
use super::checkpoints::Checkpoints;
use super::contract::{CommandStart, Guest, NewUpload};
use super::files::open_folders;
use super::grants::Grants;
use super::outcome::{InGuest, Over, Returned, conclude, diagnose, disk_failed, explain, not_kept, not_prepared, over};
use super::pace::BeforeCalls;
use super::scratch::{self, Folders, ScratchWish};
use super::streams::{Draft, LOG_LINES_KEPT, SharedDraft};
use super::{CALL_BYTES_MAX, CommandSettings, FUEL_SLICE, Linked, Program, Sandbox};
use crate::job::{Code, Ended, Failure, Usage};
use crate::running::Running;
use crate::store::{Content, Mark, Options, Payload, Upload};
use crate::time::Time;

/// What one attempt may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Wall-clock time, host calls included.
    pub timeout: Duration,
    /// Units of computing.
    pub fuel: u64,
    /// All linear memories together.
    pub memory_bytes: u64,
    /// Result and artifacts together.
    pub output_bytes: u64,
}

/// One attempt of one job.
pub struct Call<'a> {
    /// The job's id.
    pub id: String,
    /// The job's kind.
    pub kind: String,
    /// From 1.
    pub attempt: u32,
    /// The attempt's place in a trace.
    pub span: u64,
    /// What the guest reads.
    pub input: Payload,
    /// What else it is told.
    pub options: Options,
    /// What a command is told besides. Of no concern to a job component.
    pub command: CommandSettings,
    /// The folders `/in` and `/out` of a command, if it gets any.
    pub scratch: Option<ScratchWish>,
    /// The blobs its input names.
    pub blobs: Vec<Content>,
    /// What it may use.
    pub limits: Limits,
    /// What it may reach.
    pub grants: Arc<Grants>,
    /// Progress and the request to stop.
    pub running: Arc<Running>,
    /// Where its output goes.
    pub new_upload: NewUpload,
    /// What earlier attempts left, and how it leaves something to later ones.
    pub checkpoints: Checkpoints,
    /// Told when it computes, waits and goes on.
    pub on_turn: OnTurn,
    /// Set while its guest runs.
    pub mark: &'a Mark,
}

/// A guest's result, before it is stored.
#[derive(Debug)]
pub enum Result {
    /// Its bytes and what they are.
    Bytes(String, Upload),
    /// The artifact of that name; a media type if it differs from the artifact's own.
    Artifact(String, Option<String>),
}

/// How a call ended.
#[derive(Debug)]
pub struct Report {
    /// What becomes of the job.
    pub ended: Ended,
    /// What it used; the attempt's number and the plugin's digest are the caller's to fill in.
    pub usage: Usage,
    /// The result of a success.
    pub output: Option<Result>,
    /// The artifacts of a success.
    pub drafts: Vec<Draft>,
}

impl Report {
    /// The host failed before the guest began.
    fn not_started(message: String) -> Self {
        let ended = Ended::Failed(Failure::new(Code::Internal, message), None);
        Self { ended, usage: Usage::default(), output: None, drafts: Vec::new() }
    }

    fn over(Over { ended, bound, .. }: Over, mut usage: Usage) -> Self {
        usage.bound = usage.bound.or(bound);
        Self { ended, usage, output: None, drafts: Vec::new() }
    }
}

impl Sandbox {
    /// Runs a job. Never fails itself: whatever happens is in the report.
    pub async fn run(&self, program: &Program, mut call: Call<'_>) -> Report {
        let started = Instant::now();
        let deadline = started + call.limits.timeout;
        call.running.start(deadline);
        let bytes_in = call.input.content.size() + call.blobs.iter().map(Content::size).sum::<u64>();
        let limits = call.limits;
        let scratch = match scratch::prepare(call.scratch.take(), &call.running, &call.on_turn).await {
            Ok(scratch) => scratch,
            Err(reason) => {
                let usage = Usage { wall_ms: milliseconds(started.elapsed()), bytes_in, ..Usage::default() };
                return Report::over(not_prepared(reason, &limits), usage);
            }
        };
        let start = match start_of(program, &call, scratch.clone()) {
            Ok(start) => start,
            Err(error) => return Report::not_started(format!("the host could not read the job's input: {error}")),
        };
        let opening = open_folders(&self.folders, &call.grants, scratch.as_ref(), &call.running);
        let open = match within(&call.running, &call.on_turn, opening).await {
            Ok(Ok(open)) => open,
            Ok(Err(message)) => return Report::not_started(message),
            Err(stopped) => {
                let (log, log_lines) = call.running.last_lines(LOG_LINES_KEPT);
                let wall_ms = milliseconds(started.elapsed());
                let usage = Usage { wall_ms, bytes_in, log, log_lines, ..Usage::default() };
                return Report::over(explain(stopped, &limits), usage);
            }
        };
        let running = Arc::clone(&call.running);
        let guest = Guest::new(&limits, &call.grants, running, call.new_upload, call.checkpoints, open, start);
        let guest = match guest {
            Ok(guest) => guest,
            Err(error) => return Report::not_started(format!("the host could not begin: {error:#}")),
        };
        let mut store = self.store(guest, limits.fuel);
        store.data_mut().allow_blobs(call.blobs);
        if let Some(traceparent) = &call.options.traceparent {
            store.data_mut().go_on_with(traceparent, call.span);
        }
        let mut times = Times::default();
        let context = wit::Context {
            id: call.id,
            kind: call.kind,
            attempt: call.attempt,
            deadline_ms: u64::try_from(Time::now().after(limits.timeout).0).unwrap_or(0),
            parameters: parameters(call.options.parameters),
            arguments: call.options.arguments,
            results: Vec::new(),
        };
        let ended = {
            // Instantiating runs guest code already, so it happens inside the bounds.
            let future = pin!(enter(program, &mut store, &context, call.input));
            Bounded::new(future, deadline, &call.running, &call.on_turn, call.mark, &mut times).await
        };
        self.gaps.after(times.cpu);
        let mut usage = Usage {
            fuel: limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
            cpu_ms: milliseconds(times.cpu),
            parked_ms: milliseconds(times.parked),
            memory_bytes_peak: store.data().memory.peak_bytes(),
            bytes_in,
            ..Usage::default()
        };
        let finished = match ended {
            Ok(Ok(returned)) => conclude(store.data_mut(), returned),
            Ok(Err(_)) if call.running.is_over() => Err(explain(over(&call.running), &limits)),
            Ok(Err(error)) => match store.data().meter.disk_error() {
                Some(cause) => Err(disk_failed(&cause)),
                None => Err(diagnose(&error, &limits, &mut usage)),
            },
            Err(stopped) => Err(explain(stopped, &limits)),
        };
        let mut guest = store.into_data();
        (usage.log, usage.log_lines) = guest.log.last();
        let finished = finished.map_err(|over| over.explained_by(&usage.log));
        let (drafts, stdout) = (std::mem::take(&mut guest.drafts), guest.stdout.take());
        let meter = Arc::clone(&guest.meter);
        // Streams the guest left open still hold their drafts, and files of its folders; they go with the guest.
        drop(guest);
        let mut drafts = unshare(drafts);
        let left = scratch::empty(scratch, finished.is_ok(), &meter, &call.running, &call.on_turn).await;
        usage.bytes_out = meter.output_bytes();
        usage.wall_ms = milliseconds(started.elapsed());
        let finished = finished.and_then(|output| {
            drafts.extend(left.map_err(|reason| not_kept(reason, &limits))?);
            Ok(output)
        });
        match finished {
            Ok(output) => {
                let printed = || {
                    let (guessed, upload) = stdout?.finish()?;
                    Some(Result::Bytes(call.command.media_type.unwrap_or_else(|| guessed.to_owned()), upload))
                };
                let output = output.or_else(printed);
                Report { ended: Ended::Succeeded, usage, output, drafts }
            }
            Err(over) => Report::over(over, usage),
        }
    }

    pub(super) fn store(&self, guest: Guest, fuel: u64) -> Store<Guest> {
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.call_hook_async(BeforeCalls);
        store.set_hostcall_fuel(CALL_BYTES_MAX);
        if self.counts_fuel {
            store.set_fuel(fuel).expect("the engine is configured to count fuel");
            store.fuel_async_yield_interval(Some(FUEL_SLICE)).expect("the engine is configured to count fuel");
        }
        store
    }
}

/// What a command is given to begin with; nothing for a job component, which asks for its input.
fn start_of(program: &Program, call: &Call<'_>, scratch: Folders) -> std::io::Result<Option<CommandStart>> {
    if matches!(program.linked, Linked::Job(_)) {
        return Ok(None);
    }
    let input = call.input.content.open(0)?;
    let arguments = [call.kind.clone()].into_iter().chain(call.command.arguments.iter().cloned());
    Ok(Some(CommandStart {
        input,
        scratch,
        arguments: arguments.chain(call.options.arguments.iter().cloned()).collect(),
        environment: [
            ("DROPFORGE_JOB_ID", call.id.clone()),
            ("DROPFORGE_KIND", call.kind.clone()),
            ("DROPFORGE_ATTEMPT", call.attempt.to_string()),
        ]
        .into_iter()
        .chain(call.options.traceparent.clone().map(|trace| ("DROPFORGE_TRACEPARENT", trace)))
        .map(|(name, value)| (name.to_owned(), value))
        .collect(),
    }))
}

/// The `run` of a job component.
type Run<'a> = TypedFunc<(&'a wit::Context, Resource<Payload>), (std::result::Result<wit::Outcome, wit::Failure>,)>;

/// Makes an instance and calls what is to be called in it.
async fn enter(
    program: &Program,
    store: &mut Store<Guest>,
    context: &wit::Context,
    input: Payload,
) -> wasmtime::Result<Returned> {
    match &program.linked {
        Linked::Job(plugin) => {
            let instance = plugin.instance_pre().instantiate_async(&mut *store).await?;
            // By itself: a job has no need to look up, and check, its `describe`.
            let run: Run<'_> = instance.get_typed_func(&mut *store, "run")?;
            let input = store.data_mut().push_input(input)?;
            let outcome = run.call_async(store, (context, input)).await;
            outcome.map(|(outcome,)| Returned::Job(outcome)).map_err(|error| error.context(InGuest))
        }
        Linked::Command(command) => {
            let command = command.instantiate_async(&mut *store).await?;
            match command.wasi_cli_run().call_run(store).await {
                Ok(result) => Ok(Returned::Command(result)),
                // A program may end wherever it is, and may say that all went well.
                Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => {
                    Ok(Returned::Command(Ok(())))
                }
                Err(error) => Err(error.context(InGuest)),
            }
        }
    }
}

fn unshare(drafts: Vec<SharedDraft>) -> Vec<Draft> {
    let inner = |draft: SharedDraft| {
        Arc::into_inner(draft).map(|draft| draft.into_inner().unwrap_or_else(PoisonError::into_inner))
    };
    drafts.into_iter().filter_map(inner).collect()
}

fn parameters(pairs: Vec<(String, String)>) -> Vec<wit::Parameter> {
    pairs.into_iter().map(|(name, value)| wit::Parameter { name, value }).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
