//! How large things are: the memory of a host that does nothing, of one with a long queue, and the program itself.

use std::io::Write;
use std::path::Path;

use axum::http::StatusCode;
use serde::Serialize;

use super::client::Connection;
use super::crowd::Crowd;
use super::host::Host;
use super::targets::{self, Judged};

/// Jobs that wait: as many as a kind's queue takes by default.
const QUEUED_JOBS: usize = 100_000;

pub(super) const IDLE: &str = "memory, idle";
const IDLE_COMPILED: &str = "memory, idle, code from disk";
pub(super) const QUEUED: &str = "memory, 100,000 jobs queued";
pub(super) const PROGRAM: &str = "program file";

/// What one of them is.
#[derive(Debug, Serialize)]
pub(super) struct Size {
    what: &'static str,
    bytes: u64,
    targets: Vec<Judged>,
}

impl Size {
    fn new(what: &'static str, bytes: u64) -> Self {
        Self { what, bytes, targets: targets::judge(what, 1, None, |_| Some(bytes as f64)) }
    }

    /// The targets it was held against.
    pub(super) fn targets(&self) -> &[Judged] {
        &self.targets
    }

    /// A line below the table.
    pub(super) fn print(&self) -> std::io::Result<()> {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        let megabytes = self.bytes as f64 / 1e6;
        writeln!(std::io::stdout(), "{:<30} {megabytes:>10.1} MB  {}", self.what, targets.join(", "))
    }
}

/// Starts a host, fills its queue, and looks at all memory that it holds, its program included, before and after.
///
/// The first of its hosts compiles its plugin, which leaves more of the program in memory; the second finds the code on disk, as all do
/// but the first.
pub(super) async fn memory() -> anyhow::Result<[Size; 3]> {
    let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
    let host = Host::start(folder.path()).await?;
    let mut connection = Connection::open(host.address).await?;
    connection.expect("POST", "/v1/kinds/message/pause", "", None, StatusCode::OK).await?;
    let compiled_here = host.resident_bytes()?;
    host.kill().await?;
    let host = Host::start(folder.path()).await?;
    let mut connection = Connection::open(host.address).await?;
    let idle = host.resident_bytes()?;
    Crowd::of_no_ops(QUEUED_JOBS).submit(&mut connection).await?;
    let queued = host.resident_bytes()?;
    host.kill().await?;
    Ok([Size::new(IDLE, compiled_here), Size::new(IDLE_COMPILED, idle), Size::new(QUEUED, queued)])
}

/// The program that is running, as it lies on the disk.
pub(super) fn program() -> anyhow::Result<Size> {
    // Not where it was started from: it may have been replaced since.
    let running = Path::new("/proc/self/exe");
    let path = if running.exists() { running.to_owned() } else { std::env::current_exe()? };
    Ok(Size::new(PROGRAM, std::fs::metadata(path)?.len()))
}
