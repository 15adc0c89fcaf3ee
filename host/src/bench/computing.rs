//! Jobs that compute: formulas and documents, beside what the processor does without a host.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::json;

use super::load::{Connection, Load};
use super::table::Sample;
use super::{INTEGRATE, config};
use crate::demo::{DOCUMENT, PDF_TO_PNG};
use crate::server::Server;

/// As sharp as print.
const RENDER: &str = "/v1/kinds/pdf-to-png/jobs?dpi=200";
const WAIT: Option<&str> = Some("wait=600");

/// The area below the same formula, compiled into this program and counted in the same way.
pub(super) async fn native(size: u32, duration: Duration) -> anyhow::Result<Sample> {
    let count = move || {
        let mut latencies = Vec::new();
        let began = Instant::now();
        while began.elapsed() < duration {
            let started = Instant::now();
            black_box(cells_below(black_box(size)));
            latencies.push(started.elapsed().as_secs_f64() * 1_000.0);
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
    let (server, mut connection) = with_plugin(folder, "integrate", INTEGRATE).await?;
    let input = json!({"f": "sqrt(4-xs**2)", "a": 0, "b": 2, "c": 0, "d": 2, "size": size}).to_string();
    let mut latencies = Vec::new();
    let began = Instant::now();
    while began.elapsed() < duration {
        let started = Instant::now();
        connection.expect("POST", "/v1/kinds/integrate/jobs", &input, WAIT, StatusCode::OK).await?;
        latencies.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    let sample = Sample::new(latencies, began.elapsed());
    server.stop().await?;
    Ok(sample)
}

/// So many documents at once, each to 17 pictures.
pub(super) async fn documents(folder: &Path, number: usize) -> anyhow::Result<Sample> {
    let (server, mut connection) = with_plugin(folder, "pdf-to-png", PDF_TO_PNG).await?;
    let began = Instant::now();
    let mut jobs = Vec::with_capacity(number);
    for _ in 0..number {
        jobs.push(connection.submit(RENDER, DOCUMENT).await?);
    }
    let mut latencies = Vec::with_capacity(number);
    for job in jobs {
        connection.expect("GET", &format!("{job}/result"), "", WAIT, StatusCode::OK).await?;
        latencies.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let sample = Sample::new(latencies, began.elapsed());
    server.stop().await?;
    Ok(sample)
}

async fn with_plugin(folder: &Path, kind: &str, file: &[u8]) -> anyhow::Result<(Server, Connection)> {
    let config = config(folder)?;
    std::fs::write(config.plugins.join(kind).with_extension("wasm"), file)?;
    let server = Server::start(&config).await?;
    Load { address: server.address(), connections: 1, duration: Duration::ZERO }.until_ready().await?;
    let connection = Connection::open(server.address()).await?;
    Ok((server, connection))
}
