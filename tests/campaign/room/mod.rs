//! Disks that are full, or cannot be written at all: what is refused, what goes on, and what recovers by itself. Who fills a
//! disk is told of in `filling`.

mod filling;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::ledger::Ledger;
use super::mounts::{Mount, can_mount};
use crate::support::answer::Answer;
use crate::support::receiver::Receiver;
use crate::support::{Host, eventually, guest};

const RESERVE_BYTES: u64 = 24 << 20;
/// With less, no outcome is written.
const OUTCOME_BYTES: u64 = 16 << 20;

/// Fault: a full disk loses what was accepted, wedges the host, or is not noticed when there is room again.
#[test]
fn a_full_disk_refuses_new_work_finishes_the_old_and_recovers_by_itself() {
    if !can_mount("filling a disk") {
        return;
    }
    let setup = Host::prepare()
        .with_guest("good", guest::good())
        .with_plugin("message")
        .set("disk_reserve_bytes", RESERVE_BYTES)
        .set("workers", 1);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let mut host = setup.start();
    let address = host.process().address().to_owned();
    let ledger = Ledger::default();
    // One job that is still running when the room is gone, and one behind it.
    for seconds in [3.0, 0.1] {
        let input = json!({"message": "before", "seconds": seconds}).to_string();
        ledger.submit(&address, "message", input.into_bytes()).expect("accepted");
    }
    let mut refused = None;
    for byte in 0..100 {
        if ledger.submit(&address, "good", vec![byte; 1 << 20]).is_none() {
            refused = Some(host.post("/v1/kinds/good/jobs", vec![byte; 1 << 20]));
            break;
        }
    }
    let refused = refused.expect("64 MiB do not hold 100");
    refused.refused(507, "disk_full");
    assert!(!refused.header("retry-after").is_empty());
    let balance = ledger.settle(&host);
    assert_eq!(balance.accepted, balance.succeeded);

    let jobs = host.get("/v1/jobs?kind=good&limit=1000").json();
    for job in jobs["jobs"].as_array().expect("a list") {
        let path = format!("/v1/jobs/{}", job["id"].as_str().expect("an id"));
        assert_eq!(Answer::of(host.request(reqwest::Method::DELETE, &path)).status, 204);
    }
    let id = eventually("there is room again", || ledger.submit(&address, "good", b"again".to_vec()));
    assert_eq!(host.output(&id), b"ok");
    assert!(host.terminate().success());
    drop((host, disk));
}

/// Fault: a host on a disk it cannot write to comes up as if all were well.
#[test]
fn a_read_only_disk_stops_the_host_with_a_clear_message_and_loses_nothing() {
    if !can_mount("remounting a disk") {
        return;
    }
    let setup = Host::prepare().with_guest("good", guest::good()).set("disk_reserve_bytes", 1 << 20);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let mut host = setup.start();
    let address = host.process().address().to_owned();
    let ledger = Ledger::default();
    for _ in 0..20 {
        ledger.submit(&address, "good", b"before".to_vec()).expect("accepted");
    }
    host.kill();
    disk.remount("ro");
    let exit = host.setup().start_in_vain();
    assert!(!exit.status.success() && exit.stdout.is_empty(), "{exit:?}");
    assert!(exit.stderr.contains("Read-only"), "{}", exit.stderr);
    disk.remount("rw");
    host.start_again();
    let balance = ledger.settle(&host);
    assert_eq!(balance.accepted, balance.succeeded);
    drop((host, disk));
}

