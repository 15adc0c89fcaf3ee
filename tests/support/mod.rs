//! A host under test, and the verbs of the stories told about it.
//!
//! Every [`Host`] is the real binary in a temporary folder of its own. Waiting is always for a state and has a
//! deadline. When a test fails, what its host wrote to standard error follows the failure. What stories do with jobs stands in
//! `jobs`.

#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

pub(crate) mod answer;
pub(crate) mod command;
pub(crate) mod disk;
pub(crate) mod document;
pub(crate) mod door;
pub(crate) mod guest;
mod jobs;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod receiver;
pub(crate) mod server;
mod setup;
mod snippets;
pub(crate) mod sse;
pub(crate) mod ws;

use std::path::Path;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use self::answer::{Answer, client};
pub(crate) use self::process::{Exit, Process};
pub(crate) use self::setup::Setup;

/// Longer than anything takes on a busy machine; a test that waits for so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);
/// A good job may take so many times its usual time, which counts as this long at least: the machine does other things too.
const USUAL_TIMES: u32 = 3;
const USUAL_AT_LEAST: Duration = Duration::from_millis(50);
/// Good jobs until one of them takes its usual time.
const USUAL_TRIES: usize = 10;

/// Looks again and again until there is something to see, or fails.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        std::thread::sleep(POLL_EVERY);
    }
}

/// A file that is shipped with the project.
pub(crate) fn shipped(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// A host that runs. Dropped, it is killed.
pub(crate) struct Host {
    // Dropped in this order: the process ends before its folder goes.
    process: Option<Process>,
    setup: Setup,
    /// How long a good job takes, if that was measured.
    usual: OnceLock<Duration>,
}

impl Host {
    /// An empty folder to begin with.
    pub(crate) fn prepare() -> Setup {
        Setup::new()
    }

    /// A host with one good plugin, `good`.
    pub(crate) fn start() -> Host {
        Self::prepare().with_guest("good", guest::good()).start()
    }

    /// The folder it runs in.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its process.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("the host runs")
    }

    /// Kills the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take().expect("the host runs"));
    }

    /// Asks the process to end, and answers how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.process().signal(rustix::process::Signal::TERM);
        self.ended()
    }

    /// Waits until the process, which was asked to end, has ended, and answers how.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.process.take().expect("the host runs").wait().status
    }

    /// Starts a host in the same folders; the one before has been stopped.
    pub(crate) fn start_again(&mut self) {
        if let Err(exit) = self.try_start_again() {
            panic!("the host did not start: {exit:?}");
        }
    }

    /// Starts a host in the same folders, or answers how it ended instead.
    pub(crate) fn try_start_again(&mut self) -> Result<(), Exit> {
        self.try_come_up_again()?;
        // Compiling takes turns at the lowest priority with whatever else the machine does.
        within(3 * PATIENCE, "the host becomes ready", || (self.get("/readyz").status == 200).then_some(()));
        Ok(())
    }

    /// The same, without a wait until it is ready.
    pub(crate) fn try_come_up_again(&mut self) -> Result<(), Exit> {
        assert!(self.process.is_none(), "the host runs already");
        let mut process = self.setup.process();
        if !process.comes_up() {
            return Err(process.wait());
        }
        self.process = Some(process);
        Ok(())
    }

    /// Kills the process and starts another one in the same folders.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Puts a file into the plugin folder of the running host, in one step, as a careful operator would.
    pub(crate) fn drop_file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let (hidden, path) = (self.setup.plugins().join(".new"), self.setup.plugins().join(name));
        std::fs::write(&hidden, bytes).expect("the plugin folder can be written");
        std::fs::rename(hidden, path).expect("a file can be renamed");
    }

    /// A request to be finished and sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        client().request(method, format!("{}{path}", self.process().address()))
    }

    /// `GET`
    pub(crate) fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path))
    }

    /// A request by whoever holds this token.
    pub(crate) fn request_as(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(token)
    }

    /// `GET` by whoever holds this token.
    pub(crate) fn get_as(&self, token: &str, path: &str) -> Answer {
        Answer::of(self.request_as(token, Method::GET, path))
    }

    /// `POST` by whoever holds this token.
    pub(crate) fn post_as(&self, token: &str, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request_as(token, Method::POST, path).body(body))
    }

    /// `POST` of these bytes, with no word about what they are.
    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request(Method::POST, path).body(body))
    }

    /// What the host says about a file of its plugin folder, once it has looked at it.
    pub(crate) fn file(&self, name: &str) -> Value {
        eventually(&format!("{name} is checked"), || {
            let files = self.get("/v1/plugins").json();
            let file = files["plugins"].as_array().expect("a list").iter().find(|file| file["file"] == name);
            file.filter(|file| file["state"] != "compiling").cloned()
        })
    }

    /// Measures how long a good job takes here, for [`still_works`](Self::still_works) to hold against later.
    pub(crate) fn measure_usual_time(&self) {
        // The first one makes a memory, a file, a page of the database; those after it find them.
        let mut times = [(); 6].map(|()| self.good_job());
        times[1..].sort();
        self.usual.set(times[3]).expect("it is measured once");
    }

    /// Shows that the host is well: a good job still succeeds, and takes no longer than before, if that was measured.
    #[track_caller]
    pub(crate) fn still_works(&self) {
        let mut time = self.good_job();
        let Some(usual) = self.usual.get() else { return };
        let most = (*usual).max(USUAL_AT_LEAST) * USUAL_TIMES;
        for _ in 1..USUAL_TRIES {
            if time <= most {
                return;
            }
            time = time.min(self.good_job());
        }
        assert!(time <= most, "a good job takes {time:?}, and took {usual:?} before the attack");
    }

    /// Runs a good job and answers how long that took.
    fn good_job(&self) -> Duration {
        let started = Instant::now();
        let request = self.request(Method::POST, "/v1/kinds/good/jobs").header("prefer", "wait=60");
        let answer = Answer::of(request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "a good job");
        started.elapsed()
    }
}

/// Whether a job has ended.
pub(crate) fn is_terminal(job: &Value) -> bool {
    ["succeeded", "failed", "cancelled"].iter().any(|state| job["state"] == *state)
}

pub(crate) fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().expect("a job has an id").to_owned()
}
