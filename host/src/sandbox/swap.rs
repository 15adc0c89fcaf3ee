//! Whether what guests leave in memory may be swapped out.
//!
//! Between two guests the engine asks the kernel which pages of a memory were written, and resets those. A page that is swapped out at that
//! moment is not among them (wasmtime pull request 14357), so the next guest of that memory would find there what the last one wrote. Nor is
//! one that the kernel moves to another place at that very moment, which happens in microseconds, seldom, and without any swap: of that this
//! module knows nothing. A page that the engine gives back to the kernel instead is new for the next guest in any case; with `gaps` it does so less often.

use std::fs;
use std::path::{Path, PathBuf};

/// Lists the swap areas of the machine, below a line of headings.
const AREAS: &str = "/proc/swaps";
/// Names the group of processes that this one is in, on the line that begins so.
const GROUP: (&str, &str) = ("/proc/self/cgroup", "0::/");
const GROUPS: &str = "/sys/fs/cgroup";

/// Whether it may, now: there is swap, and neither this process's group nor one around it is denied all of it.
pub(super) fn is_possible() -> bool {
    let areas = fs::read_to_string(AREAS);
    areas.map_or(true, |areas| areas.lines().count() > 1) && !is_denied(Path::new(GROUPS), &group().unwrap_or_default())
}

/// The path of this process's group below all groups.
fn group() -> Option<PathBuf> {
    let groups = fs::read_to_string(GROUP.0).ok()?;
    groups.lines().find_map(|line| line.strip_prefix(GROUP.1)).map(PathBuf::from)
}

fn is_denied(groups: &Path, group: &Path) -> bool {
    let swap_max = |group: &Path| fs::read_to_string(groups.join(group).join("memory.swap.max"));
    // Seen from a container, the path of a group outside of it leads up and out.
    !group.starts_with("..") && group.ancestors().any(|group| swap_max(group).is_ok_and(|most| most.trim() == "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_denied_by_a_group_or_one_around_it() {
        let groups = tempfile::tempdir().expect("a temporary folder");
        let inner = groups.path().join("system/host");
        fs::create_dir_all(&inner).expect("a new folder");
        let is_denied = |group| is_denied(groups.path(), Path::new(group));
        assert!(!is_denied("system/host") && !is_denied(""), "nothing is said");
        fs::write(inner.join("memory.swap.max"), "max\n").expect("writable");
        assert!(!is_denied("system/host"));
        fs::write(inner.join("memory.swap.max"), "0\n").expect("writable");
        assert!(is_denied("system/host") && !is_denied("system"));
        fs::write(groups.path().join("system/memory.swap.max"), "0\n").expect("writable");
        assert!(is_denied("system/other") && !is_denied("other"));
        fs::write(groups.path().join("memory.swap.max"), "0\n").expect("writable");
        assert!(is_denied("other") && !is_denied("../other"));
    }
}
