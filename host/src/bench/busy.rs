//! Submits to a host all of whose workers compute.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::client::Connection;
use super::load::{Load, Request};
use super::table::Sample;
use super::{NO_OP, config};
use crate::server::Server;

/// Computes for longer than any measurement takes.
const ENDLESS: &str = r#"{"message":"","seconds":86400}"#;
const SUBMIT: &str = "/v1/kinds/busy/jobs?timeout=3600000";
/// The longest the workers may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives each worker a job that computes on and on, and then submits others, one after the other.
pub(super) async fn submits(folder: &Path, duration: Duration) -> anyhow::Result<Sample> {
    let config = config(folder)?;
    std::fs::write(config.plugins.join("busy.wasm"), NO_OP.as_slice())?;
    let server = Server::start(&config).await?;
    let load = Load { address: server.address(), connections: 1, duration };
    load.until_ready().await?;
    let mut connection = Connection::open(server.address()).await?;
    let workers = config.worker_count();
    for _ in 0..workers {
        connection.submit(SUBMIT, ENDLESS).await?;
    }
    let end = Instant::now() + PATIENCE;
    while running(&mut connection).await? < workers as u64 {
        if Instant::now() > end {
            bail!("the workers did not begin");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let sample = load.run(Request::Submit).await?;
    if running(&mut connection).await? < workers as u64 {
        bail!("the workers did not compute all the time");
    }
    server.stop().await?;
    Ok(sample)
}

async fn running(connection: &mut Connection) -> anyhow::Result<u64> {
    let kind = connection.job("/v1/kinds/busy").await?;
    kind["counts"]["running"].as_u64().context("a kind counts its jobs")
}
