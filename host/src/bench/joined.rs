//! The parts of a job put together by the least we know that does it, to see what this machine leaves for a host that is made of them.
//!
//! A request is parsed, a worker calls the component, what came of it is appended to a file, with one sync for all that have come meanwhile,
//! and then it is answered. There are no states, no index, no database, no limits, no events, and nothing could be found again. Workers are
//! not put behind the threads that serve, as nothing here computes for long.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::sync::oneshot;

use super::alone::{Alone, CAPACITY};
use super::floors::serve;
use super::load::{Load, Request};
use super::table::Sample;
use super::{NO_OP, NO_OP_INPUT};
use crate::sandbox::Sandbox;

const WORKERS: usize = 2;
/// Of a job with its outcome, about what a host writes of it.
const RECORD_BYTES: usize = 600;
/// The file has this length from the beginning, and is written anew from there when it is full.
const FILE_BYTES: usize = 1 << 20;

/// After a sync that so many shared, the next waits for company, so long and so often at the most; much as the store does it, but with figures
/// of its own, so that tuning the store does not move what it is held against.
const COMPANY: usize = 8;
const LINGER: Duration = Duration::from_micros(200);
const LINGERS_MAX: usize = 4;
/// Records of one sync.
const GROUP_MAX: usize = 256;

type Answer = oneshot::Sender<()>;
type Jobs = Arc<Mutex<Receiver<Answer>>>;

/// A load of requests, each of which is such a job.
pub(super) async fn jobs(folder: &Path, connections: usize, duration: Duration) -> anyhow::Result<Sample> {
    let (to_workers, jobs) = channel();
    let (to_disk, done) = channel();
    let jobs = Arc::new(Mutex::new(jobs));
    let mut threads = vec![commit(folder, done)?];
    for number in 0..WORKERS {
        let (folder, jobs, to_disk) = (folder.join(number.to_string()), Arc::clone(&jobs), to_disk.clone());
        threads.push(tokio::task::spawn_blocking(move || work(&folder, jobs, to_disk)).await??);
    }
    drop((to_disk, jobs));
    let answer = move |body: Bytes| answer(to_workers.clone(), body);
    let (address, server) = serve(Router::new().route("/", post(answer))).await?;
    let sample = Load { address, connections, duration }.run(Request::Echo).await;
    server.abort();
    // Its end takes the last sender along, and the threads end.
    let _ = server.await;
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).collect::<Vec<_>>());
    for ended in joined.await? {
        ended.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    sample
}

async fn answer(workers: Sender<Answer>, body: Bytes) -> Result<axum::Json<Value>, StatusCode> {
    let job: Value = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let (told, result) = oneshot::channel();
    workers.send(told).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    result.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(axum::Json(job))
}

fn work(folder: &Path, jobs: Jobs, to_disk: Sender<Answer>) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let plugin = Alone::new(Sandbox::new(CAPACITY, None)?, folder, NO_OP.as_slice())?;
    let work = move || {
        loop {
            let Ok(told) = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return Ok(()) };
            plugin.attempt(NO_OP_INPUT)?;
            to_disk.send(told).context("nobody writes any more")?;
        }
    };
    Ok(thread::Builder::new().name("bare-worker".to_owned()).spawn(work)?)
}

fn commit(folder: &Path, done: Receiver<Answer>) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let file = File::create(folder.join("written"))?;
    // By the page, as the journal.
    for at in (0..FILE_BYTES).step_by(4096) {
        file.write_all_at(&[0; 4096], at as u64)?;
    }
    file.sync_all()?;
    let write = move || {
        let (records, mut at, mut group, mut shared) = (vec![7; GROUP_MAX * RECORD_BYTES], 0, Vec::new(), 0);
        while let Ok(first) = done.recv() {
            group.extend(std::iter::once(first).chain(done.try_iter().take(GROUP_MAX - 1)));
            let mut lingers = if shared >= COMPANY { LINGERS_MAX } else { 0 };
            while lingers > 0 && group.len() < shared {
                thread::sleep(LINGER);
                group.extend(done.try_iter().take(GROUP_MAX - group.len()));
                lingers -= 1;
            }
            shared = group.len();
            let bytes = &records[..shared * RECORD_BYTES];
            at = if at + bytes.len() > FILE_BYTES { 0 } else { at };
            file.write_all_at(bytes, at as u64)?;
            file.sync_data()?;
            at += bytes.len();
            for told in group.drain(..) {
                // Whoever has gone need not know.
                let _ = told.send(());
            }
        }
        Ok(())
    };
    Ok(thread::Builder::new().name("bare-writer".to_owned()).spawn(write)?)
}
