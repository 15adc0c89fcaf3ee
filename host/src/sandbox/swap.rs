//! Whether what guests leave in memory may be swapped out.
//!
//! Between two guests the engine asks the kernel which pages of a memory were written, and resets those. A page that is swapped out at that
//! moment is not among them (wasmtime pull request 14357), so the next guest of that memory would find there what the last one wrote. Nor is
//! one that the kernel moves to another place at that very moment, which happens in microseconds, seldom, and without any swap: of that this
//! module knows nothing.

use std::fs;

use super::groups;

/// Lists the swap areas of the machine, below a line of headings.
const AREAS: &str = "/proc/swaps";

/// Whether it may, now: there is swap, and neither this process's group nor one around it is denied all of it.
pub(super) fn is_possible() -> bool {
    let areas = fs::read_to_string(AREAS);
    areas.map_or(true, |areas| areas.lines().count() > 1) && !is_denied(groups::limits("memory.swap.max"))
}

fn is_denied(mut limits: impl Iterator<Item = String>) -> bool {
    limits.any(|most| most.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_denied_by_a_group_or_one_around_it() {
        let is_denied = |limits: &[&str]| is_denied(limits.iter().map(ToString::to_string));
        assert!(!is_denied(&[]), "nothing is said");
        assert!(!is_denied(&["max\n", "4096\n"]));
        assert!(is_denied(&["0\n"]) && is_denied(&["max\n", "0\n"]));
    }
}
