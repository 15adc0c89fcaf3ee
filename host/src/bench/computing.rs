//! Jobs that compute: formulas and documents, beside what the processor does without a host.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::StatusCode;
use serde_json::json;

use super::client::Connection;
use super::load::Load;
use super::table::{Sample, milliseconds};
use super::{INTEGRATE, config};
use crate::config::Config;
use crate::demo::DOCUMENT;
use crate::server::Server;
use crate::shipped::PDF_TO_PNG;

/// As sharp as print.
const DPI: u32 = 200;
/// Of the document.
const PAGES: usize = 17;
/// Threads that run jobs.
const WORKERS: usize = 2;
const WAIT: Option<&str> = Some("wait=600");

/// The area below the same formula, compiled into this program and counted in the same way.
pub(super) async fn native(size: u32, duration: Duration) -> anyhow::Result<Sample> {
    let count = move || {
        let mut latencies = Vec::new();
        let began = Instant::now();
        while began.elapsed() < duration {
            let started = Instant::now();
            black_box(cells_below(black_box(size)));
            latencies.push(milliseconds(started.elapsed()));
        }
        Sample::new(latencies, began.elapsed())
    };
    Ok(tokio::task::spawn_blocking(count).await?)
}

/// Cells of a grid over a quarter of a disc that are at or below its edge.
fn cells_below(size: u32) -> u64 {
    let cell = 2.0 / f64::from(size);
    let centre = |number: u32| (f64::from(number) + 0.5) * cell;
    let below = |column: u32| {
        let x = centre(column);
        let height = (4.0 - x.powf(2.0)).sqrt();
        let (mut low, mut high) = (0, size);
        while low < high {
            let middle = low + (high - low) / 2;
            if centre(middle) <= height { low = middle + 1 } else { high = middle }
        }
        u64::from(low)
    };
    (0..size).map(below).sum()
}

/// The same as jobs, one after the other, each waited for.
pub(super) async fn integrate(folder: &Path, size: u32, duration: Duration) -> anyhow::Result<Sample> {
    let (server, mut connection) = with_plugin(folder, "integrate", &INTEGRATE).await?;
    let input = json!({"f": "sqrt(4-xs**2)", "a": 0, "b": 2, "c": 0, "d": 2, "size": size}).to_string();
    let mut latencies = Vec::new();
    let began = Instant::now();
    while began.elapsed() < duration {
        let started = Instant::now();
        connection.expect("POST", "/v1/kinds/integrate/jobs", &input, WAIT, StatusCode::OK).await?;
        latencies.push(milliseconds(started.elapsed()));
    }
    let sample = Sample::new(latencies, began.elapsed());
    server.stop().await?;
    Ok(sample)
}

/// So many documents at once, each to 17 pictures, by two workers.
pub(super) async fn documents(folder: &Path, number: usize) -> anyhow::Result<Sample> {
    let (server, mut connection) = with_plugin(folder, "pdf-to-png", &PDF_TO_PNG).await?;
    let began = Instant::now();
    let mut results = Vec::with_capacity(number);
    for _ in 0..number {
        let job = connection.submit(&format!("/v1/kinds/pdf-to-png/jobs?dpi={DPI}"), DOCUMENT).await?;
        results.push(job.result);
    }
    let mut latencies = Vec::with_capacity(number);
    for result in results {
        connection.expect("GET", &result, "", WAIT, StatusCode::OK).await?;
        latencies.push(milliseconds(began.elapsed()));
    }
    let sample = Sample::new(latencies, began.elapsed());
    server.stop().await?;
    Ok(sample)
}

/// The same document by a program of its own, from its start to its end: `plugins/pdf-to-png/src/native.rs`.
pub(super) async fn native_document(folder: &Path, program: &Path) -> anyhow::Result<Sample> {
    let (file, pictures) = (folder.join("document.pdf"), folder.join("pictures"));
    std::fs::write(&file, DOCUMENT)?;
    std::fs::create_dir(&pictures)?;
    let mut command = tokio::process::Command::new(program);
    command.args([&file, &pictures]).arg(DPI.to_string()).kill_on_drop(true);
    let began = Instant::now();
    let status = command.status().await.with_context(|| format!("--native-pdf: cannot run {}", program.display()))?;
    let taken = began.elapsed();
    let drawn = std::fs::read_dir(&pictures)?.count();
    if !status.success() || drawn != PAGES {
        bail!("--native-pdf: {} ended with {status} and made {drawn} of {PAGES} pictures", program.display());
    }
    Ok(Sample::new(vec![milliseconds(taken)], taken))
}

async fn with_plugin(folder: &Path, kind: &str, file: &[u8]) -> anyhow::Result<(Server, Connection)> {
    let config = Config { workers: WORKERS, ..config(folder)? };
    std::fs::write(config.plugins.join(kind).with_extension("wasm"), file)?;
    let server = Server::start(&config).await?;
    Load { address: server.address(), connections: 1, duration: Duration::ZERO }.until_ready().await?;
    let connection = Connection::open(server.address()).await?;
    Ok((server, connection))
}
