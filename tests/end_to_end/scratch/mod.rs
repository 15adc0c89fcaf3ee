//! The folders `/in` and `/out` of programs: what is in them, and what becomes of it.

mod names;
mod quota;

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
