//! One attempt at a piece of work: everything between the plugin that does it and the record of how it ended.
//!
//! It does not matter where the work comes from. A worker has it from the queue; `dropforge run` from whoever typed it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::{Code, Ended, Failure, JobId, Usage};
use crate::plugins::Plugin;
use crate::queue::Finished;
use crate::running::Running;
use crate::sandbox::{
    Call, Checkpoints, Draft, Grants, NewUpload, OnTurn, Output, Report, Sandbox, ScratchWish, blocking,
};
use crate::store::{Artifact, Blobs, Content, Mark, Options, Payload, Together};
use crate::time::Time;

/// Artifacts of one job kept in the database together; the others get files of their own, however small.
const INLINE_BYTES_PER_JOB_MAX: u64 = 256 * 1024;
/// The most that lies in `/in`, unless a kind's settings say otherwise. All of it is read before the attempt begins.
const IN_BYTES_MAX: u64 = 4 << 30;
/// The file in `/in` that is the job's input.
const PAYLOAD_NAME: &str = "input";

/// What there is to do.
pub(crate) struct Work<'a> {
    /// The job's id.
    pub(crate) id: JobId,
    /// From 1.
    pub(crate) attempt: u32,
    /// The attempt's place in a trace; never 0.
    pub(crate) span: u64,
    /// The job's own time limit, if it has one.
    pub(crate) timeout: Option<Duration>,
    /// What the guest reads.
    pub(crate) input: Payload,
    /// What else it is told.
    pub(crate) options: Options,
    /// The blobs that the input names.
    pub(crate) blobs: Vec<Content>,
    /// What it may reach.
    pub(crate) grants: Arc<Grants>,
    /// Progress, log, and the request to stop.
    pub(crate) running: Arc<Running>,
    /// What earlier attempts left.
    pub(crate) checkpoints: Checkpoints,
    /// Told when the guest computes, waits and goes on.
    pub(crate) on_turn: OnTurn,
    /// Set while the guest runs.
    pub(crate) mark: &'a Mark,
}

/// Has the work done, and what came of it made durable in `blobs`. `computing` is dropped once the guest has ended. The
/// attempt's number in its usage report, and the pauses before another, are the caller's to fill in.
pub(crate) async fn perform<T>(
    sandbox: &Sandbox,
    blobs: &Blobs,
    plugin: &Plugin,
    work: Work<'_>,
    computing: T,
) -> Finished {
    let running = Arc::clone(&work.running);
    let call = call(blobs.clone(), plugin, work);
    let timeout = call.limits.timeout;
    let report = sandbox.run(&plugin.program, call).await;
    // Its files are made durable on another thread; this one takes the next job.
    drop(computing);
    let mut finished = keep(report, &running, timeout).await;
    finished.usage.plugin_digest.clone_from(&plugin.digest);
    if let Ended::Failed(failure, _) = &mut finished.ended {
        failure.retryable |= plugin.settings.retries(failure.code);
        if failure.code == Code::Trap && !failure.retryable {
            // Who sees attempts left over should not wonder.
            failure.add(&format!("; a trap is not tried again, unless retry_on in {}.toml has \"trap\"", plugin.kind));
        }
    }
    finished
}

fn call<'a>(blobs: Blobs, plugin: &Plugin, work: Work<'a>) -> Call<'a> {
    let limits = plugin.limits_for(work.timeout);
    let scratch = plugin.settings.scratch.then(|| ScratchWish {
        blobs: blobs.clone(),
        files: in_files(&work.input, &work.blobs),
        in_bytes_max: plugin.settings.scratch_in_bytes.unwrap_or(IN_BYTES_MAX),
        bytes_max: plugin.settings.scratch_bytes.unwrap_or(limits.output_bytes),
    });
    let new_upload: NewUpload = Arc::new(move || blobs.upload());
    Call {
        id: work.id.to_string(),
        kind: plugin.kind.to_string(),
        attempt: work.attempt,
        span: work.span,
        input: work.input,
        options: work.options,
        command: plugin.command_settings(),
        scratch,
        grants: work.grants,
        blobs: work.blobs,
        limits,
        running: work.running,
        new_upload,
        checkpoints: work.checkpoints,
        on_turn: work.on_turn,
        mark: work.mark,
    }
}

