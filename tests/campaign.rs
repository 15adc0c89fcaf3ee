//! The fault campaign: a host under load is killed, starved of room, cut from power, frozen and told wrong times, and then every
//! acknowledged job is accounted for.
//!
//! ```sh
//! # short
//! cargo test --test campaign
//! # long
//! CAMPAIGN_MOUNTS=1 CAMPAIGN_KILLS=200 CAMPAIGN_CUTS=60 CAMPAIGN_JUMPS=60 CAMPAIGN_FLIPS=300 cargo test --test campaign -- --nocapture --test-threads=1
//! ```
//!
//! Each part prints its seed and its balance, which is the line `accepted = succeeded + failed + cancelled + pending`. Power cuts, full and frozen disks mount disks of their own, which needs root and is done
//! only where `CAMPAIGN_MOUNTS` allows it; otherwise they say that they were skipped.

mod support;

#[path = "campaign/clock.rs"]
mod clock;
#[path = "campaign/cuts.rs"]
mod cuts;
#[path = "campaign/damage.rs"]
mod damage;
#[path = "campaign/frozen.rs"]
mod frozen;
#[path = "campaign/kills.rs"]
mod kills;
#[path = "campaign/ledger.rs"]
mod ledger;
#[path = "campaign/mounts.rs"]
mod mounts;
#[path = "campaign/room/mod.rs"]
mod room;

use std::sync::atomic::{AtomicBool, Ordering};

/// A number from the environment, for the long form.
fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A small generator of numbers (xorshift), so that a round can be told again from its seed.
struct Dice(u64);

impl Dice {
    /// Seeded by `CAMPAIGN_SEED`, or by the clock; prints which.
    fn new(part: &str) -> Self {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = match std::env::var("CAMPAIGN_SEED") {
            Ok(text) => text.parse().expect("CAMPAIGN_SEED is a number"),
            Err(_) => clock.map_or(1, |since| since.subsec_nanos().into()),
        };
        eprintln!("{part}: CAMPAIGN_SEED={seed}");
        Self(seed | 1)
    }

    /// From 0 to below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Tells the other threads of a test that it is over, also when it has failed.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
