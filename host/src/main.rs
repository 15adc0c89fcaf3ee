//! Parses the command line, runs it, and chooses the exit code.

use std::process::ExitCode;

use dropforge::cli::Cli;
use dropforge::cli::exit::{self, Exit};
use dropforge::interrupts::Interrupts;
use dropforge::sandbox::compiler;

/// Threads that serve clients. Jobs have threads of their own.
const SERVING_THREADS: usize = 2;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == compiler::COMMAND) {
        let words: Vec<String> = words.filter_map(|word| word.into_string().ok()).collect();
        return compile(&words);
    }
    let (cli, as_json) = match Cli::read() {
        Ok(read) => read,
        Err(exit) => return exit.into(),
    };
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

/// What a host asks another process of this program for, and nobody else.
fn compile(words: &[String]) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let _entered = runtime.enter();
    // Whoever tells all processes of a host to stop means the host, and it does not outlive the host.
    let _unheard = Interrupts::listen();
    match compiler::answer(words, std::io::stdin(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