/// What lies in `/in`, by name: the input, and each blob it names under the digits of its address.
fn in_files(input: &Payload, blobs: &[Content]) -> Vec<(String, Content)> {
    let named = blobs.iter().map(|blob| (hex::encode(blob.sha256()), blob.clone()));
    named.chain([(PAYLOAD_NAME.to_owned(), input.content.clone())]).collect()
}

/// Makes what a guest wrote durable, so that its record can name it. That is still part of the attempt: its time limit holds, and it can
/// be cancelled.
async fn keep(report: Report, running: &Arc<Running>, timeout: Duration) -> Finished {
    let began = Instant::now();
    let Report { ended, mut usage, output, drafts } = report;
    let result_bytes = match &output {
        Some(Output::Bytes(_, upload)) => upload.size(),
        _ => 0,
    };
    let bytes = result_bytes + drafts.iter().map(|draft| draft.upload.size()).sum::<u64>();
    let kept = if bytes > Content::INLINE_BYTES_MAX as u64 {
        let goes_on = Arc::clone(running);
        // Syncing files takes milliseconds each; other jobs of this thread go on meanwhile.
        let no_load: OnTurn = Box::new(|_| {});
        blocking(running, &no_load, move || keep_files(output, drafts, || goes_on.go_on())).await
    } else {
        Ok(keep_files(output, drafts, || Ok(())))
    };
    usage.wall_ms += u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match kept {
        Ok(Ok((output, artifacts))) => {
            Finished { ended, usage, output, artifacts, backoff: None, started_at: Time::now() }
        }
        Err(stopped) => {
            let (ended, bound) = stopped.outcome(timeout);
            usage.bound = Some(bound);
            Finished { ended, usage, ..interrupted() }
        }
        Ok(Err(error)) => {
            Finished { usage, ..host_failure(&format!("the host could not store the job's output: {error}")) }
        }
    }
}

/// Asks `go_on` before each file.
fn keep_files(
    output: Option<Output>,
    drafts: Vec<Draft>,
    go_on: impl Fn() -> std::io::Result<()>,
) -> std::io::Result<(Option<Payload>, Vec<Artifact>)> {
    Together::finish(|together| {
        let artifacts = keep_artifacts(together, drafts, go_on)?;
        let output = output.map(|output| keep_result(together, output, &artifacts)).transpose()?;
        Ok((output, artifacts))
    })
}

fn keep_artifacts(
    together: &mut Together,
    drafts: Vec<Draft>,
    go_on: impl Fn() -> std::io::Result<()>,
) -> std::io::Result<Vec<Artifact>> {
    let mut artifacts = Vec::with_capacity(drafts.len());
    let mut inline_bytes = 0;
    for Draft { name, media_type, upload } in drafts {
        go_on()?;
        // All that is inline goes into one commit, which others wait for.
        inline_bytes += upload.size();
        let content = if inline_bytes > INLINE_BYTES_PER_JOB_MAX {
            together.add_as_blob(upload)?
        } else {
            together.add(upload)?
        };
        artifacts.push(Artifact { name, sha256: content.sha256(), payload: Payload { media_type, content } });
    }
    Ok(artifacts)
}

fn keep_result(together: &mut Together, output: Output, artifacts: &[Artifact]) -> std::io::Result<Payload> {
    match output {
        Output::Bytes(media_type, upload) => Ok(Payload { media_type, content: together.add(upload)? }),
        Output::Artifact(name, media_type) => {
            let artifact = artifacts.iter().find(|artifact| artifact.name == name);
            let payload = artifact.map(|artifact| artifact.payload.clone());
            let mut payload = payload.ok_or_else(|| std::io::Error::other("the result's artifact is missing"))?;
            payload.media_type = media_type.unwrap_or(payload.media_type);
            Ok(payload)
        }
    }
}

pub(super) fn host_failure(message: &str) -> Finished {
    Finished { ended: Ended::Failed(Failure::new(Code::Internal, message), None), ..interrupted() }
}

pub(super) fn interrupted() -> Finished {
    Finished {
        ended: Ended::Interrupted,
        usage: Usage::default(),
        output: None,
        artifacts: Vec::new(),
        backoff: None,
        started_at: Time::now(),
    }
}
