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
#[path = "conformance/document.rs"]
mod document;
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

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, set_hook};
use std::process::ExitCode;

use target::Target;

/// A claim, the clause it rests on, and how it is checked.
struct Check {
    clause: &'static str,
    claim: &'static str,
    check: fn(&Target),
}

/// Why a claim says nothing about a host.
struct Beside(&'static str);

/// Ends a check that says nothing about this host.
fn beside(why: &'static str) -> ! {
    panic_any(Beside(why))
}

fn main() -> ExitCode {
    // What is left after the flags of a test runner is a part of the names to be run, as with other tests.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let groups = [
        problems::checks(),
        jobs::checks(),
        conditional::checks(),
        streams::checks(),
        limits::checks(),
        document::checks(),
    ];
    let is_wanted = |check: &Check| wanted.is_empty() || wanted.iter().any(|part| check.claim.contains(part.as_str()));
    let checks: Vec<Check> = groups.into_iter().flatten().filter(is_wanted).collect();
    if checks.is_empty() {
        return ExitCode::SUCCESS;
    }
    let target = Target::from_environment();
    println!("conformance of {}", target.address());
    // What was found instead is of use to whoever runs the host; where in these files it was noticed is not.
    set_hook(Box::new(|panic| {
        if let Some(found) = panic.payload_as_str() {
            println!("       {found}");
        }
    }));
    let mut failed = 0;
    for Check { clause, claim, check } in &checks {
        let verdict = match catch_unwind(AssertUnwindSafe(|| check(&target))) {
            Ok(()) => "ok    ",
            Err(why) => match why.downcast_ref::<Beside>() {
                Some(Beside(why)) => {
                    println!("       not checked: {why}");
                    "-     "
                }
                None => "FAILED",
            },
        };
        failed += usize::from(verdict == "FAILED");
        println!("{verdict} {clause:<38} {claim}");
    }
    println!("{failed} of {} claims do not hold", checks.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