/// Fault: a host that is started on a disk without any room says nothing, answers nobody, and cannot be stopped.
#[test]
fn on_a_disk_without_any_room_a_host_comes_up_says_why_it_runs_nothing_and_stops_when_asked() {
    if !can_mount("filling a disk before a host starts") {
        return;
    }
    let setup = Host::prepare()
        .with_guest("good", guest::good())
        .with_plugin("message")
        .set("disk_reserve_bytes", RESERVE_BYTES);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let mut host = setup.start();
    let old = host.submit_raw("good", "");
    host.wait_for(&old, "succeeded");
    let cut_off = host.submit("message", json!({"message": "again", "seconds": 5}));
    host.wait_until(&cut_off, "computes", |job| job["progress"]["fraction"].as_f64() > Some(0.0));
    host.kill();
    let ballast = host.setup().data().join("ballast");
    fill(&ballast);
    for end in ["told to stop", "killed", "goes on"] {
        host.try_come_up_again().unwrap_or_else(|exit| panic!("it comes up: {exit:?}"));
        assert_eq!((host.output(&old), host.get("/healthz").status), (b"ok".to_vec(), 200));
        let why = host.get("/readyz").refused(503, "not_ready");
        assert!(why["detail"].as_str().is_some_and(|why| why.contains("how the last host ended")), "{why}");
        host.post("/v1/kinds/good/jobs", "new").refused(507, "disk_full");
        assert_eq!(host.job(&cut_off)["state"], "queued");
        match end {
            "told to stop" => assert!(host.terminate().success()),
            "killed" => host.kill(),
            _ => {}
        }
    }
    std::fs::remove_file(&ballast).expect("it is there");
    host.wait_for(&cut_off, "succeeded");
    eventually("it is ready", || (host.get("/readyz").status == 200).then_some(()));
    // Whether the job is a suspect, too, is chance: between two slices of its computing it is not inside its guest.
    assert!(host.process().stderr().contains("it is noted how the last host ended"), "{}", host.process().stderr());
    drop((host, disk));
}

/// Fault: a first start on a full disk says that the data folder is damaged.
#[test]
fn a_first_start_on_a_full_disk_says_that_it_is_full() {
    if !can_mount("filling a disk that nobody has used") {
        return;
    }
    let setup = Host::prepare();
    let disk = Mount::memory(&setup.data(), 1 << 20);
    fill(&setup.data().join("ballast"));
    let exit = setup.start_in_vain();
    assert!(!exit.status.success() && exit.stdout.is_empty(), "{exit:?}");
    assert!(exit.stderr.contains("the disk is full, make room there") && !exit.stderr.contains("damaged"), "{exit:?}");
    drop(disk);
}

/// Writes a file that takes all the room there is.
fn fill(ballast: &Path) {
    let full = std::fs::File::create(ballast).and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
    assert_eq!(full.map_err(|error| error.kind()), Err(std::io::ErrorKind::StorageFull));
}

/// What is left of the disk that holds the data folder.
fn free(data: &Path) -> u64 {
    rustix::fs::statvfs(data).map(|disk| disk.f_bavail * disk.f_frsize).expect("the disk is there")
}

/// Fault: on a full disk a cancel waits behind outcomes that wait for room, and its guest goes on for as long; and what would make
/// room waits there as well.
#[test]
fn on_a_full_disk_jobs_can_still_be_cancelled_and_deleted() {
    if !can_mount("filling a disk under a host") {
        return;
    }
    let ends = r#"(call $block (call $subscribe_duration (i64.const 1000000000)))
        (call $progress (f64.const 1) (text "all done")) (return (call $done (text "text/plain") (text "ok")))"#;
    let setup = Host::prepare()
        .with_guest("good", guest::good())
        .with_guest("ending", guest::run(ends))
        .with_guest("endless", guest::run("(loop $spin (br $spin))"))
        .set("disk_reserve_bytes", RESERVE_BYTES)
        .set("workers", 2);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let host = setup.start();
    let old = host.submit_raw("good", "");
    host.wait_for(&old, "succeeded");
    let ending = host.submit_raw("ending", "");
    let endless = host.submit_raw("endless", "");
    for id in [&ending, &endless] {
        host.wait_for(id, "running");
    }
    // Somebody else's file, up to the mark at which no outcome is written.
    let ballast = host.setup().data().join("ballast");
    let size = free(&host.setup().data()) - (OUTCOME_BYTES - (2 << 20));
    std::fs::write(&ballast, vec![0; usize::try_from(size).expect("some MiB")]).expect("there is room for it");
    host.wait_until(&ending, "has done its work", |job| job["progress"]["fraction"] == 1.0);
    let started = Instant::now();
    assert_eq!(host.cancel(&endless)["state"], "cancelled");
    let path = format!("/v1/jobs/{old}");
    assert_eq!(Answer::of(host.request(reqwest::Method::DELETE, &path)).status, 204);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(host.job(&ending)["state"], "running");
    std::fs::remove_file(&ballast).expect("it is there");
    host.wait_for(&ending, "succeeded");
    let job = host.wait_until(&endless, "has let go of its thread", |job| job["usage"] != json!([]));
    let wall = job["usage"][0]["wall_ms"].as_u64().expect("a number");
    assert!(job["usage"][0]["bound"] == "cancelled" && wall < 20_000, "{job}");
    assert_eq!(host.get(&path).status, 404);
    drop((host, disk));
}

