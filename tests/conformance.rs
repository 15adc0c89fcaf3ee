//! Whether a host keeps to the standards it names. Anybody can run it against any host:
//!
//! ```sh
//! DROPFORGE_URL=http://127.0.0.1:8080 cargo test --test conformance
//! ```
//!
//! `DROPFORGE_TOKEN` is a token with the scopes submit and read, if the host asks for one. `DROPFORGE_KIND` and `DROPFORGE_INPUT` name
//! a kind and a JSON input with which a job of it succeeds within a few seconds and has a result of at least ten bytes
//! (`message`, unless given). Without a URL it starts a host of its own. Each check is a line: the clause, and what is claimed.

#![allow(clippy::print_stdout, reason = "what is printed is what it is for")]

#[path = "conformance/conditional.rs"]
mod conditional;
#[path = "conformance/jobs.rs"]
mod jobs;
#[path = "conformance/limits.rs"]
mod limits;
#[path = "conformance/problems.rs"]
mod problems;
#[path = "conformance/streams.rs"]
mod streams;
mod support;
#[path = "conformance/target.rs"]
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use target::Target;

/// A claim, the clause it rests on, and how it is checked.
struct Check {
    clause: &'static str,
    claim: &'static str,
    check: fn(&Target),
}

fn main() -> ExitCode {
    // What is left after the flags of a test runner is a part of the names to be run, as with other tests.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let checks: Vec<Check> =
        [problems::checks(), jobs::checks(), conditional::checks(), streams::checks(), limits::checks()]
            .into_iter()
            .flatten()
            .filter(|check| wanted.is_empty() || wanted.iter().any(|part| check.claim.contains(part.as_str())))
            .collect();
    if checks.is_empty() {
        return ExitCode::SUCCESS;
    }
    let target = Target::from_environment();
    println!("conformance of {}", target.address());
    let mut failed = 0;
    for Check { clause, claim, check } in &checks {
        let passed = catch_unwind(AssertUnwindSafe(|| check(&target))).is_ok();
        failed += usize::from(!passed);
        println!("{} {clause:<38} {claim}", if passed { "ok    " } else { "FAILED" });
    }
    println!("{} of {} claims hold", checks.len() - failed, checks.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
