//! What the parts can do alone: HTTP without a store, the store without HTTP, the sandbox without either.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::alone::{Alone, CAPACITY};
use super::load::{Load, Request};
use super::table::{Counters, CpuTime, Sample, milliseconds};
use super::{NO_OP_INPUT, NO_OP_KIND, QUEUE_MAX};
use crate::job::{Job, JobId, Kind};
use crate::sandbox::Sandbox;
use crate::store::{Admission, Content, NewJob, Options, Payload, Settings, Store};
use crate::time::Time;

/// A bare axum server that parses the JSON it gets and gives it back.
pub(super) async fn echo(connections: usize, duration: Duration) -> anyhow::Result<Sample> {
    let echo = |body: Bytes| async move {
        let value: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        axum::Json(value)
    };
    let (address, server) = serve(Router::new().route("/", post(echo))).await?;
    let sample = Load { address, connections, duration }.run(Request::Echo).await;
    server.abort();
    sample
}

/// A server with nothing around it, until it is aborted.
pub(super) async fn serve(router: Router) -> anyhow::Result<(SocketAddr, JoinHandle<io::Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        // Only the figure would suffer.
        let _ = stream.set_nodelay(true);
    });
    Ok((address, tokio::spawn(async move { axum::serve(listener, router).await })))
}

/// The store alone: so many submitters, each with its next job when the last is durable.
pub(super) async fn store_commit(folder: &Path, submitters: usize, duration: Duration) -> anyhow::Result<Sample> {
    let settings = Settings { claims_max: 0, reserve_bytes: 0 };
    let store = Arc::new(Store::open(&folder.join("data"), &settings)?);
    let before = Counters::with(store.commits());
    let (cpu_time, end) = (CpuTime::now(), Instant::now() + duration);
    let tasks = (0..submitters).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                store.submit(job()?, Admission { queue_max: QUEUE_MAX, key: None, workers: None }).await?;
                latencies.push(milliseconds(started.elapsed()));
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        latencies.append(&mut task.await??);
    }
    let mut sample = Sample::new(latencies, duration);
    let submits = sample.operations();
    cpu_time.until_now(&mut sample, submits);
    before.until(&Counters::with(store.commits()), &mut sample, submits);
    tokio::task::spawn_blocking(move || store.close()).await?;
    Ok(sample)
}

/// The sandbox alone: attempts of a job with this input, one after the other on one thread.
pub(super) async fn call(folder: &Path, plugin: Vec<u8>, input: &str, duration: Duration) -> anyhow::Result<Sample> {
    let (folder, input) = (folder.to_owned(), input.to_owned());
    let calls = move || {
        let plugin = Alone::new(Sandbox::new(CAPACITY, None)?, &folder, &plugin)?;
        let mut latencies = Vec::new();
        let (cpu_time, began) = (CpuTime::now(), Instant::now());
        while began.elapsed() < duration {
            let started = Instant::now();
            plugin.attempt(&input)?;
            latencies.push(milliseconds(started.elapsed()));
        }
        let calls = latencies.len();
        let mut sample = Sample::new(latencies, began.elapsed());
        cpu_time.until_now(&mut sample, calls);
        anyhow::Ok(sample)
    };
    tokio::task::spawn_blocking(calls).await?
}

/// A small job.
pub(super) fn job() -> anyhow::Result<NewJob> {
    let kind = Kind::new(NO_OP_KIND).ok_or_else(|| anyhow::anyhow!("a good name"))?;
    let job = Job::new(JobId::now_v7(), kind, Time::now());
    let content = Content::Inline(NO_OP_INPUT.into());
    let input = Payload { media_type: "application/json".to_owned(), content };
    Ok(NewJob { job, input, options: Options::default(), blobs: Vec::new(), webhook: None })
}
