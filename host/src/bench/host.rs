//! A host in a process of its own, so that its memory, its files and its start are not mixed with those of the clients here.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::NO_OP;
use super::load::Load;

/// How long the host may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long its plugin has been lying there.
const AGE: Duration = Duration::from_secs(3_600);

/// Dropped, it is killed.
pub(super) struct Host {
    pub(super) address: SocketAddr,
    process: Child,
}

impl Host {
    /// Starts it in this folder, made if it is not there, and waits until it serves.
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let plugins = folder.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        let file = plugins.join("message.wasm");
        if !file.exists() {
            std::fs::write(&file, NO_OP.as_slice())?;
            // A file that has just been written is waited for: it might still grow. This one has been there for long.
            File::options().write(true).open(&file)?.set_modified(SystemTime::now() - AGE)?;
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.join("data"));
        command.arg("--plugins").arg(plugins).env("DROPFORGE_LOG", "error");
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = process.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??.context("the host did not start")?;
        let address = line.strip_prefix("listening on http://").context("the host says where it listens")?.parse()?;
        Load { address, connections: 1, duration: Duration::ZERO }.until_ready().await?;
        Ok(Self { address, process })
    }

    /// Memory that is the process's own, in bytes.
    pub(super) fn memory_bytes(&self) -> anyhow::Result<u64> {
        self.status("RssAnon:")
    }

    /// All memory that it holds, its program and mapped files included, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> anyhow::Result<u64> {
        let id = self.process.id().context("the host has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the system says how much")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// Kills it and waits until it is gone.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }
}
