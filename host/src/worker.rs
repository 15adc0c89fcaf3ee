//! One thread's loop: claim, execute, finish.
//!
//! Each worker is a dedicated thread with an executor of its own, apart from the threads that serve HTTP. A job that
//! computes has its thread to itself; while it waits in a host call, or for its end to be recorded, the thread takes
//! the next one. There is no prefetch: a thread claims a job only when it would run it at once.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, LocalSet};
use tracing::Instrument;

use crate::job::{Code, Ended, Failure, JobId, Usage};
use crate::plugins::{Plugin, Plugins};
use crate::priority;
use crate::queue::{Assignment, Finished, Queue};
use crate::sandbox::{
    Call, Checkpoints, Draft, NewUpload, OnPark, Output, Report, Sandbox, SaveCheckpoint, ScratchWish,
};
use crate::store::{Artifact, Content, Options, Payload};
use crate::time::Time;

/// Artifacts of one job kept in the database together; the others get files of their own, however small.
const INLINE_BYTES_PER_JOB_MAX: u64 = 256 * 1024;
/// The file in `/in` that is the job's input.
const PAYLOAD_NAME: &str = "input";

/// The threads that run jobs, until stopped.
pub struct Workers {
    stop: watch::Sender<bool>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What a worker works with.
#[derive(Clone)]
pub struct Workplace {
    /// Where jobs come from.
    pub queue: Arc<Queue>,
    /// Who can run them.
    pub plugins: Arc<Plugins>,
    /// Where they run.
    pub sandbox: Arc<Sandbox>,
    /// Jobs alive per thread: one that computes and many that wait.
    pub jobs_per_thread_max: usize,
}

impl Workers {
    /// Starts so many threads.
    pub fn start(count: usize, place: &Workplace) -> std::io::Result<Self> {
        let stop = watch::Sender::new(false);
        let mut workers = Self { stop, threads: Vec::with_capacity(count) };
        for number in 0..count {
            let (place, stop) = (place.clone(), workers.stop.subscribe());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || {
                priority::lower();
                LocalSet::new().block_on(&runtime, run(place, stop));
                // Of a job that was stopped a file or a name may still be waited for; every job's end is recorded already.
                runtime.shutdown_background();
            };
            workers.threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
        }
        Ok(workers)
    }

    /// Claims nothing more, hands running jobs back to the queue, and returns when all of that is recorded. Blocks.
    pub fn stop(&mut self, queue: &Queue) {
        self.stop.send_replace(true);
        queue.interrupt_running();
        for worker in self.threads.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked; its jobs will run again at the next start");
            }
        }
    }
}

/// How many jobs of this thread want its processor now.
#[derive(Default)]
struct Load {
    computing: Cell<usize>,
    changed: Notify,
}

impl Load {
    fn parked(&self, parked: bool) {
        let computing = self.computing.get();
        self.computing.set(if parked { computing.saturating_sub(1) } else { computing + 1 });
        self.changed.notify_one();
    }

    async fn until_idle(&self) {
        while self.computing.get() > 0 {
            self.changed.notified().await;
        }
    }

    async fn until_busy(&self) {
        while self.computing.get() == 0 {
            self.changed.notified().await;
        }
    }
}

/// A job counted as wanting the processor, until dropped.
struct Computing(Rc<Load>);

impl Computing {
    fn new(load: &Rc<Load>) -> Self {
        load.parked(false);
        Self(Rc::clone(load))
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        self.0.parked(true);
    }
}

async fn run(place: Workplace, mut stop: watch::Receiver<bool>) {
    let load = Rc::new(Load::default());
    let kinds = place.plugins.kinds();
    let mut jobs = JoinSet::new();
    loop {
        let next = async {
            while jobs.len() >= place.jobs_per_thread_max {
                jobs.join_next().await;
            }
            loop {
                load.until_idle().await;
                // A job that was waiting may want the processor while this thread waits for another.
                tokio::select! {
                    biased;
                    () = load.until_busy() => {}
                    assignment = place.queue.claim(&kinds) => return assignment,
                }
            }
        };
        let assignment = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            assignment = next => assignment,
        };
        jobs.spawn_local(attempt(place.clone(), assignment, Computing::new(&load)));
        // Ended ones are let go as they come; their results are recorded already.
        while jobs.try_join_next().is_some() {}
    }
    // A job that was claimed while the others were being interrupted has not heard of it yet.
    place.queue.interrupt_running();
    while jobs.join_next().await.is_some() {}
}

