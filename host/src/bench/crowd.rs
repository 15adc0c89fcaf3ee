//! Many jobs at once: submitted in one request, and carried to their ends.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::StatusCode;

use super::load::{Connection, Load};
use super::table::{Counters, Sample};
use super::{NO_OP_INPUT, config};
use crate::server::Server;

/// How long all of the jobs may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause between two looks at how many jobs are left.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Submits so many jobs in one request, and counts until the last line is answered.
pub(super) async fn batch(folder: &Path, jobs: usize) -> anyhow::Result<Sample> {
    let server = Server::start(&config(folder)?).await?;
    let mut connection = ready(&server).await?;
    let before = Counters::with(server.commits());
    let taken = submit(&mut connection, jobs).await?;
    let mut sample = Sample::of_many(jobs, taken);
    before.until(&Counters::with(server.commits()), &mut sample, taken);
    server.stop().await?;
    Ok(sample)
}

/// Submits so many jobs in one request, and counts until all of them have ended.
pub(super) async fn end_to_end(folder: &Path, jobs: usize) -> anyhow::Result<Sample> {
    let server = Server::start(&config(folder)?).await?;
    let mut connection = ready(&server).await?;
    let before = Counters::with(server.commits());
    let started = Instant::now();
    submit(&mut connection, jobs).await?;
    loop {
        let kind = connection.job("/v1/kinds/message").await?;
        let succeeded = kind["counts"]["succeeded"].as_u64().context("a kind counts its jobs")?;
        if succeeded == jobs as u64 {
            break;
        }
        if started.elapsed() > PATIENCE {
            bail!("{succeeded} of {jobs} jobs ended within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let taken = started.elapsed();
    let mut sample = Sample::of_many(jobs, taken);
    before.until(&Counters::with(server.commits()), &mut sample, taken);
    server.stop().await?;
    Ok(sample)
}

async fn ready(server: &Server) -> anyhow::Result<Connection> {
    let load = Load { address: server.address(), connections: 1, duration: Duration::ZERO };
    load.until_ready().await?;
    Connection::open(server.address()).await
}

/// Submits so many jobs in one request. How long it takes until every line is answered.
pub(super) async fn submit(connection: &mut Connection, jobs: usize) -> anyhow::Result<Duration> {
    let lines = format!("{{\"kind\":\"message\",\"input\":{NO_OP_INPUT}}}\n").repeat(jobs);
    let started = Instant::now();
    let answers = connection.expect("POST", "/v1/jobs/batch", &lines, None, StatusCode::OK).await?;
    let taken = started.elapsed();
    let accepted = std::str::from_utf8(&answers)?.lines().filter(|line| line.contains(r#""status":202"#)).count();
    if accepted != jobs {
        bail!("{accepted} of {jobs} lines were accepted");
    }
    Ok(taken)
}
