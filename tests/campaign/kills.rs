//! Killed at random moments, again and again, under load.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::ledger::Ledger;
use super::{Dice, EndOnDrop, setting};
use crate::support::{Host, PATIENCE, guest};

const CLIENTS: u64 = 6;

/// Fault: something acknowledged is forgotten, or told twice in different ways, when the process dies.
#[test]
fn nothing_acknowledged_is_lost_however_often_the_host_is_killed() {
    let mut dice = Dice::new("kills");
    let mut host = Host::prepare()
        .with_guest("good", guest::good())
        .with_plugin("message")
        // However unlucky a job is, it is not given up.
        .set("crashes_max", 1_000)
        .start();
    let (ledger, address, over) = (Ledger::default(), Mutex::new(String::new()), AtomicBool::new(false));
    let told =
        |host: &Host| host.process().address().clone_into(&mut address.lock().expect("no client panics with it"));
    told(&host);
    std::thread::scope(|scope| {
        // The clients end also when this thread fails.
        let _end = EndOnDrop(&over);
        for number in 0..CLIENTS {
            let (ledger, address, over) = (&ledger, &address, &over);
            let dice = Dice(dice.below(u64::MAX) | 1);
            scope.spawn(move || work(number, dice, ledger, address, over));
        }
        for _ in 0..setting("CAMPAIGN_KILLS", 5) {
            // Not waiting for anything: the point is to come at any moment.
            std::thread::sleep(Duration::from_millis(20 + dice.below(400)));
            host.kill_and_restart();
            told(&host);
        }
    });
    assert!(ledger.len() > 20, "there was hardly any load: {} jobs", ledger.len());
    let balance = ledger.settle(&host);
    assert_eq!(balance.pending, 0, "within {PATIENCE:?}");
    assert!(host.terminate().success());
    let verdict = host.setup().verify();
    assert!(verdict.status.success(), "{verdict:?}");
}

/// One client: submits, looks, cancels, and does not mind that the host comes and goes.
fn work(number: u64, mut dice: Dice, ledger: &Ledger, address: &Mutex<String>, over: &AtomicBool) {
    let mut known = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let now = address.lock().expect("no client panics with it").clone();
        let submitted = match dice.below(20) {
            // Few and short enough that the workers keep up: what is tested is not a backlog.
            0 => ledger.submit(&now, "message", json!({"message": "slow", "seconds": 0.05}).to_string().into_bytes()),
            1 => ledger.submit(&now, "good", vec![b'x'; 20_000]),
            2 => ledger.submit(&now, "good", vec![number as u8; 200_000]),
            _ => ledger.submit(&now, "good", dice.below(u64::MAX).to_string().into_bytes()),
        };
        match submitted {
            Some(id) => known.push(id),
            // The host is gone for a moment.
            None => std::thread::sleep(Duration::from_millis(20)),
        }
        if let Some(id) = known.get(dice.below(known.len().max(1) as u64) as usize) {
            match dice.below(8) {
                0 => ledger.cancel(&now, id),
                _ => ledger.look(&now, id),
            }
        }
    }
}
