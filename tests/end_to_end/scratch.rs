//! The folders `/in` and `/out` of programs: what is in them, what becomes of it, and what a hostile program can do with them.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Host, Setup, eventually, guest, program};

/// The first folder a program has, and the second.
const IN: &str = "(i32.const 3)";
const OUT: &str = "(i32.const 4)";

fn setup(file: &[u8], settings: &str) -> Setup {
    let settings = format!("scratch = true\ntimeout = \"20s\"\n{settings}");
    Host::prepare().with_guest("good", guest::good()).with_guest("tool", file).with_file("tool.toml", settings)
}

/// Hosts with this program, once as a component and once as a module.
fn hosts(body: &str, settings: &str) -> Vec<Host> {
    [program::component(body), program::module(body)].iter().map(|file| setup(file, settings).start()).collect()
}

fn host(body: &str, settings: &str) -> Host {
    setup(&program::module(body), settings).start()
}

/// Makes a file in `/out` with these bytes of memory from 65536 on.
fn file(name: &str, bytes: u32) -> String {
    format!(
        "(local.set $fd (call $open {OUT} (text \"{name}\") (i32.const 1)))
         (call $write (local.get $fd) (i32.const 65536) (i32.const {bytes})) (drop (call $fd_close (local.get $fd)))"
    )
}

/// All that lies in the host's temporary folder, in bytes.
fn temporary_bytes(host: &Host) -> u64 {
    fn bytes(folder: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let size = |entry: std::fs::DirEntry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
        entries.flatten().map(size).sum()
    }
    bytes(&host.setup().data().join("tmp"))
}

fn nothing_is_left(host: &Host) {
    eventually("the temporary folder is empty", || {
        std::fs::read_dir(host.setup().data().join("tmp")).ok()?.next().is_none().then_some(())
    });
    host.still_works();
}

