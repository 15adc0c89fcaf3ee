//! A clock that jumps: set back, set forward, set right again, while jobs run, wait for their time and are retried.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ledger::Ledger;
use super::{Dice, EndOnDrop, setting};
use crate::support::{Host, guest};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const TEN_YEARS_MS: i64 = 3650 * DAY_MS;

/// Succeeds at its third attempt.
const FLAKY: &str = r#"
    (if (i32.lt_u (local.get $attempt) (i32.const 3))
      (then (return (call $fail (i32.const 2) (text "not yet")))))
    (return (call $done (text "text/plain") (text "ok")))"#;

/// Fault: a wrong clock loses jobs, ends them twice, or leaves jobs waiting for ever once it is
/// right again.
#[test]
fn nothing_acknowledged_is_lost_when_the_clock_jumps() {
    let mut dice = Dice::new("clock");
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("flaky", guest::run(FLAKY));
    let clock = setup.folder().join("clock");
    // A job that ended while the clock was ten years behind is ten years old once it is right, and would soon be taken away for it.
    let setup = setup.set("keep", format!("{}h", 100 * 365 * 24)).set("retry_pause", "50ms");
    let mut host = setup.set("test_clock", clock.display()).start();
    let set = |ms: i64| {
        let new = clock.with_extension("new");
        std::fs::write(&new, ms.to_string()).expect("writable");
        // Never read half written.
        std::fs::rename(new, &clock).expect("a file can be renamed");
    };
    let (ledger, over) = (Ledger::default(), AtomicBool::new(false));
    let jumps = setting("CAMPAIGN_JUMPS", 6);
    for jump in 0..jumps {
        let address = host.process().address().to_owned();
        over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            // The clients end also when this thread fails.
            let _end = EndOnDrop(&over);
            for number in 0..3u64 {
                let (ledger, over, address) = (&ledger, &over, &address);
                let mut dice = Dice(dice.below(u64::MAX) | 1);
                scope.spawn(move || {
                    let mut known = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let kind = match dice.below(6) {
                            0 => "flaky",
                            _ => "good",
                        };
                        let delay = if dice.below(6) == 0 { "&delay=50ms" } else { "" };
                        known.extend(ledger.submit_with(address, kind, delay, number.to_string().into_bytes()));
                        if let Some(id) = known.get(dice.below(known.len().max(1) as u64) as usize) {
                            ledger.look(address, id);
                        }
                    }
                });
            }
            // Not waiting for anything: the clock may jump at any moment.
            std::thread::sleep(Duration::from_millis(20 + dice.below(200)));
            let by = [-TEN_YEARS_MS, -DAY_MS, -60_000, 60_000, DAY_MS, TEN_YEARS_MS][dice.below(6) as usize];
            set(by + dice.below(10_000) as i64);
            std::thread::sleep(Duration::from_millis(20 + dice.below(200)));
        });
        // Half of the time the process does not live to see the clock set right.
        if dice.below(2) == 0 {
            host.kill();
            set(0);
            host.start_again();
        } else {
            set(0);
        }
        if jump == 0 {
            let id = ledger.submit(host.process().address(), "good", b"after".to_vec()).expect("accepted");
            host.wait(&id);
        }
    }
    // Jobs that were put off while the clock was ahead are due in the year it then was; the clock comes there now, for them.
    set(TEN_YEARS_MS + DAY_MS);
    let balance = ledger.settle(&host);
    assert_eq!((balance.accepted, balance.pending), (balance.succeeded, 0), "{jumps} jumps");
    let log = host.process().stderr();
    assert!(log.contains("the wall clock jumped"), "{log}");
    assert!(host.terminate().success());
    let verdict = host.setup().verify();
    assert!(verdict.status.success(), "{verdict:?}");
}