/// One attempt of one job, from claim to record. A panic on the way costs only this attempt.
async fn attempt(place: Workplace, assignment: Assignment, computing: Computing) {
    let started_at = Time::now();
    let job = &assignment.claimed.job;
    let trace = assignment.claimed.input.as_ref().ok().and_then(|(_, options)| options.traceparent.clone());
    let number = span_number();
    let id = trace.is_some().then(|| format!("{number:016x}"));
    let span = tracing::info_span!("job", job.id = %job.id, job.kind = %job.kind, traceparent = trace, span_id = id);
    let executed = AssertUnwindSafe(execute(&place, &assignment, computing, number)).catch_unwind();
    let executed = executed.instrument(span.clone()).await;
    let mut finished = executed.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("the host panicked while it ran the job"));
        host_failure("the host panicked while it ran the job")
    });
    finished.started_at = started_at;
    finished.usage.attempt = assignment.claimed.job.attempts + 1;
    span.in_scope(|| tracing::debug!(ended = ?finished.ended, wall_ms = finished.usage.wall_ms, "attempt ended"));
    // The flush is waited for, but the thread is free for the next job.
    place.queue.finish(assignment, finished).await;
}

/// The place of an attempt in a trace: never 0, from the random part of a fresh id.
fn span_number() -> u64 {
    JobId::now_v7().as_u64_pair().1
}

async fn execute(place: &Workplace, assignment: &Assignment, computing: Computing, span: u64) -> Finished {
    let claimed = &assignment.claimed;
    // Claimed a moment ago for a kind that served then; the file may be gone since.
    let Some(plugin) = place.plugins.serving(&claimed.job.kind) else {
        return interrupted();
    };
    let (input, options) = match &claimed.input {
        Ok((input, options)) => (input.clone(), options.clone()),
        Err(error) => return host_failure(&format!("the host could not read the job's input: {error}")),
    };
    let call = Call { span, ..call(place, assignment, input, options, &plugin, Rc::clone(&computing.0)) };
    let report = place.sandbox.run(&plugin.program, call).await;
    // Its files are made durable on another thread; this one takes the next job.
    drop(computing);
    let mut finished = keep(report).await;
    finished.usage.plugin_digest.clone_from(&plugin.digest);
    if let Ended::Failed(failure, _) = &mut finished.ended {
        failure.retryable |= plugin.settings.retries(failure.code);
    }
    finished.backoff = Some(plugin.settings.backoff(place.queue.backoff()));
    finished
}

fn call<'a>(
    place: &Workplace,
    assignment: &'a Assignment,
    input: Payload,
    options: Options,
    plugin: &Plugin,
    load: Rc<Load>,
) -> Call<'a> {
    let claimed = &assignment.claimed;
    let blobs = place.queue.store().blobs();
    let limits = plugin.limits_for(claimed.job.timeout_ms.map(std::time::Duration::from_millis));
    let scratch = plugin.settings.scratch.then(|| ScratchWish {
        blobs: blobs.clone(),
        files: in_files(&input, &claimed.blobs),
        bytes_max: plugin.settings.scratch_bytes.unwrap_or(limits.output_bytes),
    });
    let new_upload: NewUpload = Box::new(move || blobs.upload());
    let on_park: OnPark = Box::new(move |parked| load.parked(parked));
    Call {
        id: claimed.job.id.to_string(),
        kind: claimed.job.kind.to_string(),
        attempt: claimed.job.attempts + 1,
        span: 0,
        input,
        options,
        command: plugin.command_settings(),
        scratch,
        grants: plugin.grants(),
        blobs: claimed.blobs.clone(),
        limits,
        running: Arc::clone(&assignment.running),
        new_upload,
        checkpoints: checkpoints(place, assignment, plugin),
        on_park,
        mark: &claimed.mark,
    }
}

