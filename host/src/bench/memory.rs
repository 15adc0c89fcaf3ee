//! Memory of a host that does nothing, and of one with a long queue.

use std::io::Write;

use axum::http::StatusCode;
use serde::Serialize;

use super::crowd;
use super::host::Host;
use super::load::Connection;

/// Jobs that wait: as many as a kind's queue takes by default.
const QUEUED: usize = 100_000;

/// All memory that the process holds, its program included, in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    idle_bytes: u64,
    queued_jobs: usize,
    queued_bytes: u64,
}

/// Starts a host, fills its queue, and looks at it before and after.
pub(super) async fn measure() -> anyhow::Result<Memory> {
    let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
    let host = Host::start(folder.path()).await?;
    let mut connection = Connection::open(host.address).await?;
    connection.expect("POST", "/v1/kinds/message/pause", "", None, StatusCode::OK).await?;
    let idle_bytes = host.resident_bytes()?;
    crowd::submit(&mut connection, QUEUED).await?;
    let queued_bytes = host.resident_bytes()?;
    host.kill().await?;
    Ok(Memory { idle_bytes, queued_jobs: QUEUED, queued_bytes })
}

impl Memory {
    /// Two lines below the table.
    pub(super) fn print(&self) -> std::io::Result<()> {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut output = std::io::stdout().lock();
        writeln!(output, "{:<30} {:>10.1} MiB", "memory, idle", mebibytes(self.idle_bytes))?;
        let queued = format!("memory, {} jobs queued", self.queued_jobs);
        writeln!(output, "{queued:<30} {:>10.1} MiB", mebibytes(self.queued_bytes))
    }
}
