//! Attacks: plugins that spin, grow, flood, wait, lie and pry, each in a few lines of component text.
//!
//! An attack runs on a host with a single worker thread, so that all workers are attacked at once. Before it the host's usual
//! time for a good job is measured, and after it a good job has to succeed in that time again. A family of attacks is a file.

mod crowd;
mod disks;
mod files;
mod floods;
mod folders;
mod held;
mod host;
mod lies;
mod loops;
mod memory;
mod names;
mod outputs;
mod reach;
mod servers;
mod traps;
mod waits;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Host, Setup, guest};

/// Between a cancel or a deadline and a thread that is free again.
const PROMISE: Duration = Duration::from_millis(100);
/// The machine may be busy with other things just then, but not always.
const TRIES: usize = 5;
/// Time limit of an attack that is stopped by it.
const TIMEOUT: Duration = Duration::from_millis(300);

/// A hostile plugin, `attack`, and the host it is dropped into.
struct Attack {
    setup: Setup,
    input: Vec<u8>,
}

impl Attack {
    /// An attack by this file.
    fn by(guest: impl AsRef<[u8]>) -> Self {
        let setup = Host::prepare().with_guest("good", guest::good()).with_guest("attack", guest);
        let setup = setup.set("workers", 1).set("memory_bytes", 32 << 20).set("output_bytes", 1 << 20);
        Self { setup, input: b"input".to_vec() }
    }

    /// An attack by a plugin with this body of `run`.
    fn run(body: &str) -> Self {
        Self::by(guest::run(body))
    }

    /// The same with another setting of the host.
    fn with(self, name: &str, value: impl ToString) -> Self {
        Self { setup: self.setup.set(name, value), ..self }
    }

    /// The same with this `attack.toml`.
    fn granted(self, toml: &str) -> Self {
        Self { setup: self.setup.with_file("attack.toml", toml), ..self }
    }

    /// The same with so long an input.
    fn input(self, size: usize) -> Self {
        Self { input: vec![b'x'; size], ..self }
    }

    /// Starts the host, with the attack in its plugin folder.
    fn host(self) -> Host {
        let host = self.setup.start();
        host.measure_usual_time();
        host
    }

    /// Fails with this code and bound after one attempt, which is the plugin's fault, and leaves the host well.
    #[track_caller]
    fn fails(self, code: &str, bound: impl Into<Value>) -> (Host, Value) {
        let input = self.input.clone();
        let host = self.host();
        let job = host.wait_for(&host.submit_raw("attack", input), "failed");
        let failure = &job["failure"];
        assert_eq!((&failure["code"], &failure["fault"]), (&json!(code), &json!("plugin")), "{job}");
        assert_eq!((&failure["retryable"], &job["attempts"]), (&json!(false), &json!(1)), "{job}");
        assert_eq!(job["usage"][0]["bound"], bound.into(), "{job}");
        host.still_works();
        (host, job)
    }

    /// Gets nothing from its attack but this result, and leaves the host well.
    #[track_caller]
    fn succeeds(self, output: &str) -> (Host, Value) {
        let input = self.input.clone();
        let host = self.host();
        let id = host.submit_raw("attack", input);
        assert_eq!(String::from_utf8_lossy(&host.output(&id)), output);
        host.still_works();
        let job = host.job(&id);
        (host, job)
    }

    /// Never ends by itself: is stopped in time at its deadline, and again when it is cancelled, and leaves the host well both times.
    #[track_caller]
    fn stops(self) -> Host {
        let input = self.input.clone();
        let host = self.host();
        is_stopped(&host, &input);
        host
    }
}

/// This job of `attack` is stopped in time at its deadline, and again when it is cancelled, and leaves the host well both times.
#[track_caller]
fn is_stopped(host: &Host, input: &[u8]) {
    let query = format!("attack?timeout={}", TIMEOUT.as_millis());
    in_time("its deadline", || {
        let job = host.wait_for(&host.submit_raw(&query, input.to_vec()), "failed");
        assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
        assert_eq!((&job["usage"][0]["bound"], &job["attempts"]), (&json!("deadline"), &json!(1)), "{job}");
        wall_time(&job).saturating_sub(TIMEOUT)
    });
    host.still_works();
    in_time("its cancellation", || {
        let id = host.submit_raw("attack", input.to_vec());
        host.wait_for(&id, "running");
        // Into the attack itself; to be stopped on the way there would be as right.
        std::thread::sleep(Duration::from_millis(20));
        let cancelled = Instant::now();
        host.cancel(&id);
        let job = host.wait_until(&id, "has let go of its thread", |job| job["usage"] != json!([]));
        assert_eq!((&job["state"], &job["usage"][0]["bound"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
        cancelled.elapsed()
    });
    host.still_works();
}

/// How long the attempt of a job took.
fn wall_time(job: &Value) -> Duration {
    Duration::from_millis(job["usage"][0]["wall_ms"].as_u64().unwrap_or_else(|| panic!("no attempt: {job}")))
}

/// Tries something, a few times on a busy machine, and expects it to come no later than promised.
#[track_caller]
fn in_time(after: &str, mut late: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    while times.len() < TRIES {
        times.push(late());
        if times.last() <= Some(&PROMISE) {
            return;
        }
    }
    panic!("stopped so long after {after}: {times:?}");
}
