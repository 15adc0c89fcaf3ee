//! The ids of new jobs: UUIDv7, each greater than those before it, as `JobId::now_v7` makes them, without a system call for each.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, ClockSequence, ContextV7};

use crate::job::JobId;

/// Counts what is made within a millisecond: 42 bits, so that a new count can begin anywhere in the lower half.
static COUNTER: Mutex<AssertUnwindSafe<ContextV7>> = Mutex::new(AssertUnwindSafe(ContextV7::new()));
/// Random bytes fetched at a time. The kernel gives up to so many without a chance of an interruption.
const RANDOM_BYTES: usize = 256;
/// Bits of the count that stand behind the id's variant.
const LOWER_BITS: u32 = 30;

struct Random {
    bytes: [u8; RANDOM_BYTES],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { bytes: [0; RANDOM_BYTES], used: RANDOM_BYTES }) };
}

/// A new id.
pub(super) fn new_id() -> JobId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Later than now if the clock was put back, or if all was counted up within the millisecond.
    let (count, seconds, nanos) = COUNTER.generate_timestamp_sequence(now.as_secs(), now.subsec_nanos());
    let upper = (count >> LOWER_BITS) as u16;
    let lower = (count & ((1 << LOWER_BITS) - 1)) as u32;
    let mut rest = [0; 10];
    rest[..2].copy_from_slice(&upper.to_be_bytes());
    rest[2..6].copy_from_slice(&lower.to_be_bytes());
    rest[6..].copy_from_slice(&random());
    Builder::from_unix_timestamp_millis(seconds * 1_000 + u64::from(nanos / 1_000_000), &rest).into_uuid()
}

fn random() -> [u8; 4] {
    RANDOM.with_borrow_mut(|random| {
        if random.used == RANDOM_BYTES {
            getrandom::fill(&mut random.bytes).expect("the kernel has random bytes from the moment it has started on");
            random.used = 0;
        }
        let mut taken = [0; 4];
        taken.copy_from_slice(&random.bytes[random.used..random.used + 4]);
        random.used += 4;
        taken
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn ids_ascend_and_say_when_they_were_made() {
        let (before, first) = (JobId::now_v7(), new_id());
        let ids: Vec<JobId> = std::iter::repeat_with(new_id).take(10_000).collect();
        assert!(ids.is_sorted_by(|one, next| one < next) && first < ids[0]);
        let made = |id: &JobId| id.get_timestamp().map(|at| at.to_unix().0);
        assert_eq!((ids[0].get_version_num(), ids[0].get_variant()), (7, uuid::Variant::RFC4122));
        assert!(made(&ids[9_999]).zip(made(&before)).is_some_and(|(last, before)| last - before < 60));
        let ends: HashSet<u32> = ids.iter().map(|id| id.as_u128() as u32).collect();
        assert!(ends.len() > 9_900, "the last bits are random, and pauses before retries depend on them");
    }

    #[test]
    fn threads_never_make_the_same_one() {
        let make = || std::iter::repeat_with(new_id).take(10_000).collect::<Vec<_>>();
        let makers: Vec<_> = (0..4).map(|_| thread::spawn(make)).collect();
        let ids: HashSet<JobId> = makers.into_iter().flat_map(|maker| maker.join().expect("it ends")).collect();
        assert_eq!(ids.len(), 40_000);
    }
}
