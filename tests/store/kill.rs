//! The host is killed in the middle of its work: whatever it had acknowledged is there afterwards.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use dropforge::job::{Ended, JobId, Standing, State};
use dropforge::store::{Admission, Attempt, Checkpoint, NewJob, Store};
use futures_util::future::{join, join_all};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::checkpoints::found;
use crate::child::start;
use crate::parts::{NOW, attempt, bytes_of, given, job, kind, no_limit, noise, payload, permanent, transient};
use crate::place::{CRASHES_MAX, Place, SETTINGS};
use crate::webhooks::promise;

const ROUNDS: u32 = 10;
/// A process that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const KINDS: [&str; 4] = ["a", "b", "c", "d"];
/// What a host says of a job whose checkpoint is kept.
const SAVED: &str = "saved";

/// The input of a job, so that whoever knows the id can check it. Every fourth lies in a file of its own.
fn input_of(id: JobId) -> Vec<u8> {
    let seed = id.as_u64_pair().1;
    noise(seed, if seed.is_multiple_of(4) { 70_000 } else { (seed % 9_000) as usize })
}

fn output_of(id: JobId) -> Vec<u8> {
    input_of(id).into_iter().rev().collect()
}

/// The part of the child: a host that submits jobs and ends them in every way, several at a time, for ever. It says
/// `ID STATE` once that was acknowledged.
pub(crate) async fn host_that_works(place: &Path, _: &str) {
    let store = crate::open(place, &SETTINGS).expect("the place opens");
    store.recover(CRASHES_MAX, NOW).await.expect("the disk works");
    join_all(KINDS.map(|name| work(&store, name))).await;
}

async fn work(store: &Store, name: &str) {
    loop {
        for round in 0..8 {
            let new = job(name);
            let id = new.job.id;
            let webhook = Some(promise(KINDS[round % KINDS.len()], usize::MAX));
            let new = NewJob { input: payload(store, &input_of(id)), webhook, ..new };
            if round < 6 {
                // A small one is claimed, and may end, while its submit is on its way to the disk.
                let workers = Arc::new(Notify::new());
                let admission = Admission { workers: Some(Arc::clone(&workers)), ..no_limit() };
                let newest = Cell::new(None);
                let submit = async {
                    let state = store.submit(new, admission).await.expect("accepted").state;
                    if newest.get() != Some(id) {
                        say(id, state);
                    }
                };
                let run = async {
                    workers.notified().await;
                    newest.set(run(store, name, round).await);
                };
                join(submit, run).await;
                continue;
            }
            say(id, store.submit(new, no_limit()).await.expect("accepted").state);
            // Every eighth stays queued; it is there when the next host comes.
            if round == 6 {
                say(id, store.cancel(id, None, NOW).await.expect("unfinished").state);
            }
        }
    }
}

/// Carries a job to an end, and says whose.
async fn run(store: &Store, name: &str, round: usize) -> Option<JobId> {
    let claimed = store.claim(&[(kind(name), 1)], 1, NOW).pop()?;
    let id = claimed.job.id;
    let content = payload(store, &checkpoint_of(id)).content;
    let checkpoint = Checkpoint { content, plugin_sha256: id.to_string() };
    store.save_checkpoint(id, claimed.token, checkpoint).await.expect("the claim holds");
    say_saved(id);
    let ended = match round {
        0 => permanent(),
        1 => transient(),
        2 => Ended::Interrupted,
        _ => Ended::Succeeded,
    };
    let success = Attempt { output: Some(payload(store, &output_of(id))), ..attempt(ended) };
    say(id, store.finish(id, claimed.token, success).await.expect("the claim holds").state);
    Some(id)
}

/// Every third large enough for a file of its own.
fn checkpoint_of(id: JobId) -> Vec<u8> {
    let seed = id.as_u64_pair().1;
    noise(!seed, if seed.is_multiple_of(3) { 80_000 } else { (seed % 7_000) as usize })
}

fn say_saved(id: JobId) {
    let mut out = io::stdout().lock();
    writeln!(out, "{id} {SAVED}").and_then(|()| out.flush()).expect("the parent listens");
}

fn say(id: JobId, state: State) {
    let mut out = io::stdout().lock();
    writeln!(out, "{id} {}", state.as_str()).and_then(|()| out.flush()).expect("the parent listens");
}

/// What hosts have acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    /// The newest state of each job.
    states: HashMap<JobId, State>,
    /// Jobs that have a checkpoint, or had one before they ended.
    saved: HashSet<JobId>,
}

