//! A disk that does not fail, and does not write either: whoever tries waits. That goes for the threads that run jobs as well, as the marks of
//! who is inside a guest lie on it: none is stopped in time meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::ledger::Ledger;
use super::mounts::{Mount, can_mount, make_image};
use crate::support::{Host, eventually, guest};

/// Clients that submit while the disk is frozen.
const CLIENTS: usize = 8;

/// Fault: jobs are acknowledged that the disk does not have, or given up; what was stored cannot be read; nobody says what is wrong; or
/// the host does not go on when the disk does.
#[test]
fn a_frozen_disk_keeps_submits_waiting_and_nothing_else() {
    if !can_mount("freezing a disk") {
        return;
    }
    let setup = Host::prepare()
        .with_guest("good", guest::good())
        .with_guest("endless", guest::run("(loop $spin (br $spin))"))
        .set("disk_reserve_bytes", 24 << 20)
        .set("workers", 2);
    let image = setup.folder().join("disk.img");
    make_image(&image, 256 << 20);
    let disk = Mount::image(&image, &setup.data());
    let host = setup.start();
    let address = host.process().address().to_owned();
    let ledger = Ledger::default();
    let old = ledger.submit(&address, "good", b"before".to_vec()).expect("accepted");
    assert_eq!(host.output(&old), b"ok");
    let endless = host.submit_raw("endless?timeout=10m", "");
    host.wait_for(&endless, "running");

    let acknowledged = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let frozen = disk.freeze();
        let began = Instant::now();
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                ledger.submit_patiently(&address, "good").expect("it is answered in the end");
                acknowledged.fetch_add(1, Ordering::Relaxed);
            });
        }
        let cancelled = scope.spawn(|| host.cancel(&endless));
        let detail = eventually("readiness says so", || {
            let ready = host.get("/readyz");
            (ready.status == 503).then(|| ready.json()["detail"].as_str().expect("a reason").to_owned())
        });
        assert!(detail.contains("disk of the data folder"), "{detail}");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        // What is there is read as before.
        assert_eq!(host.get("/healthz").status, 200);
        assert_eq!(host.result(&old).text(), "ok");
        assert_eq!(host.job(&endless)["state"], "running", "its end is not on the disk");
        let list = host.get("/v1/jobs?kind=good").json();
        assert_eq!(list["jobs"].as_array().map(Vec::len), Some(1), "{list}");
        assert_eq!(acknowledged.load(Ordering::Relaxed), 0, "acknowledged and not on the disk");
        drop(frozen);
        assert_eq!(cancelled.join().expect("it is answered")["state"], "cancelled");
    });
    assert_eq!(acknowledged.load(Ordering::Relaxed), CLIENTS);
    let job = host.wait_until(&endless, "has let go of its thread", |job| job["usage"] != json!([]));
    assert_eq!(job["usage"][0]["bound"], "cancelled", "{job}");
    let balance = ledger.settle(&host);
    assert_eq!((balance.accepted, balance.succeeded), (CLIENTS + 1, CLIENTS + 1));
    eventually("it is ready again", || (host.get("/readyz").status == 200).then_some(()));
    host.still_works();
    drop((host, disk));
}
