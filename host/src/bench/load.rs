//! Load from many keep-alive connections, each sending its next request when the last is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use axum::http::StatusCode;

use super::client::Connection;
use super::table::{CpuTime, Sample, milliseconds};
use super::{NO_OP_INPUT, NO_OP_KIND};

/// Longest a job of this load may take.
const WAIT: &str = "wait=30";
/// How long compiling plugins may take, those of megabytes on slow machines included.
const READY_MAX: Duration = Duration::from_secs(300);
/// Looks at one job before the bench gives up.
const LOOKS_MAX: usize = 100_000;

/// What each connection does, again and again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    /// `POST` to the echo.
    Echo,
    /// Submit a job.
    Submit,
    /// Submit a job with `Prefer: wait`.
    SubmitAndWait,
    /// Submit a job, then ask for its result once, with `Prefer: wait`.
    SubmitThenWait,
    /// Submit a job, then ask for its result until it is there, without a pause.
    SubmitAndPoll,
}

impl Request {
    /// Does it once.
    pub(super) async fn send(self, connection: &mut Connection, body: &str) -> anyhow::Result<()> {
        let jobs = "/v1/jobs";
        match self {
            Request::Echo => connection.expect("POST", "/", body, None, StatusCode::OK).await.map(drop),
            Request::Submit => connection.expect("POST", jobs, body, None, StatusCode::ACCEPTED).await.map(drop),
            Request::SubmitAndWait => connection.expect("POST", jobs, body, Some(WAIT), StatusCode::OK).await.map(drop),
            Request::SubmitThenWait => {
                let job = connection.submit(jobs, body).await?;
                connection.expect("GET", &job.result, "", Some(WAIT), StatusCode::OK).await.map(drop)
            }
            Request::SubmitAndPoll => {
                let job = connection.submit(jobs, body).await?;
                for _ in 0..LOOKS_MAX {
                    match connection.send("GET", &job.result, "", None).await? {
                        (StatusCode::OK, _) => return Ok(()),
                        (StatusCode::ACCEPTED, _) => {}
                        (status, _) => bail!("a job did not succeed: {status}"),
                    }
                }
                bail!("a job did not end")
            }
        }
    }
}

/// How much load, and on whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) connections: usize,
    pub(super) duration: Duration,
}

impl Load {
    /// Waits until the host serves.
    pub(super) async fn until_ready(&self) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.address).await?;
        let end = Instant::now() + READY_MAX;
        while connection.send("GET", "/readyz", "", None).await?.0 != StatusCode::OK {
            if Instant::now() > end {
                bail!("the host was not ready after {} s", READY_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Runs the load on a thread of its own, and answers what came of it.
    pub(super) async fn run(self, request: Request) -> anyhow::Result<Sample> {
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.drive(request))
        })
        .await?
    }

    async fn drive(self, request: Request) -> anyhow::Result<Sample> {
        let end = Instant::now() + self.duration;
        let input: Arc<str> = body().into();
        let workers = (0..self.connections).map(|_| {
            let input = Arc::clone(&input);
            tokio::spawn(async move {
                let mut connection = Connection::open(self.address).await?;
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let started = Instant::now();
                    request.send(&mut connection, &input).await?;
                    latencies.push(milliseconds(started.elapsed()));
                }
                anyhow::Ok(latencies)
            })
        });
        let cpu_time = CpuTime::now();
        let mut latencies = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            latencies.append(&mut worker.await??);
        }
        let operations = latencies.len();
        let mut sample = Sample::new(latencies, self.duration);
        cpu_time.until_now(&mut sample, operations);
        Ok(sample)
    }
}

/// What each request of a load has in its body: a job that does nothing.
pub(super) fn body() -> String {
    format!(r#"{{"kind":"{NO_OP_KIND}","input":{NO_OP_INPUT}}}"#)
}
