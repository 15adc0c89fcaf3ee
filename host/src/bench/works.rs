//! What is measured, and against which floor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use axum::http::StatusCode;

use super::attacks::stopping::{Stop, again_and_again};
use super::client::Connection;
use super::crowd::Crowd;
use super::load::{Load, Request};
use super::open_loop::Schedule;
use super::table::{Counters, Sample};
use super::{NO_OP, NO_OP_INPUT, busy, computing, config, floors, joined, start, waiting};
use crate::config::Config;
use crate::server::Server;

/// One kind of work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) what: &'static str,
    /// The line it is held against.
    pub(super) floor: Option<&'static str>,
    /// The lines that it does the work of, each as often as it does, and more besides: with what they take of the processors alone nothing
    /// can be faster than that.
    pub(super) parts: &'static [&'static str],
    /// Whether it is measured with each number of connections; otherwise with as many as the work says itself.
    pub(super) per_connections: bool,
    measure: Measure,
}

#[derive(Debug, Clone, Copy)]
enum Measure {
    Echo,
    StoreCommit,
    Call,
    Joined,
    Http(Request, Kind),
    Scheduled(Request),
    Busy,
    Batch,
    EndToEnd,
    NativeWaits,
    Waiting,
    Stopping(char, Stop),
    NativeIntegral(u32),
    Integrate(u32),
    NativeDocument,
    Documents(usize),
    Start { cached: bool },
    ComponentCall,
    Component,
}

/// Whether the jobs that are submitted run meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Running,
    Paused,
}

/// What else whoever measures has, each for works of its own.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Measured as well, if given")]
pub(super) struct Given {
    /// The PDF renderer without a sandbox, the floor of pdf-to-png; the end of this help says how to build it
    #[arg(long, value_name = "PROGRAM")]
    native_pdf: Option<PathBuf>,
    /// A plugin of your own: jobs per second of it on two workers, beside bare calls of it. The target is one for Python that does nothing
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// What each of its jobs reads
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "component")]
    component_input: String,
}

impl Given {
    /// Whether the plugin is there: told before minutes are spent on all that is measured before it.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.component.is_some() {
            self.component()?;
        }
        Ok(())
    }

    fn component(&self) -> anyhow::Result<Vec<u8>> {
        let path = self.component.as_deref().context("--component is not given")?;
        fs::read(path).with_context(|| format!("--component: cannot read {}", path.display()))
    }
}

/// Jobs of the end-to-end measurement.
const JOBS: usize = 50_000;
/// The same of a plugin that may be slow.
const COMPONENT_JOBS: usize = 2_000;
/// Of the load that comes on a schedule.
const PER_SECOND: u32 = 2_000;
const SENDERS: usize = 256;
/// Attacks, by their letters: one that computes without end, and one that waits for an hour.
const COMPUTING: char = 'a';
const SLEEPING: char = 'u';

const ECHO: &str = "axum echo";
const STORE: &str = "store commit";
const CALL: &str = "instantiate and call";
const JOINED: &str = "bare parts joined";
pub(super) const SUBMIT: &str = "durable submit";
pub(super) const WAIT: &str = "submit, wait for result";
pub(super) const THEN_WAIT: &str = "submit, then wait for result";
pub(super) const POLL: &str = "submit, poll for result";
pub(super) const SCHEDULED_JOBS: &str = "2,000 jobs/s open loop";
pub(super) const BUSY_SUBMIT: &str = "submit, workers computing";
pub(super) const BATCH: &str = "batch submit";
const NATIVE_WAITS: &str = "1,000 sleeps of 1 s, native";
pub(super) const WAITING_JOBS: &str = "1,000 jobs wait 1 s, 1 thread";
pub(super) const CANCEL_COMPUTING: &str = "cancel to next job, computing";
pub(super) const CANCEL_WAITING: &str = "cancel to next job, waiting";
pub(super) const DEADLINE_COMPUTING: &str = "deadline to next, computing";
pub(super) const DEADLINE_WAITING: &str = "deadline to next, waiting";
const NATIVE_1000: &str = "integral of 1000, native";
const NATIVE_10000: &str = "integral of 10000, native";
pub(super) const INTEGRATE: &str = "integrate 10000";
const NATIVE_DOCUMENT: &str = "pdf, 17 pages, native";
pub(super) const ONE_DOCUMENT: &str = "pdf-to-png, 17 pages";
pub(super) const EIGHT_DOCUMENTS: &str = "the same, 8 at once";
pub(super) const START_COMPILING: &str = "start to result, compiling";
pub(super) const START_COMPILED: &str = "start to result, compiled";
const COMPONENT_CALL: &str = "component, call";
pub(super) const COMPONENT: &str = "component, batch to ends";