/// A host that works until it is killed, so long after its first acknowledgement.
fn work_and_be_killed(folder: &TempDir, after: Duration, acknowledged: &mut Acknowledged) {
    let mut host = start("work", folder.path(), "");
    let lines = lines_of(&mut host);
    let deadline = Instant::now() + PATIENCE;
    let mut end = None;
    // Until its time is over, which begins with the first it acknowledges.
    while end.is_none_or(|end| Instant::now() < end) {
        match lines.recv_timeout(end.unwrap_or(deadline).saturating_duration_since(Instant::now())) {
            Ok(line) if take(&line, acknowledged) => drop(end.get_or_insert_with(|| Instant::now() + after)),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) if end.is_some() => {}
            Err(why) => panic!("the host does not work: {why}"),
        }
    }
    host.kill().expect("it was still running");
    host.wait().expect("it is ours to wait for");
    // What it had said before it died counts.
    for line in &lines {
        take(&line, acknowledged);
    }
}

/// Notes what a line acknowledges, if it does: others are the test harness's, or were cut when the host died.
fn take(line: &str, acknowledged: &mut Acknowledged) -> bool {
    let mut parse = || {
        let (id, state) = line.split_once(' ')?;
        let id: JobId = id.parse().ok()?;
        match state {
            SAVED => drop(acknowledged.saved.insert(id)),
            state => drop(acknowledged.states.insert(id, State::parse(state)?)),
        }
        Some(())
    };
    parse().is_some()
}

fn lines_of(host: &mut Child) -> mpsc::Receiver<String> {
    let out = BufReader::new(host.stdout.take().expect("its output is piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in out.split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Whether a job acknowledged in `then` may be found in `now`: the host may have gone on without being heard.
fn may_be(then: State, now: State) -> bool {
    then == now || !then.is_terminal()
}

async fn check(place: &Place, acknowledged: &Acknowledged) {
    let jobs = place.all();
    let listed: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
    assert_eq!(listed.len(), jobs.len());
    for (id, then) in &acknowledged.states {
        assert!(listed.contains(id), "{id} was acknowledged and is lost");
        let now = place.job(*id).state;
        assert!(may_be(*then, now), "{id} was acknowledged as {then:?} and is {now:?}");
    }
    for job in &jobs {
        let webhook = place.webhook(job.id).expect("the disk works").expect("it was promised with the job");
        let due = matches!(webhook.standing, Standing::Due { .. });
        assert_eq!(due, job.state.is_terminal(), "{} is {:?}: {webhook:?}", job.id, job.state);
    }
    let owed = jobs.iter().filter(|job| job.state.is_terminal()).count();
    assert_eq!((place.webhook_counts().due, place.webhook_counts().waiting), (owed, jobs.len() - owed));
    for job in jobs.iter().filter(|job| job.state == State::Succeeded) {
        assert!(place.output_bytes(job.id) == output_of(job.id), "the result of {} is another", job.id);
        assert_eq!(place.usage(job.id).map(|reports| reports.is_empty()).ok(), Some(false));
    }
    place.check_counts(&KINDS);
}

/// What was going on when the last host died can be claimed and has its input, byte by byte.
async fn drain(place: &Place, acknowledged: &Acknowledged) {
    let free = KINDS.map(|name| (name, usize::MAX));
    let unfinished: u64 = KINDS.iter().map(|name| place.counts(&kind(name)).unfinished()).sum();
    let claimed = place.claim_all(&free, crate::parts::at(9_999));
    assert_eq!(claimed.len() as u64, unfinished);
    for claimed in &claimed {
        assert!(bytes_of(&given(claimed).0.content) == input_of(claimed.job.id), "the input of {}", claimed.job.id);
        match found(claimed) {
            Some(checkpoint) => assert!(checkpoint == checkpoint_of(claimed.job.id), "of {}", claimed.job.id),
            None => assert!(!acknowledged.saved.contains(&claimed.job.id), "the checkpoint of {}", claimed.job.id),
        }
        assert!(claimed.job.attempts <= 3);
    }
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_the_killing_of_the_host() {
    let mut folder = Place::new().await.into_folder();
    let mut acknowledged = Acknowledged::default();
    for round in 0..ROUNDS {
        // Different in every run; what matters is that it is in the middle of something.
        let after = Duration::from_millis(20 + JobId::now_v7().as_u64_pair().1 % 280);
        let before = acknowledged.states.len();
        work_and_be_killed(&folder, after, &mut acknowledged);
        assert!(acknowledged.states.len() > before, "round {round}: no job in {after:?}");
        let place = Place::open(folder).await;
        check(&place, &acknowledged).await;
        assert!(place.suspects.is_empty(), "no guest was running");
        folder = place.into_folder();
    }
    let place = Place::open(folder).await;
    drain(&place, &acknowledged).await;
    check(&place.reopened().await, &acknowledged).await;
}
