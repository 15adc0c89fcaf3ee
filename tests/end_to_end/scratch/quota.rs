//! How much fits into the folders: bytes, files, folders, and files open at a time. A hostile program gets no more by any way.

use serde_json::{Value, json};

use super::{OUT, file, host, hosts, nothing_is_left, temporary_bytes};
use crate::support::eventually;

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
    let tidy = super::host(&both, "");
    tidy.wait_for(&tidy.submit_raw("tool", 10_000_u32.to_le_bytes().to_vec()), "succeeded");
    let failure = host.failure(&host.submit_raw("tool", 10_001_u32.to_le_bytes().to_vec()));
    assert_eq!(failure["code"], "output_too_large", "{failure}");
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
