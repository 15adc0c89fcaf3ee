//! One call of a guest, from a fresh instance to a named outcome.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{GcHeapOutOfMemory, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::backtrace;
use super::bindings::dropforge::job::types as wit;
use super::bounded::{Bounded, OnPark, Stopped, Times};
use super::checkpoints::Checkpoints;
use super::contract::{CommandStart, Guest, NewUpload, bindings, checked_media_type};
use super::files::Full;
use super::grants::Grants;
use super::meter::{Exceeded, Meter};
use super::pace::BeforeCalls;
use super::scratch::{self, NotKept, ScratchWish};
use super::streams::{Draft, SharedDraft};
use super::{CALL_BYTES_MAX, CommandSettings, Description, Example, FUEL_SLICE, Linked, NotAPlugin, Program, Sandbox};
use crate::job::{Bound, Code, Ended, Failure, Usage, printable};
use crate::running::{Running, Stop};
use crate::store::{Content, Mark, Options, Payload, Scratch, Upload};
use crate::time::Time;

/// `describe` has little to do and gets little to do it with.
const DESCRIBE_LIMITS: Limits =
    Limits { timeout: Duration::from_secs(1), fuel: 1_000_000_000, memory_bytes: 64 << 20, output_bytes: 0 };
/// Descriptors are shown to clients; longer ones are refused.
const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;

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
    /// Told when it waits and when it goes on.
    pub on_park: OnPark,
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
}

type Outcome = std::result::Result<wit::Outcome, wit::Failure>;

/// What a guest came back with.
enum Returned {
    Job(Outcome),
    /// Whether the program says that all went well.
    Command(std::result::Result<(), ()>),
}

