//! From starting the program to its first result.

use std::path::Path;
use std::time::Instant;

use axum::http::StatusCode;

use super::NO_OP_INPUT;
use super::client::Connection;
use super::host::Host;
use super::table::{Sample, milliseconds};

/// Starts a host in an empty folder and submits a job; if `cached`, after another host has compiled its plugin there.
pub(super) async fn to_first_result(folder: &Path, cached: bool) -> anyhow::Result<Sample> {
    if cached {
        first_result(folder).await?.kill().await?;
    }
    let started = Instant::now();
    let host = first_result(folder).await?;
    let taken = started.elapsed();
    host.kill().await?;
    Ok(Sample::of_latencies(vec![milliseconds(taken)]))
}

async fn first_result(folder: &Path) -> anyhow::Result<Host> {
    let host = Host::start(folder).await?;
    let mut connection = Connection::open(host.address).await?;
    connection.expect("POST", "/v1/kinds/message/jobs", NO_OP_INPUT, Some("wait=60"), StatusCode::OK).await?;
    Ok(host)
}
