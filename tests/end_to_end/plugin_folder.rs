//! The plugin folder of a running host: files come, change and go.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Host, eventually, guest, program};

/// What a job of this kind answers, run to its end.
fn answer(host: &Host, kind: &str) -> Vec<u8> {
    host.output(&host.submit(kind, Value::Null))
}

fn serves(host: &Host, kind: &str) -> bool {
    host.get(&format!("/v1/kinds/{kind}")).status == 200
}

#[test]
fn a_dropped_file_serves() {
    let host = Host::prepare().start();
    assert_eq!(host.get("/v1/kinds").json(), json!({"kinds": []}));
    host.post_job(&json!({"kind": "good"})).refused(404, "unknown_kind");
    host.drop_file("good.wasm", guest::good());
    assert_eq!(host.file("good.wasm")["state"], "serving");
    host.still_works();
}

#[test]
fn a_removed_file_retires_its_kind_and_keeps_its_jobs() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("endless", guest::endless());
    let host = host.set("workers", 1).start();
    let done = host.submit("good", Value::Null);
    assert_eq!(host.output(&done), b"ok");
    let running = host.submit("endless", Value::Null);
    host.wait_for(&running, "running");
    let queued = host.submit("good", Value::Null);
    for name in ["good.wasm", "endless.wasm"] {
        std::fs::remove_file(host.setup().plugins().join(name)).expect("the file is there");
    }
    eventually("the kinds are retired", || (!serves(&host, "good") && !serves(&host, "endless")).then_some(()));
    host.post_job(&json!({"kind": "good"})).refused(404, "unknown_kind");
    assert_eq!(host.get("/v1/plugins").json(), json!({"plugins": []}));
    // What was there stays there: results, the job that runs, the job that waits.
    assert_eq!(host.output(&done), b"ok");
    assert_eq!(host.job(&running)["state"], "running");
    assert_eq!(host.cancel(&running)["state"], "cancelled");
    assert_eq!(host.job(&queued)["state"], "queued");
    host.drop_file("good.wasm", guest::answering("back"));
    assert_eq!(host.output(&queued), b"back");
}

#[test]
fn a_new_version_takes_over_while_running_jobs_finish_on_the_old_one() {
    let slow = guest::run(
        r#"(call $block (call $subscribe_duration (i64.const 3000000000)))
           (return (call $done (text "text/plain") (text "one")))"#,
    );
    let host = Host::prepare().with_guest("kind", slow).start();
    let old = host.submit("kind", Value::Null);
    host.wait_for(&old, "running");
    host.drop_file("kind.wasm", guest::answering("two"));
    let newer = eventually("the new version serves", || {
        let id = host.submit("kind", Value::Null);
        let job = host.wait_until(&id, "ended or running", |job| job["state"] != "queued");
        (job["state"] == "succeeded" && host.result(&id).body == b"two").then_some(id)
    });
    assert_eq!(host.output(&old), b"one");
    let digest = |id: &str| host.job(id)["usage"][0]["plugin_digest"].clone();
    assert_ne!(digest(&old), digest(&newer));
    assert_eq!(digest(&newer), host.file("kind.wasm")["digest"]);
}

