//! What is measured, and against which floor.

use std::path::Path;
use std::time::Duration;

use super::load::{Load, Request};
use super::table::{Counters, Sample};
use super::{computing, config, crowd, floors, start};
use crate::server::Server;

/// One kind of work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) what: &'static str,
    /// The line it is held against.
    pub(super) floor: Option<&'static str>,
    /// Whether it is measured with each number of connections; otherwise with as many as the work says itself.
    pub(super) per_connections: bool,
    measure: Measure,
}

#[derive(Debug, Clone, Copy)]
enum Measure {
    Echo,
    StoreCommit,
    Call,
    Http(Request),
    Batch,
    EndToEnd,
    Native(u32),
    Integrate(u32),
    Documents(usize),
    Start { cached: bool },
}

/// Jobs of the end-to-end measurement.
const JOBS: usize = 50_000;

const ECHO: &str = "axum echo";
const STORE: &str = "store commit";
const CALL: &str = "instantiate and call";
const SUBMIT: &str = "durable submit";
const ONE_DOCUMENT: &str = "pdf-to-png, 17 pages";

/// Floors come before what stands on them.
pub(super) const WORKS: [Work; 16] = [
    Work::each(ECHO, None, Measure::Echo),
    Work::each(STORE, None, Measure::StoreCommit),
    Work::each(SUBMIT, Some(ECHO), Measure::Http(Request::Submit)),
    Work::each("submit, wait for result", Some(SUBMIT), Measure::Http(Request::SubmitAndWait)),
    Work::each("submit, poll for result", Some(SUBMIT), Measure::Http(Request::SubmitAndPoll)),
    Work::once(CALL, None, Measure::Call),
    Work::once("batch submit", Some(STORE), Measure::Batch),
    Work::once("50,000 jobs, batch to ends", Some(CALL), Measure::EndToEnd),
    Work::once("integral of 1000, native", None, Measure::Native(1_000)),
    Work::once("integrate 1000", Some("integral of 1000, native"), Measure::Integrate(1_000)),
    Work::once("integral of 10000, native", None, Measure::Native(10_000)),
    Work::once("integrate 10000", Some("integral of 10000, native"), Measure::Integrate(10_000)),
    Work::once(ONE_DOCUMENT, None, Measure::Documents(1)),
    Work::once("the same, 8 at once", Some(ONE_DOCUMENT), Measure::Documents(8)),
    Work::once("start to result, compiling", None, Measure::Start { cached: false }),
    Work::once("start to result, compiled", None, Measure::Start { cached: true }),
];

impl Work {
    const fn each(what: &'static str, floor: Option<&'static str>, measure: Measure) -> Self {
        Self { what, floor, per_connections: true, measure }
    }

    const fn once(what: &'static str, floor: Option<&'static str>, measure: Measure) -> Self {
        Self { what, floor, per_connections: false, measure }
    }

    /// Measures it once. Each time on a fresh host, so that none inherits the backlog of another.
    pub(super) async fn measure(self, connections: usize, duration: Duration) -> anyhow::Result<Sample> {
        let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
        match self.measure {
            Measure::Echo => floors::echo(connections, duration).await,
            Measure::StoreCommit => floors::store_commit(folder.path(), connections, duration).await,
            Measure::Call => floors::call(folder.path(), duration).await,
            Measure::Native(size) => computing::native(size, duration).await,
            Measure::Start { cached } => start::to_first_result(folder.path(), cached).await,
            Measure::Http(request) => under_load(folder.path(), request, connections, duration).await,
            Measure::Batch => crowd::batch(folder.path(), JOBS).await,
            Measure::EndToEnd => crowd::end_to_end(folder.path(), JOBS).await,
            Measure::Integrate(size) => computing::integrate(folder.path(), size, duration).await,
            Measure::Documents(number) => computing::documents(folder.path(), number).await,
        }
    }
}

async fn under_load(folder: &Path, request: Request, connections: usize, duration: Duration) -> anyhow::Result<Sample> {
    let server = Server::start(&config(folder)?).await?;
    let load = Load { address: server.address(), connections, duration };
    load.until_ready().await?;
    let before = Counters::with(server.commits());
    let mut sample = load.run(request).await?;
    before.until(&Counters::with(server.commits()), &mut sample, duration);
    server.stop().await?;
    Ok(sample)
}
