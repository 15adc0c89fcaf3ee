//! A job brings the whole process down: who is suspected, who is charged, who is left alone.
//!
//! Each host here is a process of its own that claims what it can, enters some of the guests, and aborts.

mod guilt;
mod suspicion;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitStatus;

use dropforge::job::JobId;
use tempfile::TempDir;

use crate::child::start;
use crate::parts::{at, job, kind};
use crate::place::{CRASHES_MAX, Place, SETTINGS};

/// Late enough for every pause between attempts to be over.
const LATER: i64 = 3_600;

/// What a host process did before it died.
#[derive(Debug, Default)]
struct Life {
    suspects: Vec<JobId>,
    claimed: Vec<JobId>,
}

/// The part of the child: a host that claims everything it may have, is inside the guests of the jobs named in
/// `words`, and aborts. Guests of jobs named after a `-` it had entered and left again.
pub(crate) async fn host_that_crashes(place: &Path, words: &str) {
    let store = crate::open(place, &SETTINGS).expect("the place opens");
    let suspects = store.recover(CRASHES_MAX, at(LATER)).await.expect("the disk works");
    let claimed = store.claim(&[(kind("a"), 9)], 9, at(LATER));
    for claimed in &claimed {
        let id = claimed.job.id.to_string();
        claimed.mark.set(words.contains(&id));
        claimed.mark.set(words.contains(&id) && !words.contains(&format!("-{id}")));
    }
    let mut said: String = suspects.iter().map(|job| format!("\nsuspect {}", job.id)).collect();
    said.extend(claimed.iter().map(|claimed| format!("\nclaimed {}", claimed.job.id)));
    let mut out = io::stdout().lock();
    writeln!(out, "{said}").and_then(|()| out.flush()).expect("the parent listens");
    std::process::abort();
}

/// Runs such a host to its end.
fn run(folder: &TempDir, words: &str) -> Life {
    let output = start("crash", folder.path(), words).wait_with_output().expect("it is ours to wait for");
    assert_crashed(output.status);
    let mut life = Life::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let parsed = |id: &str| id.parse().expect("an id");
        match line.split_once(' ') {
            Some(("suspect", id)) => life.suspects.push(parsed(id)),
            Some(("claimed", id)) => life.claimed.push(parsed(id)),
            _ => {}
        }
    }
    life
}

/// A host that is inside the guests of all these jobs when it dies, and had left those of the others.
fn crash(folder: &TempDir, inside: &[JobId], left: &[JobId]) -> Life {
    let words = inside.iter().map(|id| format!("{id} ")).chain(left.iter().map(|id| format!("-{id} ")));
    let life = run(folder, &words.collect::<String>());
    for id in inside {
        assert!(life.claimed.contains(id), "{id} was to be run but was not claimed: {life:?}");
    }
    life
}

/// A host that may claim only one of these suspects and is inside it when it dies. Which one it was is answered.
fn crash_alone(folder: &TempDir, suspects: &[JobId]) -> JobId {
    let life = run(folder, &suspects.iter().map(|id| format!("{id} ")).collect::<String>());
    assert_eq!(life.claimed.len(), 1, "suspects run one at a time");
    life.claimed[0]
}

fn assert_crashed(status: ExitStatus) {
    // A panic would end with a code; an abort ends with a signal.
    assert!(status.code().is_none(), "the process ended in another way: {status}");
}

/// A place with so many queued jobs, closed.
async fn with_jobs(count: usize) -> (TempDir, Vec<JobId>) {
    let place = Place::new().await;
    let mut added = Vec::new();
    for _ in 0..count {
        added.push(place.add(job("a")).await);
    }
    (place.into_folder(), added)
}

fn crashes(place: &Place, added: &[JobId]) -> Vec<u32> {
    added.iter().map(|id| place.job(*id).crashes).collect()
}
