//! Parses the command line, runs it, and chooses the exit code.

use std::process::ExitCode;

use dropforge::cli::Cli;
use dropforge::cli::exit::{self, Exit};

/// Threads that serve clients. Jobs have threads of their own.
const SERVING_THREADS: usize = 2;

fn main() -> ExitCode {
    let (cli, as_json) = Cli::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(SERVING_THREADS).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(cli.run());
        if matches!(result, Ok(Exit::Interrupted)) {
            // Whoever pressed Ctrl-C does not wait for what is read, or for a compiler.
            runtime.shutdown_background();
        }
        result
    });
    let exit = result.unwrap_or_else(|error| {
        exit::tell(&error, as_json);
        Exit::of(&error)
    });
    exit.into()
}
