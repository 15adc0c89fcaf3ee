//! Many jobs at once: submitted in one request, and carried to their ends.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::StatusCode;

use super::client::Connection;
use super::load::Load;
use super::table::{Counters, CpuTime, Sample};
use super::{NO_OP_INPUT, NO_OP_KIND};
use crate::config::Config;
use crate::server::Server;

/// How long all of the jobs may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause between two looks at how many jobs are left.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// So many jobs that are all alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd<'a> {
    pub(super) kind: &'a str,
    /// As JSON.
    pub(super) input: &'a str,
    pub(super) jobs: usize,
}

impl Crowd<'_> {
    /// Jobs that do nothing.
    pub(super) fn of_no_ops(jobs: usize) -> Self {
        Self { kind: NO_OP_KIND, input: NO_OP_INPUT, jobs }
    }

    /// Submits them in one request to a host of their own, and counts until the last line is answered.
    pub(super) async fn to_answers(self, config: &Config) -> anyhow::Result<Sample> {
        let server = Server::start(config).await?;
        let mut connection = ready(&server).await?;
        let before = Counters::with(server.commits());
        let cpu_time = CpuTime::now();
        let taken = self.submit(&mut connection).await?;
        let mut sample = Sample::of_many(self.jobs, taken);
        cpu_time.until_now(&mut sample, self.jobs);
        before.until(&Counters::with(server.commits()), &mut sample, self.jobs);
        server.stop().await?;
        Ok(sample)
    }

    /// The same, and counts until all of them have succeeded. Also answers how long that took.
    pub(super) async fn to_ends(self, config: &Config) -> anyhow::Result<(Sample, Duration)> {
        let server = Server::start(config).await?;
        let mut connection = ready(&server).await?;
        let before = Counters::with(server.commits());
        let (cpu_time, started) = (CpuTime::now(), Instant::now());
        self.submit(&mut connection).await?;
        self.until_succeeded(&mut connection, started + PATIENCE).await?;
        let taken = started.elapsed();
        let mut sample = Sample::of_many(self.jobs, taken);
        cpu_time.until_now(&mut sample, self.jobs);
        before.until(&Counters::with(server.commits()), &mut sample, self.jobs);
        server.stop().await?;
        Ok((sample, taken))
    }

    /// Submits them in one request. How long it takes until every line is answered.
    pub(super) async fn submit(self, connection: &mut Connection) -> anyhow::Result<Duration> {
        let Self { kind, input, jobs } = self;
        let lines = format!("{{\"kind\":\"{kind}\",\"input\":{input}}}\n").repeat(jobs);
        let started = Instant::now();
        let answers = connection.expect("POST", "/v1/jobs/batch", &lines, None, StatusCode::OK).await?;
        let taken = started.elapsed();
        let (accepted, refused): (Vec<&str>, Vec<&str>) =
            std::str::from_utf8(&answers)?.lines().partition(|line| line.contains(r#""status":202"#));
        if accepted.len() != jobs {
            let line = refused.first().context("a line for each job")?;
            let problem: Option<serde_json::Value> = serde_json::from_str(line).ok();
            let reason = problem.as_ref().and_then(|line| line["problem"]["detail"].as_str()).unwrap_or(line);
            bail!("{} of {jobs} jobs were accepted: {reason}", accepted.len());
        }
        Ok(taken)
    }

    async fn until_succeeded(self, connection: &mut Connection, end: Instant) -> anyhow::Result<()> {
        loop {
            let kind = connection.job(&format!("/v1/kinds/{}", self.kind)).await?;
            let count = |state: &str| kind["counts"][state].as_u64().context("a kind counts its jobs");
            let (succeeded, failed) = (count("succeeded")?, count("failed")?);
            if succeeded == self.jobs as u64 {
                return Ok(());
            }
            if failed > 0 {
                bail!("{failed} of {} jobs failed: {}", self.jobs, self.reason(connection).await?);
            }
            if Instant::now() > end {
                bail!("{succeeded} of {} jobs succeeded in {} s", self.jobs, PATIENCE.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Why one of them failed.
    async fn reason(self, connection: &mut Connection) -> anyhow::Result<String> {
        let failed = connection.job(&format!("/v1/jobs?kind={}&state=failed&limit=1", self.kind)).await?;
        Ok(failed["jobs"][0]["failure"]["message"].as_str().context("a job that failed says why")?.to_owned())
    }
}

async fn ready(server: &Server) -> anyhow::Result<Connection> {
    let load = Load { address: server.address(), connections: 1, duration: Duration::ZERO };
    load.until_ready().await?;
    Connection::open(server.address()).await
}
