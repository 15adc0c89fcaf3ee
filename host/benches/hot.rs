//! The pieces that every job goes through, timed by themselves with Criterion.
//!
//! `dropforge bench` says how fast a host is; this says which piece became slower, to whoever changes one.
//!
//! ```sh
//! cargo bench --bench hot -- --quick              # all of it, within minutes
//! cargo bench --bench hot -- records              # one group: records, ready, claims, calls
//! cargo bench --bench hot -- --save-baseline old  # then change something, then: -- --baseline old
//! ```
//!
//! `cargo test` does not build it, and `cargo test --benches` runs each measurement once.
//!
//! # Instructions instead of time
//!
//! Where other programs share the processors a few per cent cannot be seen in times, but in counts of instructions they can. Valgrind
//! counts them, on any machine, and the functions of `dropforge::store::hot` are never inlined, so that they can be named. Their
//! names must be there, hence the build of its own:
//!
//! ```sh
//! CARGO_PROFILE_BENCH_STRIP=none cargo bench --bench hot --no-run      # prints the program's path
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*JobRecord*encode*' PROGRAM --test records/encode
//! ```
//!
//! "Collected" is then the count for one record (the 0 is another process's, which Criterion starts to look for gnuplot). In the same way count `*JobRecord*decode*` with `records/decode`,
//! and `*ReadyJobs*pick*` and `*ReadyJobs*remove*` with `ready/pick` and `ready/remove`; `ready/insert` collects the 1,000,001 inserts
//! of the whole queue.
//! (`perf stat -e instructions:u` counts as well where there are hardware counters; in virtual machines there often are none.)

#[path = "hot/calls.rs"]
mod calls;
#[path = "hot/claims.rs"]
mod claims;
#[path = "hot/ready.rs"]
mod ready;
#[path = "hot/records.rs"]
mod records;

use std::time::Duration;

use criterion::Criterion;
use dropforge::job::Kind;

fn main() {
    // Short: each is to be run again and again while something is being changed.
    let criterion = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    let mut criterion = criterion.sample_size(20).configure_from_args();
    records::measure(&mut criterion);
    ready::measure(&mut criterion);
    claims::measure(&mut criterion);
    calls::measure(&mut criterion);
    criterion.final_summary();
}

/// What all jobs here are for.
fn kind() -> Kind {
    Kind::new("message").expect("the name is well-formed")
}
