//! What may be made in `/out`: names that artifacts can have, no links, and trees that can be removed again.

use serde_json::Value;

use super::{OUT, file, host, hosts, nothing_is_left, setup};
use crate::support::program;

#[test]
fn names_are_checked_like_those_of_artifacts() {
    let folder = |name: &str| format!("(if (call $create_folder {OUT} (text \"{name}\")) (then (unreachable)))");
    for (body, hint) in [
        (file(".hidden", 1), "begin with a dot"),
        (format!("{} {}", folder(".git"), file(".git/config", 1)), "begin with a dot"),
        (file("a\\\\b", 1), "backslash"),
        (file("line\\nbreak", 1), "control character"),
        (format!("{} {} {}", folder("a"), file("a/b", 1), file("a-b", 1)), "two files"),
        (
            format!("{} {}", folder(&"d".repeat(200)), file(&format!("{}/{}", "d".repeat(200), "f".repeat(55)), 1)),
            "1 to 255 bytes",
        ),
    ] {
        let host = host(&body, "");
        let failure = host.failure(&host.submit("tool", Value::Null));
        assert_eq!(failure["code"], "plugin_error", "{failure}");
        assert!(failure["message"].as_str().is_some_and(|message| message.contains(hint)), "no {hint:?} in {failure}");
        nothing_is_left(&host);
    }
}

/// Attack: links lead to files of the host, or make one file count as many.
#[test]
fn there_are_no_links_in_out() {
    let body = format!(
        "{} (if (i32.eqz (call $symlink (text \"/etc/hostname\") {OUT} (text \"s\"))) (then (unreachable)))
         (if (i32.eqz (call $symlink (text \"../../../db\") {OUT} (text \"t\"))) (then (unreachable)))
         (if (i32.eqz (call $hard_link {OUT} (i32.const 0) (text \"x\") {OUT} (text \"h\"))) (then (unreachable)))
         (if (i32.ge_s (call $look {OUT} (text \"../in/input\") (i32.const 0)) (i32.const 0)) (then (unreachable)))
         (if (i32.ge_s (call $look {OUT} (text \"/etc/hostname\") (i32.const 0)) (i32.const 0)) (then (unreachable)))",
        file("x", 1)
    );
    for host in hosts(&body, "") {
        let id = host.submit("tool", Value::Null);
        host.wait_for(&id, "succeeded");
        assert_eq!(host.artifacts(&id).len(), 1);
        nothing_is_left(&host);
    }
}

/// Attack: removing such a tree by recursion needs more stack, or more open files, than there are.
#[test]
fn a_very_deep_folder_hurts_nobody() {
    let body = format!(
        "(local.set $fd {OUT})
         (loop $more
           (if (call $create_folder (local.get $fd) (text \"d\")) (then (unreachable)))
           (local.set $n (call $look (local.get $fd) (text \"d\") (i32.const 2)))
           (if (i32.lt_s (local.get $n) (i32.const 0)) (then (unreachable)))
           (if (local.get $i) (then (drop (call $fd_close (local.get $fd)))))
           (local.set $fd (local.get $n))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $more (i32.lt_u (local.get $i) (i32.const 1000))))"
    );
    let host = setup(&program::module(&body), "").with_open_files_max(400).start();
    let failure = host.failure(&host.submit("tool", Value::Null));
    assert_eq!(failure["code"], "plugin_error", "{failure}");
    nothing_is_left(&host);
}