#[test]
fn a_broken_version_leaves_the_old_one_serving() {
    let host = Host::prepare().with_guest("kind", guest::answering("one")).with_guest("never", b"nonsense").start();
    let good = host.file("kind.wasm")["digest"].clone();
    for broken in [b"nonsense".to_vec(), guest::with_start("(unreachable)"), wat::parse_str("(module)").expect("valid")]
    {
        host.drop_file("kind.wasm", broken);
        eventually("the broken version is rejected", || (host.file("kind.wasm")["state"] == "rejected").then_some(()));
        let file = host.file("kind.wasm");
        assert!(file["reason"].is_string() && file["serves_instead"] == good && file["digest"] != good, "{file}");
        assert_eq!(answer(&host, "kind"), b"one");
    }
    assert_eq!(host.file("never.wasm").get("serves_instead"), None, "nothing serves there");
    let told = host.says(&["plugins"]).ended_with(0).text();
    let goes_on = |file: &str| {
        let line = told.lines().find(|line| line.starts_with(file)).expect("it is listed");
        line.contains("the last good version goes on serving")
    };
    assert!(goes_on("kind.wasm") && !goes_on("never.wasm"), "{told}");
    host.drop_file("kind.wasm", guest::answering("two"));
    eventually("the mended version serves", || (answer(&host, "kind") == b"two").then_some(()));
    assert_eq!(
        (&host.file("kind.wasm")["state"], &host.file("kind.wasm")["reason"]),
        (&json!("serving"), &Value::Null)
    );
}

/// Promise 5: a broken file never interrupts, across restarts too.
#[test]
fn a_broken_version_leaves_the_old_one_serving_after_a_restart() {
    let mut host = Host::prepare().with_guest("kind", guest::answering("one")).start();
    host.drop_file("kind.wasm", b"nonsense");
    eventually("the broken version is rejected", || (host.file("kind.wasm")["state"] == "rejected").then_some(()));
    host.kill_and_restart();
    let file = host.file("kind.wasm");
    assert!(file["state"] == "rejected" && file["serves_instead"].is_string(), "{file}");
    assert_eq!(answer(&host, "kind"), b"one");
}

#[test]
fn names_that_are_no_kinds_are_listed_and_others_are_left_alone() {
    let setup = Host::prepare().with_guest("Not A Kind", guest::good()).with_guest("-x", guest::good());
    let setup = setup.with_guest(&"x".repeat(64), guest::good()).with_guest(&"x".repeat(63), guest::good());
    for name in ["README.md", ".hidden.wasm", "good.toml"] {
        std::fs::write(setup.plugins().join(name), guest::good()).expect("the plugin folder can be written");
    }
    // What editors, browsers and copying tools leave while they work.
    for name in
        ["good.wasm.part", "good.wasm~", ".good.wasm.swp", "#good.wasm#", ".good.wasm.x1Y2z3", "good.wasm.tmp", "4913"]
    {
        std::fs::write(setup.plugins().join(name), guest::good()).expect("the plugin folder can be written");
    }
    symlink("someone@somewhere:4711", setup.plugins().join(".#good.wasm")).expect("a link can be made");
    std::fs::create_dir(setup.plugins().join("folder.wasm")).expect("the plugin folder can be written");
    let host = setup.start();
    let rejected = ["-x.wasm".to_owned(), "Not A Kind.wasm".to_owned(), format!("{}.wasm", "x".repeat(64))];
    for name in &rejected {
        let file = host.file(name);
        assert_eq!((&file["state"], &file["kind"]), (&json!("rejected"), &Value::Null), "{file}");
        assert!(file["reason"].as_str().is_some_and(|reason| reason.contains("name")), "{file}");
    }
    assert_eq!(host.file("folder.wasm")["state"], "rejected");
    assert_eq!(host.file(&format!("{}.wasm", "x".repeat(63)))["state"], "serving");
    let files = host.get("/v1/plugins").json();
    assert_eq!(files["plugins"].as_array().map(Vec::len), Some(5), "{files}");
}

#[test]
fn a_link_is_followed() {
    let setup = Host::prepare().with_guest("good", guest::good());
    symlink("good.wasm", setup.plugins().join("linked.wasm")).expect("a link can be made");
    let host = setup.start();
    assert_eq!(host.file("linked.wasm")["state"], "serving");
    assert_eq!(answer(&host, "linked"), b"ok");
}

