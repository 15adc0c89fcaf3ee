//! The plugin folder of a running host: files come, change and go.

mod copies;
mod moved;

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{Host, eventually, guest};

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
