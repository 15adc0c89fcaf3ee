//! Power cuts: the data folder lies on a disk image; right after an acknowledgement the host is frozen and the image copied as
//! it is then, which is what the device had. What the kernel still held is lost, or, in half of the cuts, torn: of the
//! bytes of the journal and the database that were not yet on the device, some sectors arrive and some do not.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ledger::Ledger;
use super::mounts::{Mount, can_mount, make_image};
use super::{Dice, EndOnDrop, setting};
use crate::support::{Host, guest};

const IMAGE_BYTES: u64 = 128 << 20;
const SECTOR: usize = 512;
const PAYLOADS: [usize; 3] = [300, 20_000, 200_000];

/// Fault: an answer left before the disk had the job, or what a cut leaves cannot be opened.
#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes() {
    if !can_mount("cutting the power") {
        return;
    }
    let mut dice = Dice::new("power cuts");
    let cuts = setting("CAMPAIGN_CUTS", 4);
    let mut kept = 0;
    for cut in 0..cuts {
        kept += cut_once(&mut dice, cut % 2 == 1, PAYLOADS[cut as usize % PAYLOADS.len()]);
    }
    eprintln!("{cuts} power cuts: {kept} acknowledged jobs, none lost");
}

/// Answers how many acknowledged jobs were found again.
fn cut_once(dice: &mut Dice, torn: bool, payload: usize) -> usize {
    let setup = Host::prepare().with_guest("good", guest::good()).set("disk_reserve_bytes", 8 << 20);
    let folder = setup.folder().to_owned();
    let (image, after) = (folder.join("disk.img"), folder.join("after.img"));
    make_image(&image, IMAGE_BYTES);
    let disk = Mount::image(&image, &setup.data());
    let mut host = setup.start();
    let (ledger, over) = (Ledger::default(), AtomicBool::new(false));
    let address = host.process().address().to_owned();
    std::thread::scope(|scope| {
        // The clients end also when this thread fails.
        let _end = EndOnDrop(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) && ledger.len() < 200 {
                    ledger.submit(&address, "good", vec![b'x'; payload]);
                }
            });
        }
        // Not waiting for anything but some load: the point is to come at any moment.
        std::thread::sleep(Duration::from_millis(100 + dice.below(300)));
        host.process().freeze();
        copy(&image, &after);
        over.store(true, Ordering::Relaxed);
        // Everything acknowledged by now was acknowledged before the copy. The clients hang until the host is killed.
        host.kill();
    });
    drop(disk);
    let disk = Mount::image(&after, &host.setup().data());
    if torn {
        // Unmounting has written the rest to the first image: the difference is what was under way.
        let rest = Mount::image(&image, &folder.join("rest"));
        for file in ["journal.0", "journal.1", "db/db"] {
            tear(&host.setup().data().join(file), &folder.join("rest").join(file), dice);
        }
        // The kernel may write it back whenever it likes, before anything else.
        std::fs::copy(folder.join("rest/commit"), host.setup().data().join("commit")).expect("writable");
        drop(rest);
    }
    host.start_again();
    let balance = ledger.settle(&host);
    assert_eq!((balance.accepted, balance.failed), (balance.succeeded, 0));
    assert!(host.terminate().success());
    let verdict = host.setup().verify();
    assert!(verdict.status.success(), "{verdict:?}");
    drop((host, disk));
    balance.accepted
}

/// Gives the file some of the sectors that the other has more, or has differently.
fn tear(path: &Path, newer: &Path, dice: &mut Dice) {
    let (old, new) = (std::fs::read(path).expect("readable"), std::fs::read(newer).expect("readable"));
    let file = std::fs::File::options().write(true).open(path).expect("writable");
    for (number, sector) in new.chunks(SECTOR).enumerate() {
        let at = number * SECTOR;
        let before = old.get(at..(at + sector.len()).min(old.len())).unwrap_or_default();
        if before != sector && dice.below(2) == 0 {
            file.write_all_at(sector, at as u64).expect("writable");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["--sparse=always"]).arg(from).arg(to).status().expect("cp is there");
    assert!(status.success(), "the image could not be copied");
}