/// Floors come before what stands on them.
pub(super) const WORKS: [Work; 31] = [
    Work::each(ECHO, None, Measure::Echo),
    Work::each(STORE, None, Measure::StoreCommit),
    Work::once(CALL, None, Measure::Call),
    Work::each(JOINED, None, Measure::Joined),
    // Its job is run meanwhile, and the end recorded.
    Work::each(SUBMIT, Some(ECHO), Measure::Http(Request::Submit, Kind::Running)).of(&[ECHO, STORE, CALL, STORE]),
    Work::each("durable submit, kind paused", Some(ECHO), Measure::Http(Request::Submit, Kind::Paused))
        .of(&[ECHO, STORE]),
    Work::each(WAIT, Some(JOINED), Measure::Http(Request::SubmitAndWait, Kind::Running))
        .of(&[ECHO, STORE, CALL, STORE]),
    Work::each(THEN_WAIT, Some(SUBMIT), Measure::Http(Request::SubmitThenWait, Kind::Running))
        .of(&[ECHO, STORE, CALL, STORE, ECHO]),
    Work::each(POLL, Some(SUBMIT), Measure::Http(Request::SubmitAndPoll, Kind::Running)),
    Work::once("2,000 submits/s open loop", None, Measure::Scheduled(Request::Submit)),
    Work::once(SCHEDULED_JOBS, None, Measure::Scheduled(Request::SubmitAndWait)),
    Work::once(BUSY_SUBMIT, Some(SUBMIT), Measure::Busy),
    Work::once(BATCH, Some(STORE), Measure::Batch).of(&[STORE]),
    Work::once("50,000 jobs, batch to ends", Some(CALL), Measure::EndToEnd).of(&[STORE, CALL, STORE]),
    Work::once(NATIVE_WAITS, None, Measure::NativeWaits),
    Work::once(WAITING_JOBS, Some(NATIVE_WAITS), Measure::Waiting),
    Work::once(CANCEL_COMPUTING, None, Measure::Stopping(COMPUTING, Stop::Cancel)),
    Work::once(CANCEL_WAITING, None, Measure::Stopping(SLEEPING, Stop::Cancel)),
    Work::once(DEADLINE_COMPUTING, None, Measure::Stopping(COMPUTING, Stop::Deadline)),
    Work::once(DEADLINE_WAITING, None, Measure::Stopping(SLEEPING, Stop::Deadline)),
    Work::once(NATIVE_1000, None, Measure::NativeIntegral(1_000)),
    Work::once("integrate 1000", Some(NATIVE_1000), Measure::Integrate(1_000)),
    Work::once(NATIVE_10000, None, Measure::NativeIntegral(10_000)),
    Work::once(INTEGRATE, Some(NATIVE_10000), Measure::Integrate(10_000)),
    Work::once(NATIVE_DOCUMENT, None, Measure::NativeDocument),
    Work::once(ONE_DOCUMENT, Some(NATIVE_DOCUMENT), Measure::Documents(1)),
    Work::once(EIGHT_DOCUMENTS, Some(ONE_DOCUMENT), Measure::Documents(8)),
    Work::once(START_COMPILING, None, Measure::Start { cached: false }),
    Work::once(START_COMPILED, None, Measure::Start { cached: true }),
    Work::once(COMPONENT_CALL, None, Measure::ComponentCall),
    Work::once(COMPONENT, Some(COMPONENT_CALL), Measure::Component),
];

impl Work {
    const fn each(what: &'static str, floor: Option<&'static str>, measure: Measure) -> Self {
        Self { what, floor, parts: &[], per_connections: true, measure }
    }

    const fn once(what: &'static str, floor: Option<&'static str>, measure: Measure) -> Self {
        Self { what, floor, parts: &[], per_connections: false, measure }
    }

