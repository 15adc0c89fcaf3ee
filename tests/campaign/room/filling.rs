//! Whoever fills the disk, by uploads or from guests, is stopped while there is still room for others.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{OUTCOME_BYTES, RESERVE_BYTES, free};
use crate::EndOnDrop;
use crate::mounts::{Mount, can_mount};
use crate::support::{Host, eventually, guest, program};

/// Fault: uploads under way fill the disk to the last byte, and the outcome of a job that is just ending cannot be recorded.
#[test]
fn uploads_stop_before_they_take_the_room_that_outcomes_need() {
    if !can_mount("filling a disk") {
        return;
    }
    let setup = Host::prepare().with_guest("good", guest::good()).set("disk_reserve_bytes", RESERVE_BYTES);
    let disk = Mount::memory(&setup.data(), 64 << 20);
    let mut host = setup.start();
    let lowest = lowest_while(&host.setup().data(), || {
        std::thread::scope(|scope| {
            let uploads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| host.post("/v1/kinds/good/jobs", vec![7; 60 << 20]))).collect();
            for upload in uploads {
                upload.join().expect("it is answered").refused(507, "disk_full");
            }
        });
    });
    assert!(lowest > RESERVE_BYTES - (2 << 20), "only {lowest} bytes were left");
    host.still_works();
    assert!(host.terminate().success());
    drop((host, disk));
}

/// The least room there is while something is done.
fn lowest_while(data: &Path, act: impl FnOnce()) -> u64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The watch ends also when this thread fails.
        let _end = EndOnDrop(&over);
        let watch = scope.spawn(|| {
            let mut lowest = u64::MAX;
            while !over.load(Ordering::Relaxed) {
                lowest = lowest.min(free(data));
            }
            lowest
        });
        act();
        over.store(true, Ordering::Relaxed);
        watch.join().expect("it only looks")
    })
}

/// Fault: programs fill the disk with their folder `/out`, or jobs with artifacts, up to the mark at which the one writer of the
/// store waits for room with all that others want to have recorded.
#[test]
fn whoever_fills_the_disk_is_stopped_before_others_have_to_wait() {
    if !can_mount("filling a disk from guests") {
        return;
    }
    let open = "(local.set $fd (call $open (i32.const 4) (text \"x\") (i32.const 1)))";
    let forever =
        "(loop $more (drop (call $try_write (local.get $fd) (i32.const 65536) (i32.const 60000))) (br $more))";
    let grown = format!("{open} {forever}");
    // Long first, and filled then: nothing grows any more.
    let hole = format!(
        "{open} (drop (call $set_size (local.get $fd) (i64.const 60000000)))
         (loop $more
           (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 60000))
           (drop (call $fd_pwrite (local.get $fd) (i32.const 0) (i32.const 1)
             (i64.extend_i32_u (i32.mul (local.get $i) (i32.const 60000))) (i32.const 8)))
           (local.set $i (i32.rem_u (i32.add (local.get $i) (i32.const 1)) (i32.const 1000))) (br $more))"
    );
    let artifacts = r#"(call $open_artifact (text "a") (text "text/plain") (i32.const 832))
        (loop $more
          (call $write (i32.load (i32.const 836)) (i32.const 0) (i32.const 65536) (i32.const 848)) (br $more))"#;
    // Where each is stopped: programs as soon as new jobs are refused, what is given back at half of the way to the writer's mark.
    let scratch = "scratch = true\nscratch_bytes = 1000000000";
    for (filler, settings, mark) in [
        (program::module(&grown), scratch, RESERVE_BYTES),
        (program::module(&hole), scratch, RESERVE_BYTES),
        (guest::run(artifacts), "output_bytes = 1000000000", (RESERVE_BYTES + OUTCOME_BYTES) / 2),
    ] {
        let setup = Host::prepare()
            .with_guest("good", guest::good())
            .with_plugin("message")
            .with_guest("filler", filler)
            .with_file("filler.toml", settings)
            .set("disk_reserve_bytes", RESERVE_BYTES)
            .set("workers", 4);
        let disk = Mount::memory(&setup.data(), 64 << 20);
        let host = setup.start();
        let data = host.setup().data();
        let lowest = lowest_while(&data, || {
            let beside = host.submit_raw("message", r#"{"message": "beside", "seconds": 0.2}"#);
            let fillers: Vec<String> =
                (0..3).map(|_| host.submit_job(json!({"kind": "filler", "input": null, "max_attempts": 1}))).collect();
            host.wait_for(&beside, "succeeded");
            for filler in fillers {
                let failure = host.failure(&filler);
                assert_eq!((&failure["code"], &failure["fault"]), (&json!("internal"), &json!("host")), "{failure}");
                assert!(failure["message"].as_str().is_some_and(|text| text.contains("no room")), "{failure}");
                let good = host.post("/v1/kinds/good/jobs?timeout=5s", "");
                assert!(good.status == 202 || good.status == 507, "{}", good.text());
            }
        });
        // What the store itself writes meanwhile, and what three threads have announced but not written yet.
        assert!(lowest > mark - (2 << 20), "{lowest} bytes were left, and {mark} should be");
        let id = eventually("there is room again", || {
            let answer = host.post("/v1/kinds/good/jobs", "again");
            (answer.status == 202).then(|| answer.json()["id"].as_str().expect("an id").to_owned())
        });
        assert_eq!(host.output(&id), b"ok");
        drop((host, disk));
    }
}
