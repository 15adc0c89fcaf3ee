//! How many idle streams of events, and how many idle WebSockets, a host holds at once, and what each costs it.

mod websocket;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use self::websocket::Socket;
use super::NO_OP_INPUT;
use super::client::Connection;
use super::host::Host;
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

/// How a client listens.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Events,
    Websocket,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Way::Events => "streams of events",
            Way::Websocket => "WebSockets",
        }
    }
}

/// Somebody who listens.
enum Listener {
    Events(TcpStream),
    /// Answers the host's pings until it has heard of a job.
    Websocket(JoinHandle<anyhow::Result<()>>),
}

/// What came of all of it.
#[derive(Debug, Serialize)]
struct Report {
    way: Way,
    wanted: usize,
    reached: usize,
    /// Why not more, if fewer were reached than wanted.
    stopped_by: Option<String>,
    steps: Vec<Step>,
    /// Those that heard of a job which was submitted at the end, and how long after the submit the last of them did.
    told: usize,
    told_in_ms: u64,
}

/// Opens so many of each, looks what they cost a host of their own, and shows that each of them is alive.
pub(super) async fn run(wanted: usize, json: bool) -> anyhow::Result<()> {
    server::raise_file_limit();
    let mut reports = Vec::new();
    for way in [Way::Events, Way::Websocket] {
        let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
        let host = Host::start(folder.path()).await?;
        reports.push(measure(&host, way, wanted).await?);
        host.kill().await?;
    }
    print(&reports, json)
}

async fn measure(host: &Host, way: Way, wanted: usize) -> anyhow::Result<Report> {
    let before = host.memory_bytes()?;
    let mut report = Report { way, wanted, reached: 0, stopped_by: None, steps: Vec::new(), told: 0, told_in_ms: 0 };
    let mut listeners = Vec::with_capacity(wanted);
    for step in 1..=STEPS {
        let begun = Instant::now();
        while listeners.len() < wanted * step / STEPS && report.stopped_by.is_none() {
            let more = (wanted * step / STEPS - listeners.len()).min(AT_ONCE);
            let mut opening: JoinSet<_> = (0..more).map(|_| listen(way, host.address)).collect();
            while let Some(opened) = opening.join_next().await {
                match opened? {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => report.stopped_by = Some(format!("{error:#}")),
                }
            }
        }
        let (memory, connections) = (host.memory_bytes()?, listeners.len());
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
    report.reached = listeners.len();
    let mut hearing: JoinSet<_> = listeners.into_iter().map(hear).collect();
    let submitted = Instant::now();
    submit(host).await.context("cannot submit a job")?;
    while let Some(heard) = hearing.join_next().await {
        report.told += usize::from(heard?.is_ok());
    }
    report.told_in_ms = milliseconds(submitted.elapsed());
    Ok(report)
}

fn print(reports: &[Report], json: bool) -> anyhow::Result<()> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(reports)?)?;
        return Ok(());
    }
    for Report { way, steps, reached, wanted, stopped_by, told, told_in_ms } in reports {
        let way = way.as_str();
        writeln!(output, "{way:>17} {:>14} {:>20} {:>12}", "host memory MB", "bytes per connection", "opened in ms")?;
        for Step { connections, host_memory_bytes, bytes_per_connection, opened_in_ms } in steps {
            let memory = *host_memory_bytes as f64 / f64::from(1 << 20);
            writeln!(output, "{connections:>17} {memory:>14.1} {bytes_per_connection:>20} {opened_in_ms:>12}")?;
        }
        writeln!(output, "{reached} of {wanted} were open at once; {told} heard of one job within {told_in_ms} ms")?;
        if let Some(why) = stopped_by {
            writeln!(output, "there were not more because: {why}")?;
        }
    }
    Ok(())
}

/// Opens a connection and listens to the events of all jobs there are.
async fn listen(way: Way, address: SocketAddr) -> anyhow::Result<Listener> {
    let opened = async {
        match way {
            Way::Events => Ok(Listener::Events(stream(address).await?)),
            Way::Websocket => {
                let mut socket = Socket::open(address).await?;
                socket.send_text(r#"{"op":"subscribe","ref":1,"kind":"message"}"#).await?;
                socket.until(r#""event":"accepted""#).await?;
                let hearing = async move { socket.until(r#""event":"state""#).await };
                Ok(Listener::Websocket(tokio::spawn(hearing)))
            }
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.context("a connection took a minute")?
}

/// Opens a stream of all events and reads until the host has said that it listens.
async fn stream(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.write_all(format!("GET /v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let answer = read_until(&mut stream, "listening").await?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("the host answered {:?}", answer.lines().next().unwrap_or_default());
    }
    Ok(stream)
}

/// Reads until it has been told of a job.
async fn hear(listener: Listener) -> anyhow::Result<()> {
    match listener {
        Listener::Events(mut stream) => {
            tokio::time::timeout(PATIENCE, read_until(&mut stream, "event: state")).await??;
        }
        Listener::Websocket(hearing) => tokio::time::timeout(PATIENCE, hearing).await???,
    }
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
