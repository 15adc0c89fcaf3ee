//! How much memory a free slot holds on to, so that the next job does not have to fault it in again.
//!
//! To write zeros over a page takes a tenth of the time that it takes the kernel to take it away and to hand out another one. But every slot that
//! was ever in use may keep so much for good, however little its next guest needs, and there are two for each job that may wait. So
//! it is a share of what the host has.

use std::fs;

use super::groups;

/// What a document or a large interpreter writes to: a PDF takes 5 % less time than with [`BYTES_MIN`].
const BYTES_MAX: u64 = 32 << 20;
/// What a small interpreter writes to.
const BYTES_MIN: u64 = 4 << 20;
/// The part of all memory that those free slots may hold together which wait for guests of their own.
const SHARE: u64 = 16;

/// Of one slot, if so many are kept for their own guests.
pub(super) fn bytes_per_slot(slots: u32) -> usize {
    let limits = groups::limits("memory.max").filter_map(|most| most.trim().parse().ok());
    let all = limits.chain(machine()).min().unwrap_or(0);
    share(all, slots)
}

fn share(all: u64, slots: u32) -> usize {
    let bytes = (all / SHARE / u64::from(slots.max(1))).clamp(BYTES_MIN, BYTES_MAX);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// All memory of the machine.
fn machine() -> Option<u64> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix(" kB"))?;
    total.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_a_share_of_what_there_is() {
        const GIB: u64 = 1 << 30;
        assert!(machine().is_some_and(|all| all > GIB / 4), "this machine has some: {:?}", machine());
        assert_eq!([0, GIB / 2, 2 * GIB, 8 * GIB, 512 * GIB].map(|all| share(all, 16) >> 20), [4, 4, 8, 32, 32]);
        assert_eq!(share(u64::MAX, 0), 32 << 20);
    }
}