/// Fault: the clock waits for room to record that a job was not started in time, and never comes to retention, which would make room.
#[test]
fn a_full_disk_is_tidied_although_a_job_waits_to_expire() {
    if !can_mount("filling a disk under a host") {
        return;
    }
    let setup = Host::prepare()
        .with_guest("good", guest::echo())
        .with_guest("endless", guest::run("(loop $spin (br $spin))"))
        .set("disk_reserve_bytes", RESERVE_BYTES)
        .set("keep", "6s")
        .set("workers", 1);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let host = setup.start();
    let data = host.setup().data();
    let old: Vec<String> = (0..3).map(|byte| host.submit_raw("good", vec![byte; 1 << 20])).collect();
    for id in &old {
        host.wait_for(id, "succeeded");
    }
    let endless = host.submit_raw("endless", "");
    host.wait_for(&endless, "running");
    let late = host.submit_raw("good?expires_in=2s", "");
    // Somebody else's file, so large that what retention frees does not suffice for outcomes.
    let ballast = data.join("ballast");
    let size = free(&data) - (OUTCOME_BYTES - (6 << 20));
    std::fs::write(&ballast, vec![0; usize::try_from(size).expect("some MiB")]).expect("there is room for it");
    let before = free(&data);
    for id in &old {
        eventually("retention takes the result", || (host.result(id).status == 410).then_some(()));
    }
    assert!(free(&data) > before + (2 << 20), "{} bytes were free and now {}", before, free(&data));
    assert_eq!(host.job(&late)["state"], "queued", "there is no room for its end yet");
    std::fs::remove_file(&ballast).expect("it is there");
    host.wait_for(&late, "failed");
    assert_eq!(host.failure(&late)["code"], "expired");
    drop((host, disk));
}

/// Fault: on a full disk whoever delivers webhooks asks again and again, without a pause, for what nobody hands out; and nobody says
/// what a job waits for.
#[test]
fn on_a_full_disk_webhooks_wait_without_a_whirl_and_explain_names_what_jobs_wait_for() {
    if !can_mount("filling a disk under a host") {
        return;
    }
    let receiver = Receiver::refusing("500 No");
    let setup = Host::prepare().with_guest("good", guest::good()).set("disk_reserve_bytes", RESERVE_BYTES);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let host = setup.telling(&[&receiver]).start();
    host.submit_job(json!({"kind": "good", "webhook": receiver.url("/")}));
    receiver.wait_for(3);
    let waiting = host.submit_job(json!({"kind": "good", "delay": "1s"}));
    let ballast = host.setup().data().join("ballast");
    let size = free(&host.setup().data()) - (OUTCOME_BYTES - (2 << 20));
    std::fs::write(&ballast, vec![0; usize::try_from(size).expect("some MiB")]).expect("there is room for it");
    let explain = || host.get(&format!("/v1/jobs/{waiting}/explain")).json();
    eventually("its time has come", || (explain()["rule"] == "disk_full").then_some(()));
    let told = receiver.told().len();
    let (before, began) = (host.process().cpu_time(), Instant::now());
    // Nothing to wait for but time: this is about what happens while nothing does.
    std::thread::sleep(Duration::from_secs(2));
    let used = host.process().cpu_time() - before;
    assert!(used < began.elapsed() / 4, "{used:?} of {:?}", began.elapsed());
    assert!(receiver.told().len() <= told + 1, "what could not be recorded is not begun");
    std::fs::remove_file(&ballast).expect("it is there");
    host.wait_for(&waiting, "succeeded");
    receiver.wait_for(told + 3);
    drop((host, disk));
}