impl Sandbox {
    /// Runs a job. Never fails itself: whatever happens is in the report.
    pub async fn run(&self, program: &Program, mut call: Call<'_>) -> Report {
        let started = Instant::now();
        let deadline = started + call.limits.timeout;
        call.running.start(deadline);
        let bytes_in = call.input.content.size();
        let limits = call.limits;
        let scratch = match prepared(&call.on_park, call.scratch.take()).await {
            Ok(scratch) => scratch,
            Err(error) => return Report::not_started(format!("the host could not prepare /in and /out: {error}")),
        };
        let start = match start_of(program, &call, scratch.clone()) {
            Ok(start) => start,
            Err(error) => return Report::not_started(format!("the host could not read the job's input: {error}")),
        };
        let guest = match Guest::new(
            &limits,
            &call.grants,
            Arc::clone(&call.running),
            call.new_upload,
            call.checkpoints,
            start,
        ) {
            Ok(guest) => guest,
            Err(error) => {
                return Report::not_started(format!("the host could not grant what its settings say: {error:#}"));
            }
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
            Bounded::new(future, deadline, &call.running, &call.on_park, call.mark, &mut times).await
        };
        let mut usage = Usage {
            fuel: limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
            cpu_ms: milliseconds(times.cpu),
            wall_ms: milliseconds(started.elapsed()),
            parked_ms: milliseconds(times.parked),
            memory_bytes_peak: store.data().memory.peak_bytes(),
            bytes_in,
            ..Usage::default()
        };
        let finished = match ended {
            Ok(Ok(returned)) => conclude(store.data_mut(), returned),
            Ok(Err(_)) if call.running.is_over() => Err(explain(over(&call.running), &limits, &mut usage)),
            Ok(Err(error)) => match store.data().meter.disk_error() {
                Some(cause) => Err(disk_failed(&cause)),
                None => Err(diagnose(&error, &limits, &mut usage)),
            },
            Err(stopped) => Err(explain(stopped, &limits, &mut usage)),
        };
        let mut guest = store.into_data();
        usage.log = guest.log.last();
        let (drafts, stdout) = (std::mem::take(&mut guest.drafts), guest.stdout.take());
        let meter = Arc::clone(&guest.meter);
        // Streams the guest left open still hold their drafts, and files of its folders; they go with the guest.
        drop(guest);
        let mut drafts = unshare(drafts);
        let left = emptied(&call.on_park, scratch, finished.is_ok(), &meter).await;
        usage.bytes_out = meter.output_bytes();
        let finished = finished.and_then(|output| {
            drafts.extend(left?);
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

    /// Asks a plugin what it is, under tight limits.
    pub(super) async fn describe(
        &self,
        plugin: &bindings::PluginPre<Guest>,
        new_upload: NewUpload,
    ) -> std::result::Result<Description, NotAPlugin> {
        let limits = DESCRIBE_LIMITS;
        let running = Arc::new(Running::default());
        let on_park: OnPark = Box::new(|_| {});
        let guest = Guest::new(&limits, &Arc::default(), Arc::clone(&running), new_upload, Checkpoints::none(), None)
            .map_err(|error| NotAPlugin(format!("the host could not start it: {error:#}")))?;
        let mut store = self.store(guest, limits.fuel);
        let mut times = Times::default();
        let ended = {
            let future = pin!(async {
                let plugin = plugin.instantiate_async(&mut store).await?;
                plugin.call_describe(&mut store).await
            });
            let deadline = Instant::now() + limits.timeout;
            running.start(deadline);
            Bounded::new(future, deadline, &running, &on_park, &Mark::none(), &mut times).await
        };
        let over = match ended {
            Ok(Ok(descriptor)) => return description(descriptor),
            Ok(Err(error)) => diagnose(&error, &limits, &mut Usage::default()),
            Err(stopped) => explain(stopped, &limits, &mut Usage::default()),
        };
        match over.ended {
            Ended::Failed(failure, _) => Err(NotAPlugin(format!(
                "it was started and asked to describe itself, and that failed: {}",
                failure.message
            ))),
            _ => Err(NotAPlugin("its `describe` was interrupted".to_owned())),
        }
    }

    fn store(&self, guest: Guest, fuel: u64) -> Store<Guest> {
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

/// The folders of an attempt and the quota of the second one.
type Folders = Option<(Arc<Scratch>, u64)>;

async fn prepared(on_park: &OnPark, wish: Option<ScratchWish>) -> std::io::Result<Folders> {
    let Some(wish) = wish else { return Ok(None) };
    let bytes_max = wish.bytes_max;
    let scratch = blocking(on_park, move || wish.prepare()).await?;
    Ok(Some((Arc::new(scratch), bytes_max)))
}

/// Takes what the guest has left, if it has succeeded, and removes the folders.
async fn emptied(
    on_park: &OnPark,
    folders: Folders,
    has_succeeded: bool,
    meter: &Arc<Meter>,
) -> std::result::Result<Vec<Draft>, Over> {
    // The guest is gone, and with it every other handle.
    let Some(scratch) = folders.and_then(|(scratch, _)| Arc::into_inner(scratch)) else { return Ok(Vec::new()) };
    let meter = Arc::clone(meter);
    let work = move || Ok(if has_succeeded { scratch::collect(scratch, &meter) } else { Ok(Vec::new()) });
    match blocking(on_park, work).await {
        Ok(collected) => collected.map_err(not_kept),
        Err(error) => Err(disk_failed(&error.to_string())),
    }
}

/// Does what blocks on the disk on a thread made for that; other jobs have this one meanwhile.
async fn blocking<T: Send + 'static>(
    on_park: &OnPark,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    on_park(true);
    let done = tokio::task::spawn_blocking(work).await;
    on_park(false);
    done.unwrap_or_else(|_| Err(std::io::Error::other("the thread that worked on its files panicked")))
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

/// Makes an instance and calls what is to be called in it.
async fn enter(
    program: &Program,
    store: &mut Store<Guest>,
    context: &wit::Context,
    input: Payload,
) -> wasmtime::Result<Returned> {
    match &program.linked {
        Linked::Job(plugin) => {
            let plugin = plugin.instantiate_async(&mut *store).await?;
            let input = store.data_mut().push_input(input)?;
            let outcome = plugin.call_run(store, context, input).await;
            outcome.map(Returned::Job).map_err(|error| error.context(InGuest))
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

/// Marks errors that came up after the guest was called.
#[derive(Debug)]
struct InGuest;

impl std::fmt::Display for InGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the guest failed")
    }
}

/// An attempt that did not succeed.
struct Over {
    ended: Ended,
    bound: Option<Bound>,
}

impl Report {
    fn over(Over { ended, bound }: Over, mut usage: Usage) -> Self {
        usage.bound = usage.bound.or(bound);
        Self { ended, usage, output: None, drafts: Vec::new() }
    }
}

impl Over {
    fn failed(code: Code, message: impl Into<String>, bound: Option<Bound>) -> Self {
        Self { ended: Ended::Failed(Failure::new(code, message), None), bound }
    }
}

/// What the guest came back with, held against what it did. No result, if that is what it has printed.
fn conclude(guest: &mut Guest, returned: Returned) -> std::result::Result<Option<Result>, Over> {
    // Whatever the guest made of it: it was the host that failed.
    if let Some(cause) = guest.meter.disk_error() {
        return Err(disk_failed(&cause));
    }
    let outcome = match returned {
        Returned::Job(outcome) => outcome,
        Returned::Command(Ok(())) => return Ok(None),
        Returned::Command(Err(())) => {
            return Err(Over::failed(Code::PluginError, "the program says that it failed; see its log", None));
        }
    };
    let done = match outcome {
        Ok(wit::Outcome::Done(done)) => done,
        Ok(wit::Outcome::WaitForChildren) => {
            return Err(Over::failed(
                Code::PluginError,
                "the plugin waits for children, which is not supported yet",
                None,
            ));
        }
        Err(wit::Failure::InvalidInput(message)) => return Err(Over::failed(Code::InvalidInput, message, None)),
        Err(wit::Failure::Permanent(message)) => return Err(Over::failed(Code::PluginError, message, None)),
        Err(wit::Failure::Transient(transient)) => {
            let failure = Failure::new(Code::Transient, transient.message);
            let advice = transient.retry_after_ms.map(Duration::from_millis);
            return Err(Over { ended: Ended::Failed(failure, advice), bound: None });
        }
    };
    match done.body {
        wit::Body::Bytes(bytes) => {
            if !guest.meter.add_output(bytes.len() as u64) {
                return Err(over_output());
            }
            let mut upload = guest.upload();
            match upload.write(&bytes) {
                Ok(()) => Ok(Some(Result::Bytes(checked_media_type(done.media_type), upload))),
                Err(error) => {
                    Err(Over::failed(Code::Internal, format!("the host could not write the result: {error}"), None))
                }
            }
        }
        wit::Body::Artifact(name) if guest.has_artifact(&name) => {
            let media_type = Some(done.media_type).filter(|given| !given.is_empty()).map(checked_media_type);
            Ok(Some(Result::Artifact(name, media_type)))
        }
        wit::Body::Artifact(name) => {
            let name = printable(name, "", 100);
            Err(Over::failed(
                Code::PluginError,
                format!("the plugin named {name:?} as its result but wrote no such artifact"),
                None,
            ))
        }
    }
}

/// What a bound that fired means for the job.
fn explain(stopped: Stopped, limits: &Limits, usage: &mut Usage) -> Over {
    match stopped {
        Stopped::Deadline => {
            let message = format!("stopped after {} ms, the job's time limit", limits.timeout.as_millis());
            Over::failed(Code::DeadlineExceeded, message, Some(Bound::Deadline))
        }
        Stopped::Asked(reason) => {
            usage.bound = Some(match reason {
                Stop::Cancelled => Bound::Cancelled,
                Stop::Interrupted => Bound::Interrupted,
            });
            Over { ended: Ended::Interrupted, bound: None }
        }
    }
}

/// What an error of the engine means for the job. Whatever is not recognised is the host's failure.
fn diagnose(error: &wasmtime::Error, limits: &Limits, usage: &mut Usage) -> Over {
    // The engine could run the guest, so an error is of the guest's making: a result that is no value of its type, a bad handle.
    let in_guest = error.downcast_ref::<InGuest>().is_some();
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    usage.backtrace = backtrace.map(backtrace::lines).unwrap_or_default();
    if let Some(Exceeded(bound)) = error.downcast_ref::<Exceeded>() {
        return match bound {
            Bound::Output => over_output(),
            _ => over_memory(limits),
        };
    }
    // Exceptions live in a heap of their own, which grows within the same limit.
    if error.is::<GcHeapOutOfMemory<()>>() {
        return over_memory(limits);
    }
    if let Some(full) = error.downcast_ref::<Full>() {
        return Over::failed(Code::OutputTooLarge, full.to_string(), Some(Bound::Output));
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Over::failed(Code::PluginError, format!("the plugin exited with status {}", exit.0), None);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            Over::failed(Code::OutOfFuel, format!("used all of its {} units of fuel", limits.fuel), Some(Bound::Fuel))
        }
        Some(Trap::StackOverflow) => {
            Over::failed(Code::Trap, "the guest's stack overflowed (512 KiB)", Some(Bound::Stack))
        }
        Some(trap) => Over::failed(Code::Trap, format!("the guest trapped: {trap}"), None),
        // The engine does not export the type of this one.
        None if error.root_cause().to_string().contains("fuel allocated for hostcalls") => Over::failed(
            Code::OutputTooLarge,
            format!(
                "the guest passed more than {CALL_BYTES_MAX} bytes to the host in one call; write an artifact instead"
            ),
            Some(Bound::Output),
        ),
        None if in_guest || backtrace.is_some() => {
            Over::failed(Code::Trap, format!("the guest was stopped: {}", error.root_cause()), None)
        }
        None => Over::failed(Code::Internal, format!("the host could not run the job: {error:#}"), None),
    }
}

fn disk_failed(cause: &str) -> Over {
    Over::failed(Code::Internal, format!("the host's disk failed the job: {cause}"), None)
}

/// Which bound a guest has met inside a call to the host.
fn over(running: &Running) -> Stopped {
    running.stop_requested().map_or(Stopped::Deadline, Stopped::Asked)
}

fn over_memory(limits: &Limits) -> Over {
    let message = format!("asked for more than {} bytes of memory, the job's limit", limits.memory_bytes);
    Over::failed(Code::MemoryExceeded, message, Some(Bound::Memory))
}

fn not_kept(reason: NotKept) -> Over {
    match reason {
        NotKept::Name(sentence) => Over::failed(Code::PluginError, sentence, None),
        NotKept::TooLarge => over_output(),
        NotKept::Disk(error) => disk_failed(&error.to_string()),
    }
}

fn over_output() -> Over {
    Over::failed(
        Code::OutputTooLarge,
        "result and artifacts are larger than the job's output limit",
        Some(Bound::Output),
    )
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

fn description(descriptor: bindings::Descriptor) -> std::result::Result<Description, NotAPlugin> {
    let clean = |text: String| printable(text, "\n", DESCRIPTION_BYTES_MAX);
    let pairs = |given: Vec<wit::Parameter>| given.into_iter().map(|pair| (pair.name, pair.value)).collect();
    let described = Description {
        summary: clean(descriptor.summary),
        version: clean(descriptor.version),
        input_media_types: descriptor.input.media_types.into_iter().map(clean).collect(),
        input_schema: descriptor.input.schema,
        parameter_schema: descriptor.parameters,
        output_media_type: clean(descriptor.output.media_type),
        output_schema: descriptor.output.schema,
        artifacts: clean(descriptor.output.artifacts),
        examples: descriptor
            .examples
            .into_iter()
            .map(|example| Example {
                title: clean(example.title),
                input: example.input,
                parameters: pairs(example.parameters),
            })
            .collect(),
        timeout: descriptor.limits.timeout_ms.map(Duration::from_millis),
        memory_bytes: descriptor.limits.memory_bytes,
        output_bytes: descriptor.limits.output_bytes,
    };
    let size = format!("{described:?}").len();
    if size > DESCRIPTION_BYTES_MAX {
        return Err(NotAPlugin(format!("its `describe` returns {size} bytes; {DESCRIPTION_BYTES_MAX} is the most")));
    }
    Ok(described)
}
