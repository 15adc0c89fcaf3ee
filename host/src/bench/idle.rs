//! How many idle streams of events a host holds at once, and what each costs it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::NO_OP_INPUT;
use super::host::Host;
use super::load::Connection;
use crate::server;

/// Steps in which connections are opened; after each the host's memory is looked at.
const STEPS: usize = 10;
/// Connections being opened at a time: fewer than wait at an address before they are turned away.
const AT_ONCE: usize = 64;
/// How long a connection or an event may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A head or an event is never longer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What was found with so many connections open.
#[derive(Debug, Serialize)]
struct Step {
    connections: usize,
    host_memory_bytes: u64,
    bytes_per_connection: u64,
    opened_in_ms: u64,
}

/// What came of all of it.
#[derive(Debug, Serialize)]
struct Report {
    wanted: usize,
    reached: usize,
    /// Why not more, if fewer were reached than wanted.
    stopped_by: Option<String>,
    steps: Vec<Step>,
    /// Streams that heard of a job which was submitted at the end, and how long after the submit the last of them did.
    told: usize,
    told_in_ms: u64,
}

/// Opens so many streams, looks what they cost, and shows that each of them is alive.
pub(super) async fn run(wanted: usize, json: bool) -> anyhow::Result<()> {
    server::raise_file_limit();
    let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
    let host = Host::start(folder.path()).await?;
    let report = measure(&host, wanted).await?;
    print(&report, json)
}

async fn measure(host: &Host, wanted: usize) -> anyhow::Result<Report> {
    let before = host.memory_bytes()?;
    let mut report = Report { wanted, reached: 0, stopped_by: None, steps: Vec::new(), told: 0, told_in_ms: 0 };
    let mut streams = Vec::with_capacity(wanted);
    for step in 1..=STEPS {
        let begun = Instant::now();
        while streams.len() < wanted * step / STEPS && report.stopped_by.is_none() {
            let more = (wanted * step / STEPS - streams.len()).min(AT_ONCE);
            let mut opening: JoinSet<_> = (0..more).map(|_| listen(host.address)).collect();
            while let Some(opened) = opening.join_next().await {
                match opened? {
                    Ok(stream) => streams.push(stream),
                    Err(error) => report.stopped_by = Some(format!("{error:#}")),
                }
            }
        }
        let (memory, connections) = (host.memory_bytes()?, streams.len());
        report.steps.push(Step {
            connections,
            host_memory_bytes: memory,
            bytes_per_connection: memory.saturating_sub(before) / connections.max(1) as u64,
            opened_in_ms: milliseconds(begun.elapsed()),
        });
        if report.stopped_by.is_some() {
            break;
        }
    }
    report.reached = streams.len();
    let mut hearing: JoinSet<_> = streams.into_iter().map(hear).collect();
    let submitted = Instant::now();
    submit(host).await.context("cannot submit a job")?;
    while let Some(heard) = hearing.join_next().await {
        report.told += usize::from(heard?.is_ok());
    }
    report.told_in_ms = milliseconds(submitted.elapsed());
    Ok(report)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    writeln!(
        output,
        "{:>11} {:>14} {:>20} {:>12}",
        "connections", "host memory MB", "bytes per connection", "opened in ms"
    )?;
    for Step { connections, host_memory_bytes, bytes_per_connection, opened_in_ms } in &report.steps {
        let memory = *host_memory_bytes as f64 / f64::from(1 << 20);
        writeln!(output, "{connections:>11} {memory:>14.1} {bytes_per_connection:>20} {opened_in_ms:>12}")?;
    }
    let Report { reached, wanted, told, told_in_ms, .. } = report;
    writeln!(
        output,
        "{reached} of {wanted} streams were open at once; {told} heard of one job within {told_in_ms} ms"
    )?;
    if let Some(why) = &report.stopped_by {
        writeln!(output, "there were not more because: {why}")?;
    }
    Ok(())
}

/// Opens a stream of all events and reads until the host has said that it listens.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let opened = async {
        let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.write_all(format!("GET /v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let answer = read_until(&mut stream, "listening").await?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            bail!("the host answered {:?}", answer.lines().next().unwrap_or_default());
        }
        Ok(stream)
    };
    tokio::time::timeout(PATIENCE, opened).await.context("a connection took a minute")?
}

/// Reads until the stream has told of a job.
async fn hear(mut stream: TcpStream) -> anyhow::Result<()> {
    tokio::time::timeout(PATIENCE, read_until(&mut stream, "event: state")).await??;
    Ok(())
}

async fn read_until(stream: &mut TcpStream, end: &str) -> anyhow::Result<String> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let size = stream.read(&mut piece).await?;
        text.extend_from_slice(&piece[..size]);
        let so_far = String::from_utf8_lossy(&text);
        if so_far.contains(end) || so_far.starts_with("HTTP/1.1 503") {
            return Ok(so_far.into_owned());
        }
        if size == 0 || text.len() > ANSWER_BYTES_MAX {
            bail!("the host said something else than was expected: {:?}", so_far.lines().next().unwrap_or_default());
        }
    }
}

/// Submits a job.
async fn submit(host: &Host) -> anyhow::Result<()> {
    let mut connection = Connection::open(host.address).await?;
    connection.submit("/v1/kinds/message/jobs", NO_OP_INPUT).await?;
    Ok(())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
