//! Logs to standard error: for people on a terminal, as JSON lines otherwise.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts logging what `directives` ask for.
pub fn start(directives: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives).with_context(|| {
        format!("log: {directives:?} is not error, warn, info, debug, trace or directives such as info,dropforge::worker=debug")
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = if stderr().is_terminal() { logs.try_init() } else { logs.json().flatten_event(true).try_init() };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