#[test]
fn the_payload_is_a_file_and_what_is_left_becomes_artifacts_by_name() {
    let copy = format!(
        "(local.set $i (call $look {IN} (text \"input\") (i32.const 0)))
         (local.set $fd (call $open {OUT} (text \"copy\") (i32.const 1)))
         (loop $more
           (local.set $n (call $read (local.get $i) (i32.const 65536) (i32.const 65536)))
           (if (local.get $n) (then (call $write (local.get $fd) (i32.const 65536) (local.get $n)) (br $more))))
         (if (call $create_folder {OUT} (text \"pages\")) (then (unreachable)))
         {} {} {} (call $write (i32.const 1) (text \"done\"))",
        file("z.json", 2),
        file("pages/1.png", 3),
        file("a.txt", 0)
    );
    for host in hosts(&copy, "") {
        for input in [b"small\n".to_vec(), (0..300_000_u32).flat_map(u32::to_le_bytes).collect()] {
            let id = host.submit_raw("tool", input.clone());
            assert_eq!(host.output(&id), b"done");
            let artifacts = host.artifacts(&id);
            let seen: Vec<(&str, &str)> = artifacts
                .iter()
                .map(|artifact| {
                    (artifact["name"].as_str().expect("text"), artifact["media_type"].as_str().expect("text"))
                })
                .collect();
            let text = "text/plain; charset=utf-8";
            let copied = if input.len() < 10 { text } else { "application/octet-stream" };
            let expected =
                [("a.txt", text), ("copy", copied), ("pages-1.png", "image/png"), ("z.json", "application/json")];
            assert_eq!(seen, expected);
            let copy = host.get(&format!("/v1/jobs/{id}/artifacts/copy"));
            assert!(copy.body == input, "{} bytes of {}", copy.body.len(), input.len());
            let usage = &host.job(&id)["usage"][0];
            assert_eq!(usage["bytes_out"], json!(input.len() + 2 + 3 + "done".len()), "{usage}");
            nothing_is_left(&host);
        }
    }
}

#[test]
fn the_blobs_an_input_names_are_files_by_their_addresses() {
    for size in [10, 1_000_000] {
        let bytes = vec![b'x'; size];
        let address = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        let copy = format!(
            "(local.set $i (call $look {IN} (text \"{address}\") (i32.const 0)))
             (if (i32.lt_s (local.get $i) (i32.const 0)) (then (call $exit (i32.const 3))))
             (loop $more
               (local.set $n (call $read (local.get $i) (i32.const 65536) (i32.const 65536)))
               (if (local.get $n) (then (call $write (i32.const 1) (i32.const 65536) (local.get $n)) (br $more))))"
        );
        for host in hosts(&copy, "") {
            assert_eq!(host.post("/v1/blobs", bytes.clone()).status, 201);
            let named = json!({"file": {"$blob": format!("sha256:{address}")}});
            assert_eq!(host.output(&host.submit("tool", named)), bytes);
            // A job that does not name it does not see it.
            assert_eq!(host.failure(&host.submit("tool", Value::Null))["code"], "plugin_error");
            nothing_is_left(&host);
        }
    }
}

#[test]
fn what_is_read_cannot_be_written() {
    let body = format!(
        "(if (i32.ge_s (call $open {IN} (text \"new\") (i32.const 1)) (i32.const 0)) (then (unreachable)))
         (if (i32.ge_s (call $open {IN} (text \"input\") (i32.const 0)) (i32.const 0)) (then (unreachable)))
         (if (i32.eqz (call $unlink {IN} (text \"input\"))) (then (unreachable)))
         (if (i32.eqz (call $rename {IN} (text \"input\") {OUT} (text \"input\"))) (then (unreachable)))
         (if (i32.eqz (call $hard_link {IN} (i32.const 0) (text \"input\") {OUT} (text \"input\"))) (then (unreachable)))"
    );
    for host in hosts(&body, "") {
        let id = host.submit_raw("tool", vec![7; 200_000]);
        host.wait_for(&id, "succeeded");
        assert_eq!(host.artifacts(&id).len(), 0);
        nothing_is_left(&host);
    }
}

#[test]
fn a_program_gets_no_folders_unless_its_settings_say_so() {
    let body =
        format!("(if (i32.ge_s (call $look {IN} (text \"input\") (i32.const 0)) (i32.const 0)) (then (unreachable)))");
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("tool", program::module(&body)).start();
    host.wait_for(&host.submit("tool", Value::Null), "succeeded");
}

#[test]
fn the_bytes_of_out_are_limited_to_the_byte() {
    for host in hosts(&file("x", 100_000), "scratch_bytes = 100000") {
        let id = host.submit("tool", Value::Null);
        host.wait_for(&id, "succeeded");
        assert_eq!(host.artifacts(&id)[0]["size"], 100_000);
    }
    for host in hosts(&file("x", 100_001), "scratch_bytes = 100000") {
        let failure = host.failure(&host.submit("tool", Value::Null));
        assert_eq!(failure["code"], "output_too_large", "{failure}");
        assert!(failure["message"].as_str().is_some_and(|message| message.contains("scratch_bytes")), "{failure}");
        nothing_is_left(&host);
    }
}

/// Attack: every way there is to make a file longer.
#[test]
fn no_way_of_growing_gets_around_the_quota() {
    let open = format!("(local.set $fd (call $open {OUT} (text \"x\") (i32.const 1)))");
    let write = "(call $write (local.get $fd) (i32.const 65536) (i32.const 60000))";
    for (attack, code) in [
        (format!("{open} (drop (call $set_size (local.get $fd) (i64.const 100001)))"), "output_too_large"),
        (format!("{open} (drop (call $set_size (local.get $fd) (i64.const 0x4000000000000000)))"), "output_too_large"),
        // Far behind the end: a hole.
        (
            format!("{open} (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 1))
                (drop (call $fd_pwrite (local.get $fd) (i32.const 0) (i32.const 1) (i64.const 1000000000000) (i32.const 8)))"),
            "output_too_large",
        ),
        // Two files, the first of which has no name any more but is still there.
        (
            format!("{open} {write} (drop (call $unlink {OUT} (text \"x\"))) {open} {write}"),
            "output_too_large",
        ),
        (format!("{open} {write} (drop (call $rename {OUT} (text \"x\") {OUT} (text \"y\"))) {open} {write}"), "output_too_large"),
        (format!("(loop $more {open} {write} (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (i32.store8 (i32.const 4096) (local.get $i)) (br $more))"), "output_too_large"),
    ] {
        let host = host(&attack, "scratch_bytes = 100000");
        let failure = host.failure(&host.submit("tool", Value::Null));
        assert_eq!(failure["code"], code, "{attack}: {failure}");
        nothing_is_left(&host);
    }
}

/// A program that tidies up may write much more in all than may lie there at a time.
#[test]
fn what_was_deleted_cut_or_replaced_counts_no_more() {
    let open = format!("(local.set $fd (call $open {OUT} (text \"x\") (i32.const 9)))");
    let write = "(call $write (local.get $fd) (i32.const 65536) (i32.const 60000))";
    let close = "(drop (call $fd_close (local.get $fd)))";
    let times = |what: &str| {
        format!(
            "(loop $more {what} (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 50))))"
        )
    };
    for body in [
        times(&format!("{open} {write} {close}")),
        times(&format!("{open} {write} (drop (call $set_size (local.get $fd) (i64.const 0))) {close}")),
        times(&format!("{open} {write} {close} (drop (call $unlink {OUT} (text \"x\")))")),
        times(&format!("{open} {write} (drop (call $unlink {OUT} (text \"x\"))) {close}")),
        // Each takes the place of the one before it, and is no larger than half of what may lie there.
        times(&format!(
            "{open} (call $write (local.get $fd) (i32.const 65536) (i32.const 40000)) {close}
            (if (call $rename {OUT} (text \"x\") {OUT} (text \"y\")) (then (unreachable)))"
        )),
    ] {
        let host = host(&body, "scratch_bytes = 100000");
        let job = host.wait(&host.submit("tool", Value::Null));
        assert_eq!(job["state"], "succeeded", "{body}: {job}");
        nothing_is_left(&host);
    }
}

/// Attack: the disk is looked at while a program writes as fast as it can.
#[test]
fn the_disk_never_holds_more_than_the_quota() {
    let body = format!(
        "(local.set $fd (call $open {OUT} (text \"x\") (i32.const 1)))
         (loop $more
           (call $write (local.get $fd) (i32.const 65536) (i32.const 50000))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $more (i32.lt_u (local.get $i) (i32.const 200))))
         (loop $forever (br $forever))"
    );
    let host = host(&body, "scratch_bytes = 10000000");
    let id = host.submit_raw("tool", "");
    eventually("it has filled its folder", || {
        let bytes = temporary_bytes(&host);
        assert!(bytes <= 10_000_000, "{bytes}");
        (bytes == 10_000_000).then_some(())
    });
    host.cancel(&id);
    host.wait_for(&id, "cancelled");
    nothing_is_left(&host);
}

/// Names of five digits, from 10000 on.
fn numbered(what: &str) -> String {
    format!(
        "(drop (call $read (i32.const 0) (i32.const 60000) (i32.const 4)))
         (loop $more
           (i32.store8 (i32.const 61000) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $i) (i32.const 10000)) (i32.const 10))))
           (i32.store8 (i32.const 61001) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $i) (i32.const 1000)) (i32.const 10))))
           (i32.store8 (i32.const 61002) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $i) (i32.const 100)) (i32.const 10))))
           (i32.store8 (i32.const 61003) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $i) (i32.const 10)) (i32.const 10))))
           (i32.store8 (i32.const 61004) (i32.add (i32.const 48) (i32.rem_u (local.get $i) (i32.const 10))))
           {what}
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $more (i32.lt_u (local.get $i) (i32.load (i32.const 60000)))))"
    )
}

#[test]
fn the_folders_in_out_are_limited_in_number() {
    let name = "(i32.const 61000) (i32.const 5)";
    let folders = numbered(&format!("(if (call $create_folder {OUT} {name}) (then (unreachable)))"));
    let host = host(&folders, "");
    host.wait_for(&host.submit_raw("tool", 1_000_u32.to_le_bytes().to_vec()), "succeeded");
    let failure = host.failure(&host.submit_raw("tool", 1_001_u32.to_le_bytes().to_vec()));
    assert_eq!(failure["code"], "output_too_large", "{failure}");
    nothing_is_left(&host);
}

#[test]
fn the_files_in_out_are_limited_in_number_and_all_of_them_become_artifacts() {
    let name = "(i32.const 61000) (i32.const 5)";
    let make = format!("(drop (call $fd_close (call $open {OUT} {name} (i32.const 1))))");
    let host = host(&numbered(&make), "");
    let id = host.submit_raw("tool", 300_u32.to_le_bytes().to_vec());
    host.wait_for(&id, "succeeded");
    let names: Vec<String> =
        host.artifacts(&id).iter().map(|artifact| artifact["name"].as_str().expect("text").to_owned()).collect();
    assert_eq!(names, (0..300).map(|number| format!("{number:05}")).collect::<Vec<_>>());
    let unlink = format!("(if (call $unlink {OUT} {name}) (then (unreachable)))");
    let both = format!("{} (local.set $i (i32.const 0)) {}", numbered(&make), numbered(&unlink));
    let tidy = self::host(&both, "");
    tidy.wait_for(&tidy.submit_raw("tool", 10_000_u32.to_le_bytes().to_vec()), "succeeded");
    let failure = host.failure(&host.submit_raw("tool", 10_001_u32.to_le_bytes().to_vec()));
    assert_eq!(failure["code"], "output_too_large", "{failure}");
    nothing_is_left(&host);
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

/// Attack: each open file is one of the host's.
#[test]
fn open_files_are_limited_and_closed_ones_do_not_count() {
    let open = |close: &str| {
        format!(
            "(loop $more
               (local.set $fd (call $open {OUT} (text \"x\") (i32.const 1)))
               (if (i32.lt_s (local.get $fd) (i32.const 0)) (then (call $exit (i32.const 3))))
               {close}
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $more (i32.lt_u (local.get $i) (i32.const 2000))))"
        )
    };
    let open_all = host(&open(""), "");
    let failure = open_all.failure(&open_all.submit("tool", Value::Null));
    assert_eq!(failure["code"], "plugin_error", "{failure}");
    nothing_is_left(&open_all);
    let close_each = host(&open("(drop (call $fd_close (local.get $fd)))"), "");
    close_each.wait_for(&close_each.submit("tool", Value::Null), "succeeded");
}

#[test]
fn a_program_that_works_on_files_forever_is_stopped_at_its_deadline() {
    let write = format!(
        "(local.set $fd (call $open {OUT} (text \"x\") (i32.const 1)))
         (loop $more (drop (call $set_size (local.get $fd) (i64.const 0)))
           (call $write (local.get $fd) (i32.const 65536) (i32.const 60000)) (br $more))"
    );
    let open = format!("(loop $more (drop (call $fd_close (call $open {OUT} (text \"x\") (i32.const 1)))) (br $more))");
    for body in [write, open] {
        for host in hosts(&body, "") {
            let id = host.submit_job(json!({"kind": "tool", "timeout": "300ms"}));
            let job = host.wait_for(&id, "failed");
            assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
            assert!(job["usage"][0]["wall_ms"].as_u64().is_some_and(|wall| wall < 2_000), "{job}");
            nothing_is_left(&host);
        }
    }
}

#[test]
fn the_folders_are_gone_after_a_kill_and_a_restart() {
    let body = format!("{} (loop $forever (br $forever))", file("x", 60_000));
    let mut host = host(&body, "");
    let id = host.submit_raw("tool", vec![7; 200_000]);
    eventually("it has written", || (temporary_bytes(&host) == 260_000).then_some(()));
    host.kill();
    assert_eq!(temporary_bytes(&host), 260_000);
    host.start_again();
    // It runs again, in folders of its own.
    eventually("it has written again", || (temporary_bytes(&host) == 260_000).then_some(()));
    host.cancel(&id);
    host.wait_for(&id, "cancelled");
    nothing_is_left(&host);
}

#[test]
fn the_bytes_of_in_are_limited_to_the_byte() {
    let address = |bytes: &[u8]| format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes)));
    let host = host("", "scratch_in_bytes = 100200");
    let blob = vec![b'x'; 100_000];
    assert_eq!(host.post("/v1/blobs", blob.clone()).status, 201);
    // The blob, and the input that names it.
    let naming = |size: usize| {
        let named = format!(r#"{{"file":{{"$blob":"{}"}},"padding":""#, address(&blob));
        let padded = format!(r#"{named}{}"}}"#, "x".repeat(size - named.len() - 2));
        host.post("/v1/jobs", format!(r#"{{"kind": "tool", "input": {padded}}}"#)).json()["id"]
            .as_str()
            .map(str::to_owned)
    };
    host.wait_for(&naming(200).expect("accepted"), "succeeded");
    for id in [naming(201).expect("accepted"), host.submit_raw("tool", vec![b'x'; 100_201])] {
        let failure = host.failure(&id);
        assert_eq!((&failure["code"], &failure["fault"]), (&json!("invalid_input"), &json!("job")), "{failure}");
        let message = failure["message"].as_str().expect("text");
        assert!(message.contains("100201") && message.contains("scratch_in_bytes"), "{message}");
    }
    nothing_is_left(&host);
}
