//! One attack, stopped by its deadline or by a cancel, and how soon its thread ran another job.
//!
//! The host has a single worker thread and no room for jobs that wait, so that the next job starts when the attack has let go of
//! the thread. Both times are seen from outside: by when a client gets the result of a good job that was queued behind the attack,
//! and by what the records of both say.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::StatusCode;
use serde_json::Value;

use super::super::client::{Connection, Links};
use super::super::load::Load;
use super::super::table::{Sample, milliseconds};
use super::super::{NO_OP, NO_OP_INPUT};
use super::families::{self, Family};
use crate::config::Config;
use crate::server::Server;
use crate::time::parse_time;

pub(super) const GOOD: &str = "/v1/kinds/good/jobs";
pub(super) const WAIT: Option<&str> = Some("wait=60");
/// Time limit of the attacks that run into it.
const TIMEOUT_MS: u64 = 200;
/// The same of those that are cancelled.
const LONG_MS: u64 = 60_000;
/// How far into an attack it is cancelled.
const INTO_THE_ATTACK: Duration = Duration::from_millis(30);
/// The longest an attack may take to begin.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What ends an attack.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) enum Stop {
    Deadline,
    Cancel,
}

/// Stops the attack with this letter again and again, on a host of its own, and tells how long its thread was not free after that.
pub(in crate::bench) async fn again_and_again(
    folder: &Path,
    letter: char,
    stop: Stop,
    duration: Duration,
) -> anyhow::Result<Sample> {
    let server = Server::start(&Config { workers: 1, parked_jobs_max: 0, ..config(folder)? }).await?;
    let mut client = open(&server).await?;
    let family = Family { attack: "", kind: "attack", input: letter.to_string() };
    let (began, mut latencies) = (Instant::now(), Vec::new());
    while latencies.is_empty() || began.elapsed() < duration {
        latencies.push(match stop {
            Stop::Deadline => past_deadline(&mut client, &family).await?,
            Stop::Cancel => past_cancel(&mut client, &family).await?,
        });
    }
    server.stop().await?;
    Ok(Sample::of_latencies(latencies))
}

/// How long after the attack's deadline the next job started, in milliseconds.
pub(super) async fn past_deadline(client: &mut Connection, family: &Family) -> anyhow::Result<f64> {
    let (attack, good) = attack_before_good(client, family, TIMEOUT_MS).await?;
    client.expect("GET", &good.result, "", WAIT, StatusCode::OK).await?;
    let (attack, good) = (client.job(&attack.job).await?, client.job(&good.job).await?);
    if attack["failure"]["code"] != "deadline_exceeded" {
        bail!("it ended by itself: {attack}");
    }
    let started_at =
        |job: &Value| job["started_at"].as_str().and_then(parse_time).context("a job that ran has started");
    Ok((started_at(&good)?.0 - started_at(&attack)?.0) as f64 - TIMEOUT_MS as f64)
}

/// How long after the attack's cancellation a client has the result of the next job, in milliseconds.
pub(super) async fn past_cancel(client: &mut Connection, family: &Family) -> anyhow::Result<f64> {
    let (attack, good) = attack_before_good(client, family, LONG_MS).await?;
    tokio::time::sleep(INTO_THE_ATTACK).await;
    let cancelled = Instant::now();
    client.expect("POST", &format!("{}/cancel", attack.job), "", None, StatusCode::OK).await?;
    client.expect("GET", &good.result, "", WAIT, StatusCode::OK).await?;
    Ok(milliseconds(cancelled.elapsed()))
}

/// Starts an attack, and puts a good job behind it.
async fn attack_before_good(
    client: &mut Connection,
    family: &Family,
    timeout_ms: u64,
) -> anyhow::Result<(Links, Links)> {
    let attack = client.submit(&format!("/v1/kinds/{}/jobs?timeout={timeout_ms}", family.kind), &family.input).await?;
    let end = Instant::now() + PATIENCE;
    // Submitted at once, the good job might be taken first.
    while client.job(&attack.job).await?["state"] == "queued" {
        if Instant::now() > end {
            bail!("it did not begin");
        }
    }
    Ok((attack, client.submit(GOOD, NO_OP_INPUT).await?))
}

/// A host with the attacks and a good plugin, and limits that an attack soon reaches.
pub(super) fn config(folder: &Path) -> anyhow::Result<Config> {
    let config = super::super::config(folder)?;
    families::put(&config.plugins, "attack", families::ATTACKS)?;
    families::put(&config.plugins, "good", &NO_OP)?;
    Ok(Config { memory_bytes: 512 << 20, output_bytes: 1 << 20, ..config })
}

/// A client of that host, once it serves.
pub(super) async fn open(server: &Server) -> anyhow::Result<Connection> {
    let address = server.address();
    Load { address, connections: 1, duration: Duration::ZERO }.until_ready().await?;
    let mut client = Connection::open(address).await?;
    client.expect("GET", "/v1/kinds/attack", "", None, StatusCode::OK).await.context("the attacks can be loaded")?;
    Ok(client)
}