/// What earlier attempts left for this one. State that the disk does not give back costs the time to compute it again and
/// nothing else, so the attempt begins without it.
fn checkpoints(place: &Workplace, Assignment { claimed, running, .. }: &Assignment, plugin: &Plugin) -> Checkpoints {
    let newest = claimed.checkpoint.as_ref().map(Option::clone).unwrap_or_else(|error| {
        tracing::error!(job.id = %claimed.job.id, %error, "a job's checkpoint cannot be read; it begins without it");
        running.log(&format!("WARN the checkpoint cannot be read, so this attempt begins without it: {error}"));
        None
    });
    let (queue, digest) = (Arc::clone(&place.queue), plugin.digest.clone());
    let (id, token) = (claimed.job.id, claimed.token);
    let save: SaveCheckpoint = Box::new(move |data| {
        let (queue, digest) = (Arc::clone(&queue), digest.clone());
        async move { queue.save_checkpoint(id, token, digest, data).await.map_err(|error| error.to_string()) }.boxed()
    });
    Checkpoints::new(newest, save)
}

/// What lies in `/in`, by name: the input, and each blob it names under the digits of its address.
fn in_files(input: &Payload, blobs: &[Content]) -> Vec<(String, Content)> {
    let named = blobs.iter().map(|blob| (hex::encode(blob.sha256()), blob.clone()));
    named.chain([(PAYLOAD_NAME.to_owned(), input.content.clone())]).collect()
}

/// Makes what a guest wrote durable, so that its record can name it.
async fn keep(report: Report) -> Finished {
    let Report { ended, usage, output, drafts } = report;
    let result_bytes = match &output {
        Some(Output::Bytes(_, upload)) => upload.size(),
        _ => 0,
    };
    let bytes = result_bytes + drafts.iter().map(|draft| draft.upload.size()).sum::<u64>();
    let kept = if bytes > Content::INLINE_BYTES_MAX as u64 {
        // Syncing files takes milliseconds each; other jobs of this thread go on meanwhile.
        let kept = tokio::task::spawn_blocking(move || keep_files(output, drafts)).await;
        kept.unwrap_or_else(|_| Err(std::io::Error::other("the thread that stores files panicked")))
    } else {
        keep_files(output, drafts)
    };
    match kept {
        Ok((output, artifacts)) => Finished { ended, usage, output, artifacts, backoff: None, started_at: Time::now() },
        Err(error) => {
            Finished { usage, ..host_failure(&format!("the host could not store the job's output: {error}")) }
        }
    }
}

fn keep_files(output: Option<Output>, drafts: Vec<Draft>) -> std::io::Result<(Option<Payload>, Vec<Artifact>)> {
    let mut artifacts = Vec::with_capacity(drafts.len());
    let mut inline_bytes = 0;
    for Draft { name, media_type, upload } in drafts {
        // All that is inline goes into one commit, which others wait for.
        inline_bytes += upload.size();
        let content =
            if inline_bytes > INLINE_BYTES_PER_JOB_MAX { upload.finish_as_blob()? } else { upload.finish()? };
        artifacts.push(Artifact { name, sha256: content.sha256(), payload: Payload { media_type, content } });
    }
    let output = match output {
        None => None,
        Some(Output::Bytes(media_type, upload)) => Some(Payload { media_type, content: upload.finish()? }),
        Some(Output::Artifact(name, media_type)) => {
            let artifact = artifacts.iter().find(|artifact| artifact.name == name);
            let payload = artifact.map(|artifact| artifact.payload.clone());
            let mut payload = payload.ok_or_else(|| std::io::Error::other("the result's artifact is missing"))?;
            payload.media_type = media_type.unwrap_or(payload.media_type);
            Some(payload)
        }
    };
    Ok((output, artifacts))
}

fn host_failure(message: &str) -> Finished {
    Finished { ended: Ended::Failed(Failure::new(Code::Internal, message), None), ..interrupted() }
}

fn interrupted() -> Finished {
    Finished {
        ended: Ended::Interrupted,
        usage: Usage::default(),
        output: None,
        artifacts: Vec::new(),
        backoff: None,
        started_at: Time::now(),
    }
}
