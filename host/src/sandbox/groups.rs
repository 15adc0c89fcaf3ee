//! What the groups of processes that this one is in may use, as Linux keeps account of them.

use std::fs;
use std::path::{Path, PathBuf};

/// Names the group that this process is in, on the line that begins so.
const GROUP: (&str, &str) = ("/proc/self/cgroup", "0::/");
const GROUPS: &str = "/sys/fs/cgroup";

/// What a file of this name says, in this process's group and in each around it that has one.
pub(super) fn limits(file: &str) -> impl Iterator<Item = String> {
    let group = group().unwrap_or_default();
    limits_of(Path::new(GROUPS), &group, file).collect::<Vec<_>>().into_iter()
}

/// The path of this process's group below all groups.
fn group() -> Option<PathBuf> {
    let groups = fs::read_to_string(GROUP.0).ok()?;
    groups.lines().find_map(|line| line.strip_prefix(GROUP.1)).map(PathBuf::from)
}

fn limits_of(groups: &Path, group: &Path, file: &str) -> impl Iterator<Item = String> {
    // Seen from a container, the path of a group outside of it leads up and out.
    let within = (!group.starts_with("..")).then(|| group.ancestors());
    within.into_iter().flatten().filter_map(move |group| fs::read_to_string(groups.join(group).join(file)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_and_those_around_it_say_what_they_may() {
        let groups = tempfile::tempdir().expect("a temporary folder");
        let inner = groups.path().join("system/host");
        fs::create_dir_all(&inner).expect("a new folder");
        let limits = |group| limits_of(groups.path(), Path::new(group), "memory.max").collect::<Vec<_>>();
        assert!(limits("system/host").is_empty() && limits("").is_empty(), "nothing is said");
        fs::write(inner.join("memory.max"), "max\n").expect("writable");
        fs::write(groups.path().join("memory.max"), "7\n").expect("writable");
        assert_eq!(limits("system/host"), ["max\n", "7\n"]);
        assert_eq!(limits("system"), ["7\n"]);
        assert_eq!(limits(""), ["7\n"]);
        assert!(limits("../other").is_empty(), "nothing of it can be seen");
    }
}
