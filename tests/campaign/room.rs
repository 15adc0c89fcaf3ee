//! Disks that run full, or cannot be written at all.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::EndOnDrop;
use super::ledger::Ledger;
use super::mounts::{Mount, can_mount};
use crate::support::answer::Answer;
use crate::support::{Host, eventually, guest, program};

const RESERVE_BYTES: u64 = 24 << 20;

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

/// Fault: uploads under way fill the disk to the last byte, and the outcome of a job that is just ending cannot be recorded.
#[test]
fn uploads_stop_before_they_take_the_room_that_outcomes_need() {
    if !can_mount("filling a disk") {
        return;
    }
    let setup = Host::prepare().with_guest("good", guest::good()).set("disk_reserve_bytes", RESERVE_BYTES);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let mut host = setup.start();
    let (over, data) = (AtomicBool::new(false), host.setup().data());
    let lowest = std::thread::scope(|scope| {
        // The watch ends also when this thread fails.
        let _end = EndOnDrop(&over);
        let watch = scope.spawn(|| {
            let mut lowest = u64::MAX;
            while !over.load(Ordering::Relaxed) {
                let disk = rustix::fs::statvfs(&data).expect("the disk is there");
                lowest = lowest.min(disk.f_bavail * disk.f_frsize);
            }
            lowest
        });
        let uploads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| host.post("/v1/kinds/good/jobs", vec![7; 60 << 20]))).collect();
        for upload in uploads {
            upload.join().expect("it is answered").refused(507, "disk_full");
        }
        over.store(true, Ordering::Relaxed);
        watch.join().expect("it only looks")
    });
    assert!(lowest > RESERVE_BYTES / 2, "only {lowest} bytes were left");
    host.still_works();
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

/// Fault: a program fills the disk with its folder `/out`, and the outcomes of others cannot be recorded.
#[test]
fn a_program_that_fills_its_folder_leaves_the_room_that_outcomes_need() {
    if !can_mount("filling a disk from a program") {
        return;
    }
    let body = "(local.set $fd (call $open (i32.const 4) (text \"x\") (i32.const 1)))
        (loop $more (br_if $more (i32.eqz (call $try_write (local.get $fd) (i32.const 65536) (i32.const 60000)))))
        (loop $forever (br $forever))";
    let setup = Host::prepare()
        .with_guest("good", guest::good())
        .with_guest("filler", program::module(body))
        .with_file("filler.toml", "scratch = true\ntimeout = \"3s\"")
        .set("disk_reserve_bytes", RESERVE_BYTES)
        .set("workers", 2);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let host = setup.start();
    let filler = host.submit_job(json!({"kind": "filler", "input": null, "max_attempts": 1}));
    let free =
        || rustix::fs::statvfs(host.setup().data()).map(|disk| disk.f_bavail * disk.f_frsize).expect("it is there");
    // As far as it gets: into the room for outcomes, but not into the last of it.
    eventually("it has been refused", || (free() < RESERVE_BYTES).then_some(()));
    host.post("/v1/kinds/good/jobs", "more").refused(507, "disk_full");
    assert!(free() > 12 << 20, "{} bytes are left", free());
    let failure = host.failure(&filler);
    assert!(failure["code"] == "internal" || failure["code"] == "deadline_exceeded", "{failure}");
    assert!(free() > RESERVE_BYTES, "its folder is gone");
    let id = eventually("there is room again", || {
        let answer = host.post("/v1/kinds/good/jobs", "again");
        (answer.status == 202).then(|| answer.json()["id"].as_str().expect("an id").to_owned())
    });
    assert_eq!(host.output(&id), b"ok");
    drop((host, disk));
}
