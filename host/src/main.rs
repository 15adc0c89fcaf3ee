//! Parses the command line, runs it, and chooses the exit code.

use std::process::ExitCode;

use clap::Parser;
use dropforge::cli::Cli;

/// Threads that serve clients. Jobs have threads of their own.
const SERVING_THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(SERVING_THREADS).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(cli.run()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dropforge: {error:#}");
            ExitCode::FAILURE
        }
    }
}
