//! One thread's loop: claim, execute, finish.
//!
//! Each worker is a dedicated thread with an executor of its own, apart from the threads that serve HTTP. A job that
//! computes has its thread to itself; while it waits in a host call, or for its end to be recorded, the thread takes
//! the next one. There is no prefetch: a thread claims a job only when it would run it at once; `load` decides when that is.

mod aside;
pub(crate) mod attempt;
mod load;
mod pulse;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tracing::Instrument;

use self::aside::Aside;
use self::attempt::{Work, host_failure, interrupted};
use self::load::{Load, Share};
pub use self::pulse::Pulse;
use crate::job::Job;
use crate::plugins::{Plugin, Plugins};
use crate::priority;
use crate::queue::{Assignment, Finished, Queue};
use crate::sandbox::{Checkpoints, Sandbox, SaveCheckpoint, Turn};
use crate::time::Time;

/// The threads that run jobs, until stopped.
pub struct Workers {
    stop: watch::Sender<bool>,
    pulse: Arc<Pulse>,
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
        let pulse = Arc::new(Pulse::new(count));
        let mut workers = Self { stop, pulse, threads: Vec::with_capacity(count) };
        for number in 0..count {
            let (place, stop, pulse) = (place.clone(), workers.stop.subscribe(), Arc::clone(&workers.pulse));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || {
                priority::lower();
                let here = LocalSet::new();
                here.spawn_local(async move { pulse.keep(number).await });
                here.block_on(&runtime, run(place, Aside::new(count), stop));
                // Of a job that was stopped a file may still be waited for; every job's end is recorded already.
                runtime.shutdown_background();
            };
            workers.threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
        }
        Ok(workers)
    }

    /// Whether they still come round.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Claims nothing more and hands running jobs back to the queue, which records all of that before its store is closed. Blocks.
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

async fn run(place: Workplace, aside: Aside, mut stop: watch::Receiver<bool>) {
    let load = Rc::new(Load::new(aside));
    let kinds = place.plugins.kinds();
    let mut jobs = JoinSet::new();
    loop {
        let next = async {
            while jobs.len() >= place.jobs_per_thread_max {
                jobs.join_next().await;
            }
            loop {
                load.until_room().await;
                // A job that was waiting may want the processor while this thread waits for another.
                tokio::select! {
                    biased;
                    () = load.until_full() => {}
                    assignment = place.queue.claim(&kinds) => return assignment,
                }
            }
        };
        let assignment = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            assignment = next => assignment,
        };
        // Boxed, as it is large and would be moved with every step of its task's life.
        jobs.spawn_local(Box::pin(run_one(place.clone(), assignment, Rc::new(Share::new(&load)))));
        // Ended ones are let go as they come.
        while jobs.try_join_next().is_some() {}
    }
    // A job that was claimed while the others were being interrupted has not heard of it yet.
    place.queue.interrupt_running();
    while jobs.join_next().await.is_some() {}
}

/// One attempt of one job, from claim to record. A panic on the way costs only this attempt.
async fn run_one(place: Workplace, assignment: Assignment, share: Rc<Share>) {
    let started_at = Time::now();
    let job = &assignment.claimed.job;
    let trace = assignment.claimed.input.as_ref().ok().and_then(|(_, options)| options.traceparent.clone());
    let number = span_number(job);
    let id = trace.is_some().then(|| format!("{number:016x}"));
    let span = tracing::info_span!("job", job.id = %job.id, job.kind = %job.kind, traceparent = trace, span_id = id);
    let executed = AssertUnwindSafe(execute(&place, &assignment, share, number)).catch_unwind();
    let executed = executed.instrument(span.clone()).await;
    let mut finished = executed.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("the host panicked while it ran the job"));
        host_failure("the host panicked while it ran the job")
    });
    finished.started_at = started_at;
    finished.usage.attempt = assignment.claimed.job.attempts + 1;
    span.in_scope(|| tracing::debug!(ended = ?finished.ended, wall_ms = finished.usage.wall_ms, "attempt ended"));
    // The flush is not waited for: the thread is free for the next job.
    place.queue.finish(assignment, finished).await;
}

/// The place of an attempt in a trace: the random part of the job's id, another for each attempt. Never 0, as the upper bits of that part say
/// which kind of id it is.
fn span_number(job: &Job) -> u64 {
    job.id.as_u64_pair().1 ^ u64::from(job.attempts + job.crashes + job.interruptions)
}

async fn execute(place: &Workplace, assignment: &Assignment, share: Rc<Share>, span: u64) -> Finished {
    let claimed = &assignment.claimed;
    // Claimed a moment ago for a kind that served then; the file may be gone since.
    let Some(plugin) = place.plugins.serving(&claimed.job.kind) else {
        return interrupted();
    };
    let grants = plugin.grants();
    if claimed.is_early && grants.reach_out() {
        // What it sends could not be taken back, and the host might not remember why it was sent.
        share.turn(Turn::Parked);
        let settled = place.queue.store().settle().await;
        share.turn(Turn::Woken);
        if settled.is_err() {
            return interrupted();
        }
    }
    let (input, options) = match &claimed.input {
        Ok((input, options)) => (input.clone(), options.clone()),
        Err(error) => return host_failure(&format!("the host could not read the job's input: {error}")),
    };
    let turns = Rc::clone(&share);
    let work = Work {
        id: claimed.job.id,
        attempt: claimed.job.attempts + 1,
        span,
        timeout: claimed.job.timeout_ms.map(Duration::from_millis),
        input,
        options,
        blobs: claimed.blobs.clone(),
        grants,
        running: Arc::clone(&assignment.running),
        checkpoints: checkpoints(place, assignment, &plugin),
        on_turn: Box::new(move |turn| turns.turn(turn)),
        mark: &claimed.mark,
    };
    let mut finished = attempt::perform(&place.sandbox, &place.queue.store().blobs(), &plugin, work, share).await;
    finished.backoff = Some(plugin.settings.backoff(place.queue.backoff()));
    finished
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