/// Fault: what cannot be looked at is passed over in silence, and the operator searches for the reason.
#[test]
fn a_link_to_nowhere_is_listed() {
    let setup = Host::prepare().with_guest("good", guest::good());
    symlink("/nowhere/at/all.wasm", setup.plugins().join("dangling.wasm")).expect("a link can be made");
    let host = setup.start();
    let files = host.get("/v1/plugins").json();
    let dangling = files["plugins"].as_array().expect("a list").iter().find(|file| file["file"] == "dangling.wasm");
    assert!(dangling.is_some_and(|file| file["state"] == "rejected"), "{files}");
}

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

#[test]
fn a_plugin_folder_that_goes_away_leaves_what_serves() {
    let host = Host::start();
    let (folder, aside) = (host.setup().plugins(), host.setup().data().join("plugins-aside"));
    std::fs::rename(&folder, &aside).expect("a folder can be renamed");
    eventually("the host has noticed", || {
        host.process().stderr().contains("plugin folder cannot be read").then_some(())
    });
    host.still_works();
    let list = host.get("/v1/plugins").json();
    assert_eq!(list["plugins"][0]["state"], "serving", "{list}");
    assert!(list["reason"].as_str().is_some_and(|reason| reason.contains("cannot be read")), "{list}");
    assert_eq!(host.get("/readyz").status, 200);
    std::fs::rename(&aside, &folder).expect("a folder can be renamed");
    host.drop_file("more.wasm", guest::answering("more"));
    assert_eq!(host.file("more.wasm")["state"], "serving");
    host.still_works();
}

/// Fault: a disk is unmounted for a moment, the empty folder under it is taken for the operator's word, and every kind is gone.
#[test]
fn an_empty_folder_in_place_of_the_plugin_folder_retires_nothing() {
    let host = Host::start();
    let (folder, aside) = (host.setup().plugins(), host.setup().data().join("plugins-aside"));
    let digest = host.file("good.wasm")["digest"].clone();
    // What an unmounted disk leaves: another folder under the same name.
    std::fs::rename(&folder, &aside).expect("a folder can be renamed");
    std::fs::create_dir(&folder).expect("a folder can be made");
    let list = eventually("the host has noticed", || {
        let list = host.get("/v1/plugins").json();
        list["reason"].as_str().is_some_and(|reason| reason.contains("unmounted")).then_some(list)
    });
    assert_eq!((&list["plugins"][0]["state"], &list["plugins"][0]["digest"]), (&json!("serving"), &digest), "{list}");
    assert!(host.process().stderr().contains("what serves goes on serving"));
    assert!(host.says(&["plugins"]).ended_with(0).text().contains("unmounted"));
    assert_eq!(host.get("/readyz").status, 200);
    host.still_works();
    std::fs::remove_dir(&folder).expect("it is empty");
    std::fs::rename(&aside, &folder).expect("a folder can be renamed");
    eventually("the folder is back", || host.get("/v1/plugins").json().get("reason").is_none().then_some(()));
    assert_eq!(host.file("good.wasm")["digest"], digest);
    host.still_works();
    // The folder itself, read and found to be empty, is the operator's word.
    std::fs::remove_file(folder.join("good.wasm")).expect("the file is there");
    eventually("the kind is retired", || (!serves(&host, "good")).then_some(()));
}

#[test]
fn another_folder_with_files_in_it_takes_the_place_of_the_plugin_folder() {
    let host = Host::start();
    let (folder, next) = (host.setup().plugins(), host.setup().data().join("next"));
    std::fs::create_dir(&next).expect("a folder can be made");
    std::fs::write(next.join("other.wasm"), guest::answering("other")).expect("it can be written");
    std::fs::rename(&folder, host.setup().data().join("before")).expect("a folder can be renamed");
    std::fs::rename(&next, &folder).expect("a folder can be renamed");
    eventually("the other kind serves alone", || (serves(&host, "other") && !serves(&host, "good")).then_some(()));
    assert_eq!(answer(&host, "other"), b"other");
    assert_eq!(host.get("/v1/plugins").json().get("reason"), None);
}
