//! Files that are copied slowly: never taken for whole before they are, and never in the way of what serves.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{answer, serves};
use crate::support::{Host, eventually, guest, program};

/// Writes a file as a slow copy does: in place, piece by piece, over about a second.
fn copy_slowly(host: &Host, name: &str, bytes: &[u8]) {
    let mut file = std::fs::File::create(host.setup().plugins().join(name)).expect("the plugin folder can be written");
    for piece in bytes.chunks(bytes.len().div_ceil(8)) {
        file.write_all(piece).expect("the plugin folder can be written");
        // Not a wait for anything: this is the slowness of the copy.
        std::thread::sleep(Duration::from_millis(130));
    }
}

#[test]
fn a_slowly_copied_file_serves_whole_in_the_end() {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    let bytes = crate::support::shipped("plugins/message.wasm");
    copy_slowly(&host, "message.wasm", &bytes);
    eventually("the whole file serves", || (host.file("message.wasm")["state"] == "serving").then_some(()));
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    assert_eq!(host.file("message.wasm")["digest"], digest.as_str());
    let id = host.submit("message", json!({"message": "hi", "seconds": 0}));
    assert_eq!(host.output(&id), br#"{"message":"hi"}"#);
}

/// Fault: the first part of a file is a file as well. This one is a valid module without the text it prints.
#[test]
fn a_copy_that_stalls_is_not_taken_for_a_complete_file() {
    let whole = program::module("(call $write (i32.const 1) (text \"whole\"))");
    let half = section_start(&whole, 11);
    for _ in 0..5 {
        let host = Host::start();
        let path = host.setup().plugins().join("tool.wasm");
        let mut file = std::fs::File::create(&path).expect("the plugin folder can be written");
        file.write_all(&whole[..half]).expect("the plugin folder can be written");
        let written = std::time::Instant::now();
        // The time the copy stalls.
        std::thread::sleep(Duration::from_millis(500));
        let files = host.get("/v1/plugins").json();
        file.write_all(&whole[half..]).expect("the plugin folder can be written");
        if written.elapsed() > Duration::from_millis(900) {
            // The machine was busy; a copy that stalls so long is another story.
            continue;
        }
        let mut files = files["plugins"].as_array().expect("a list").iter();
        let half = files.find(|file| file["file"] == "tool.wasm").expect("it was found");
        assert_eq!((&half["state"], &half["step"]), (&json!("compiling"), &json!("settling")), "{half}");
        eventually("the whole file serves", || (serves(&host, "tool")).then_some(()));
        assert_eq!(answer(&host, "tool"), b"whole");
        return;
    }
    panic!("the machine is too busy to tell");
}

/// Where the section of this number begins.
fn section_start(module: &[u8], id: u8) -> usize {
    let mut at = 8;
    while module[at] != id {
        let digits = 1 + module[at + 1..].iter().take_while(|&&byte| byte >= 128).count();
        let size = (0..digits).fold(0, |size, n| size | usize::from(module[at + 1 + n] & 127) << (7 * n));
        at += 1 + digits + size;
    }
    at
}

#[test]
fn a_slow_copy_over_an_old_version_never_interrupts_it() {
    let host = Host::prepare().with_guest("kind", guest::answering("one")).start();
    let copied = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut answers = Vec::new();
            while !copied.load(Ordering::Relaxed) {
                answers.push(answer(&host, "kind"));
            }
            answers
        });
        copy_slowly(&host, "kind.wasm", &guest::answering("two"));
        copied.store(true, Ordering::Relaxed);
        let answers = client.join().expect("every job is accepted and succeeds");
        assert!(
            !answers.is_empty() && answers.iter().all(|answer| answer == b"one" || answer == b"two"),
            "{answers:?}"
        );
    });
    eventually("the new version serves", || (answer(&host, "kind") == b"two").then_some(()));
    assert_eq!(host.file("kind.wasm")["state"], "serving");
}
