//! What the end of a call means for its job: the one place where outcomes and failures are named.

use std::time::Duration;

use wasmtime::{GcHeapOutOfMemory, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::CALL_BYTES_MAX;
use super::backtrace;
use super::bindings::dropforge::job::types as wit;
use super::bounded::Stopped;
use super::contract::{Guest, checked_media_type};
use super::files::Full;
use super::last_words;
use super::meter::Exceeded;
use super::run::{Limits, Result};
use super::scratch::{NotKept, NotPrepared};
use crate::job::{Bound, Code, Ended, Failure, Usage, printable};
use crate::running::{Running, Stop};

/// Whoever gave less time may have meant seconds.
const SHORT: Duration = Duration::from_millis(100);

type Outcome = std::result::Result<wit::Outcome, wit::Failure>;

/// What a guest came back with.
pub(super) enum Returned {
    Job(Outcome),
    /// Whether the program says that all went well.
    Command(std::result::Result<(), ()>),
}

/// Marks errors that came up after the guest was called.
#[derive(Debug)]
pub(super) struct InGuest;

impl std::fmt::Display for InGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the guest failed")
    }
}

/// An attempt that did not succeed.
pub(super) struct Over {
    pub(super) ended: Ended,
    pub(super) bound: Option<Bound>,
    /// Whether the guest came to an end that it could not explain but in its log.
    abrupt: bool,
}

impl Over {
    fn failed(code: Code, message: impl Into<String>, bound: Option<Bound>) -> Self {
        Self { ended: Ended::Failed(Failure::new(code, message), None), bound, abrupt: false }
    }

    fn abrupt(code: Code, message: impl Into<String>, bound: Option<Bound>) -> Self {
        Self { abrupt: true, ..Self::failed(code, message, bound) }
    }

    /// Says with it what the guest wrote last, where that may be why.
    pub(super) fn explained_by(mut self, log: &[String]) -> Self {
        if self.abrupt {
            last_words::add(&mut self.ended, log);
        }
        self
    }
}

/// What the guest came back with, held against what it did. No result, if that is what it has printed.
pub(super) fn conclude(guest: &mut Guest, returned: Returned) -> std::result::Result<Option<Result>, Over> {
    // Whatever the guest made of it: it was the host that failed.
    if let Some(cause) = guest.meter.disk_error() {
        return Err(disk_failed(&cause));
    }
    let outcome = match returned {
        Returned::Job(outcome) => outcome,
        Returned::Command(Ok(())) => return Ok(None),
        Returned::Command(Err(())) => {
            return Err(Over::abrupt(Code::PluginError, "the program says that it failed", None));
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
            return Err(Over { ended: Ended::Failed(failure, advice), bound: None, abrupt: false });
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
pub(super) fn explain(stopped: Stopped, limits: &Limits) -> Over {
    let (ended, bound) = stopped.outcome(limits.timeout);
    Over { ended, bound: Some(bound), abrupt: false }
}

impl Stopped {
    /// How an attempt with this time limit ends that was stopped so, and which bound that was.
    pub fn outcome(self, timeout: Duration) -> (Ended, Bound) {
        match self {
            Self::Deadline => {
                let hint = if timeout < SHORT { "; a number without a unit means milliseconds" } else { "" };
                let message = format!("stopped after {} ms, the job's time limit{hint}", timeout.as_millis());
                (Ended::Failed(Failure::new(Code::DeadlineExceeded, message), None), Bound::Deadline)
            }
            Self::Asked(Stop::Cancelled) => (Ended::Interrupted, Bound::Cancelled),
            Self::Asked(Stop::Interrupted) => (Ended::Interrupted, Bound::Interrupted),
        }
    }
}

/// What an error of the engine means for the job. Whatever is not recognised is the host's failure.
pub(super) fn diagnose(error: &wasmtime::Error, limits: &Limits, usage: &mut Usage) -> Over {
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
        return Over::abrupt(Code::PluginError, format!("the plugin exited with status {}", exit.0), None);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            Over::failed(Code::OutOfFuel, format!("used all of its {} units of fuel", limits.fuel), Some(Bound::Fuel))
        }
        Some(Trap::StackOverflow) => {
            Over::abrupt(Code::Trap, "the guest's stack overflowed (512 KiB)", Some(Bound::Stack))
        }
        Some(trap) => {
            let trap = trap.to_string();
            let trap = trap.strip_prefix("wasm trap: ").unwrap_or(&trap);
            Over::abrupt(Code::Trap, format!("the guest trapped: {trap}"), None)
        }
        None if is_too_large_a_call(error) => Over::failed(
            Code::OutputTooLarge,
            format!(
                "the guest passed more than {CALL_BYTES_MAX} bytes to the host in one call; write an artifact instead"
            ),
            Some(Bound::Output),
        ),
        None if in_guest || backtrace.is_some() => {
            Over::abrupt(Code::Trap, format!("the guest was stopped: {}", error.root_cause()), None)
        }
        None => Over::failed(Code::Internal, format!("the host could not run the job: {error:#}"), None),
    }
}

/// Whether a guest passed more to the host in one call than it may.
pub(super) fn is_too_large_a_call(error: &wasmtime::Error) -> bool {
    // The engine does not export the type of this one.
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}

pub(super) fn disk_failed(cause: &str) -> Over {
    Over::failed(Code::Internal, format!("the host's disk failed the job: {cause}"), None)
}

/// Which bound a guest has met inside a call to the host.
pub(super) fn over(running: &Running) -> Stopped {
    running.stop_requested().map_or(Stopped::Deadline, Stopped::Asked)
}

fn over_memory(limits: &Limits) -> Over {
    let message = format!(
        "asked for more than {} bytes of memory, the job's limit; memory_bytes of its kind's settings raises it",
        limits.memory_bytes
    );
    Over::failed(Code::MemoryExceeded, message, Some(Bound::Memory))
}

pub(super) fn not_prepared(reason: NotPrepared, limits: &Limits) -> Over {
    match reason {
        NotPrepared::TooLarge { bytes, bytes_max } => Over::failed(
            Code::InvalidInput,
            format!(
                "the input and what it names have {bytes} bytes together; /in holds {bytes_max} (scratch_in_bytes)"
            ),
            None,
        ),
        NotPrepared::Disk(error) => {
            Over::failed(Code::Internal, format!("the host could not prepare /in and /out: {error}"), None)
        }
        NotPrepared::Stopped(stopped) => explain(stopped, limits),
    }
}

pub(super) fn not_kept(reason: NotKept, limits: &Limits) -> Over {
    match reason {
        NotKept::Name(sentence) => Over::failed(Code::PluginError, sentence, None),
        NotKept::TooLarge => over_output(),
        NotKept::Disk(error) => disk_failed(&error.to_string()),
        NotKept::Stopped(stopped) => explain(stopped, limits),
    }
}

fn over_output() -> Over {
    Over::failed(
        Code::OutputTooLarge,
        "result and artifacts are larger than the job's output limit",
        Some(Bound::Output),
    )
}
