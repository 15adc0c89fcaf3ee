//! A thousand jobs that each wait for a second in a call of the host, all on one worker thread.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::config;
use super::crowd::Crowd;
use super::table::{Sample, milliseconds};
use crate::config::Config;

/// As many as wait at a time by default.
const JOBS: usize = 1_000;
/// What the plugin waits; see `waiting.wat`.
const WAIT: Duration = Duration::from_secs(1);
/// The plugin. It is made from the text beside it, as the attacks are: see `attacks/built.rs`.
pub(super) const WAITING: &[u8] = include_bytes!("waiting.wasm");

/// As many waits without a host, on the threads of this runtime.
pub(super) async fn native() -> anyhow::Result<Sample> {
    let began = Instant::now();
    let mut waits: JoinSet<()> = (0..JOBS).map(|_| tokio::time::sleep(WAIT)).collect();
    while let Some(waited) = waits.join_next().await {
        waited?;
    }
    Ok(Sample::of_latencies(vec![milliseconds(began.elapsed())]))
}

/// From submitting the jobs, in one request, until all of them have succeeded.
pub(super) async fn jobs(folder: &Path) -> anyhow::Result<Sample> {
    let config = Config { workers: 1, ..config(folder)? };
    std::fs::write(config.plugins.join("waiting.wasm"), WAITING)?;
    let (_, taken) = Crowd { kind: "waiting", input: "null", jobs: JOBS }.to_ends(&config).await?;
    Ok(Sample::of_latencies(vec![milliseconds(taken)]))
}
