//! What hostile jobs leave behind in the host's memory.

use anyhow::bail;
use axum::http::StatusCode;
use futures_util::future::try_join_all;
use serde::Serialize;

use super::{ATTACK, WAIT, config, open};
use crate::bench::bar;
use crate::bench::client::Connection;
use crate::bench::growth::memory_bytes;
use crate::config::Config;
use crate::server::Server;

/// Attacks that end by themselves, each in another way: a trap, memory, the stack, lies, artifacts, exceptions, tables, handles, words.
const LETTERS: &str = "ABCDEFGHI";
/// Memory is looked at when so many jobs are over.
const MARKS: [usize; 4] = [0, 100, 1_000, 10_000];
const CONNECTIONS: usize = 16;
/// Of a job: little, so that those that go to the limit are soon there.
const MEMORY_BYTES: u64 = 16 << 20;

/// The memory in use after so many hostile jobs.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) jobs: usize,
    pub(super) memory_bytes: u64,
}

/// Runs ten thousand hostile jobs on one host, whose records it keeps no longer than the newest hundred.
pub(super) async fn measure() -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("dropforge-bench-").tempdir()?;
    let server =
        Server::start(&Config { keep_jobs_max: 100, memory_bytes: MEMORY_BYTES, ..config(folder.path())? }).await?;
    drop(open(&server).await?);
    let bar = bar(MARKS[MARKS.len() - 1] as u64);
    bar.set_message("hostile jobs");
    let (mut rows, mut done) = (Vec::new(), 0);
    for mark in MARKS {
        let connections = try_join_all((0..CONNECTIONS).map(|_| Connection::open(server.address()))).await?;
        let shares = connections.into_iter().enumerate().map(|(first, mut connection)| {
            let (bar, numbers) = (&bar, (done + first..mark).step_by(CONNECTIONS));
            async move {
                for number in numbers {
                    attack(&mut connection, number).await?;
                    bar.inc(1);
                }
                anyhow::Ok(())
            }
        });
        try_join_all(shares).await?;
        done = mark;
        rows.push(Row { jobs: mark, memory_bytes: memory_bytes() });
    }
    bar.finish_and_clear();
    server.stop().await?;
    Ok(rows)
}

async fn attack(connection: &mut Connection, number: usize) -> anyhow::Result<()> {
    let letter = LETTERS.chars().cycle().nth(number % LETTERS.len()).unwrap_or('A').to_string();
    let (status, answer) = connection.send("POST", ATTACK, &letter, WAIT).await?;
    if status != StatusCode::CONFLICT {
        bail!("attack {letter} was answered with {status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
