//! Logs to standard error: for people on a terminal, as JSON lines otherwise.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging what `directives` ask for.
pub fn start(directives: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(of_this_host(directives)).with_context(|| {
        format!("log: {directives:?} is not error, warn, info, debug, trace or directives such as info,dropforge::worker=debug")
    })?;
    // A log that nobody can read any more is no reason to end: what it would say of that goes the same way, and panics.
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).log_internal_errors(false);
    let started = if stderr().is_terminal() { logs.try_init() } else { logs.json().flatten_event(true).try_init() };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// A level by itself is one for this host. The compiler and the database below it would bury what it says.
fn of_this_host(directives: &str) -> String {
    match directives.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::WARN => format!("{},dropforge={level}", LevelFilter::WARN),
        _ => directives.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_for_this_host_and_directives_are_taken_as_they_are() {
        for (asked, understood) in [
            ("debug", "warn,dropforge=debug"),
            (" INFO ", "warn,dropforge=info"),
            ("error", "error"),
            ("info,sled=debug", "info,sled=debug"),
            ("dropforge::worker=trace", "dropforge::worker=trace"),
        ] {
            assert_eq!(of_this_host(asked), understood);
        }
    }
}
