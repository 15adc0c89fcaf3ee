//! The command line: what can be typed, and which part carries it out.

mod check;
mod data;
mod serve;

use clap::{Parser, Subcommand};

use crate::{bench, demo};

/// Drop a .wasm file into a folder; get a durable, asynchronous HTTP job API for it.
#[derive(Debug, Parser)]
#[command(name = "dropforge", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a host: watch the plugin folder, accept jobs, run them
    Serve(serve::Serve),
    /// See it work: render a PDF once and eight times at once, through a real host
    Demo(demo::Demo),
    /// Measure how fast this host is here, beside what its parts can do alone
    Bench(bench::Bench),
    /// Say whether a plugin file can be used, what it is, and if not, what to do
    Check(check::Check),
    /// Check a data folder that no host is using: every record, reference and blob
    Verify(data::Verify),
    /// Write a data folder that no host is using as NDJSON
    Export(data::Export),
    /// Fill a new data folder from an export
    Import(data::Import),
    /// Make the database of a data folder that no host is using as small as what is in it
    Compact(data::Compact),
}

impl Cli {
    /// Carries out the command.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::Demo(demo) => demo.run().await,
            Command::Bench(bench) => bench.run().await,
            Command::Check(check) => check.run().await,
            Command::Verify(verify) => verify.run(),
            Command::Export(export) => export.run(),
            Command::Import(import) => import.run(),
            Command::Compact(compact) => compact.run(),
        }
    }
}