    const fn of(self, parts: &'static [&'static str]) -> Self {
        Self { parts, ..self }
    }

    /// The option without which it cannot be measured, if that is not given.
    pub(super) fn lacks(self, given: &Given) -> Option<&'static str> {
        match self.measure {
            Measure::NativeDocument if given.native_pdf.is_none() => Some("--native-pdf PROGRAM"),
            Measure::ComponentCall | Measure::Component if given.component.is_none() => Some("--component FILE"),
            _ => None,
        }
    }

    /// What to try where that failed, if more can be said than to measure it again.
    pub(super) fn advice(self) -> Option<&'static str> {
        match self.measure {
            Measure::NativeDocument => Some("`dropforge bench --help` says at its end how --native-pdf is built"),
            Measure::ComponentCall | Measure::Component => Some(
                "--component-input JSON is what its jobs read ({} if not given); `dropforge run FILE --input JSON` runs one of them",
            ),
            _ => None,
        }
    }

    /// Measures it once. Each time on a fresh host, so that none inherits the backlog of another.
    pub(super) async fn measure(self, connections: usize, duration: Duration, given: &Given) -> anyhow::Result<Sample> {
        let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
        let path = folder.path();
        match self.measure {
            Measure::Echo => floors::echo(connections, duration).await,
            Measure::StoreCommit => floors::store_commit(path, connections, duration).await,
            Measure::Call => floors::call(path, NO_OP.to_vec(), NO_OP_INPUT, duration).await,
            Measure::Joined => joined::jobs(path, connections, duration).await,
            Measure::Http(request, kind) => under_load(path, request, kind, connections, duration).await,
            Measure::Scheduled(request) => on_schedule(path, request, duration).await,
            Measure::Busy => busy::submits(path, duration).await,
            Measure::Batch => Crowd::of_no_ops(JOBS).to_answers(&config(path)?).await,
            Measure::EndToEnd => Ok(Crowd::of_no_ops(JOBS).to_ends(&config(path)?).await?.0),
            Measure::NativeWaits => waiting::native().await,
            Measure::Waiting => waiting::jobs(path).await,
            Measure::Stopping(letter, stop) => again_and_again(path, letter, stop, duration).await,
            Measure::NativeIntegral(size) => computing::native(size, duration).await,
            Measure::Integrate(size) => computing::integrate(path, size, duration).await,
            Measure::NativeDocument => {
                let program = given.native_pdf.as_deref().context("--native-pdf is not given")?;
                computing::native_document(path, program).await
            }
            Measure::Documents(number) => computing::documents(path, number).await,
            Measure::Start { cached } => start::to_first_result(path, cached).await,
            Measure::ComponentCall => floors::call(path, given.component()?, &given.component_input, duration).await,
            Measure::Component => component(path, given).await,
        }
    }
}

async fn under_load(
    folder: &Path,
    request: Request,
    kind: Kind,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Sample> {
    let server = Server::start(&config(folder)?).await?;
    let load = Load { address: server.address(), connections, duration };
    load.until_ready().await?;
    if kind == Kind::Paused {
        let mut connection = Connection::open(server.address()).await?;
        connection.expect("POST", "/v1/kinds/message/pause", "", None, StatusCode::OK).await?;
    }
    let before = Counters::with(server.commits());
    let mut sample = load.run(request).await?;
    let operations = sample.operations();
    before.until(&Counters::with(server.commits()), &mut sample, operations);
    server.stop().await?;
    Ok(sample)
}

async fn on_schedule(folder: &Path, request: Request, duration: Duration) -> anyhow::Result<Sample> {
    let server = Server::start(&config(folder)?).await?;
    let address = server.address();
    Load { address, connections: 1, duration }.until_ready().await?;
    let before = Counters::with(server.commits());
    let mut sample = Schedule { address, connections: SENDERS, per_second: PER_SECOND, duration }.run(request).await?;
    let operations = sample.operations();
    before.until(&Counters::with(server.commits()), &mut sample, operations);
    server.stop().await?;
    Ok(sample)
}

async fn component(folder: &Path, given: &Given) -> anyhow::Result<Sample> {
    let config = Config { workers: 2, ..config(folder)? };
    fs::write(config.plugins.join("component.wasm"), given.component()?)?;
    let crowd = Crowd { kind: "component", input: &given.component_input, jobs: COMPONENT_JOBS };
    Ok(crowd.to_ends(&config).await?.0)
}
