//! Secrets, settings and the plugin folder on disks and servers that do not answer any more: whoever needs them waits, and nobody else.

use std::os::unix::fs::symlink;
use std::thread;

use super::disks::{ends_in_time, threads};
use crate::support::disk::can_be_mounted;
use crate::support::{Host, Setup, eventually, guest};

/// Threads that may wait for one path: those that have looked at it, less and less often, so that they are six after a minute, and those that
/// were to read it when a file was checked.
const WAITING_MAX: usize = 8;

/// A host with a kind `kind`, whose secret is a file on a disk.
fn with_secret(file: &str) -> Setup {
    let toml = format!("[secrets]\nTOKEN = {{ file = \"../granted/inner/{file}\" }}");
    plain().with_disk().with_guest("kind", guest::probe()).with_file("kind.toml", toml)
}

/// A host with a kind `kind`, whose settings are a link to the file `settings`, on a disk.
fn with_linked_settings() -> Setup {
    let setup = plain().with_disk().with_guest("kind", guest::answering("kind"));
    std::fs::write(setup.folder().join("settings"), "timeout = \"5s\"").expect("the folder can be written");
    symlink("../granted/inner/back/settings", setup.plugins().join("kind.toml")).expect("a link can be made");
    setup
}

/// A host where a single file that waits could hold up all others.
fn plain() -> Setup {
    Host::prepare().with_guest("good", guest::good()).set("plugin_checks_max", 1).set("grace", "200ms")
}

fn is_rejected(host: &Host, hint: &str) {
    eventually(&format!("a reason with {hint:?}"), || {
        let file = host.file("kind.wasm");
        let reason = file["reason"].as_str().unwrap_or_default();
        (file["state"] == "rejected" && reason.contains(hint)).then_some(())
    });
}

/// Puts a link into the plugin folder, in one step.
fn link(host: &Host, name: &str, to: &str) {
    let (new, path) = (host.setup().plugins().join(".new"), host.setup().plugins().join(name));
    symlink(to, &new).expect("a link can be made");
    std::fs::rename(new, path).expect("a file can be renamed");
}

/// How many checks of a kind's file have ended badly so far.
fn rejections(host: &Host, kind: &str) -> usize {
    let file = format!("{kind}.wasm");
    host.process().stderr().lines().filter(|line| line.contains("rejected") && line.contains(&file)).count()
}

/// Why it is not known what lies in the plugin folder.
fn reason(host: &Host) -> Option<String> {
    host.get("/v1/plugins").json()["reason"].as_str().map(str::to_owned)
}

/// Files that are dropped, changed and removed are noticed, again and again, and no look at the folder costs a thread.
fn notices_others(host: &Host) {
    let before = threads(host);
    let answers = |text: &str| {
        eventually(&format!("{text} is served"), || {
            let id = host.post("/v1/kinds/other/jobs", "");
            (id.status == 202 && host.output(id.json()["id"].as_str().expect("an id")) == text.as_bytes()).then_some(())
        });
    };
    for _ in 0..3 {
        host.drop_file("other.wasm", guest::answering("one"));
        answers("one");
        host.drop_file("other.wasm", guest::answering("two"));
        answers("two");
        std::fs::remove_file(host.setup().plugins().join("other.wasm")).expect("it is there");
        eventually("it is retired", || (host.get("/v1/kinds/other").status == 404).then_some(()));
    }
    let after = threads(host);
    assert!(after <= before + WAITING_MAX, "{before} threads became {after}");
    host.still_works();
}

/// Fault: a secret on a server that is gone holds up the thread that looks at the plugin folder, and no file is ever seen again.
#[test]
fn a_secret_that_falls_silent_holds_up_no_other_file() {
    if !can_be_mounted() {
        return;
    }
    let mut host = with_secret("quick").start();
    assert_eq!(host.probe("kind", &["config TOKEN"]), ["its text"]);
    host.setup().silence_disk();
    notices_others(&host);
    is_rejected(&host, "kind.toml: secrets.TOKEN: the file \"../granted/inner/quick\" does not answer");
    // As with any secret that cannot be read any more.
    assert_eq!(host.probe("kind", &["config TOKEN"]), ["its text"]);
    notices_others(&host);
    host.setup().wake_disk();
    eventually("it serves again", || (host.file("kind.wasm")["state"] == "serving").then_some(()));
    assert_eq!(host.probe("kind", &["config TOKEN"]), ["its text"]);
    host.setup().silence_disk();
    notices_others(&host);
    ends_in_time(&mut host);
}

/// Fault: the host is started while the server is gone, and no kind serves for it.
#[test]
fn a_host_becomes_ready_although_a_secret_does_not_answer() {
    if !can_be_mounted() {
        return;
    }
    let setup = with_secret("quick");
    setup.silence_disk();
    let mut host = setup.start();
    is_rejected(&host, "kind.toml: secrets.TOKEN: the file \"../granted/inner/quick\" does not answer");
    assert_eq!(host.post("/v1/kinds/kind/jobs", "").status, 404);
    notices_others(&host);
    host.setup().wake_disk();
    eventually("it serves", || (host.file("kind.wasm")["state"] == "serving").then_some(()));
    assert_eq!(host.probe("kind", &["config TOKEN"]), ["its text"]);
    ends_in_time(&mut host);
}

/// Fault: a file can be looked at, and only its content never comes.
#[test]
fn secrets_settings_and_programs_that_are_never_read_to_their_end_hold_up_nobody() {
    if !can_be_mounted() {
        return;
    }
    let mut host = with_secret("hung").start();
    is_rejected(&host, "secrets.TOKEN: the file \"../granted/inner/hung\" does not answer");
    notices_others(&host);
    let replace = |name: &str| link(&host, name, "../granted/inner/hung");
    replace("kind.toml");
    is_rejected(&host, "kind.toml: the file does not answer");
    notices_others(&host);
    std::fs::remove_file(host.setup().plugins().join("kind.toml")).expect("it is there");
    replace("kind.wasm");
    is_rejected(&host, "the file does not answer");
    notices_others(&host);
    ends_in_time(&mut host);
}

/// Fault: a link to settings elsewhere cannot be followed any more.
#[test]
fn settings_that_fall_silent_hold_up_no_other_file() {
    if !can_be_mounted() {
        return;
    }
    let mut host = with_linked_settings().start();
    assert_eq!(host.file("kind.wasm")["state"], "serving");
    host.setup().silence_disk();
    notices_others(&host);
    eventually("the host says which file does not answer", || {
        reason(&host).filter(|reason| reason.contains("kind.toml") && reason.contains("does not answer"))
    });
    assert_eq!(host.output(&host.submit_raw("kind", "")), b"kind");
    host.setup().wake_disk();
    eventually("all is known again", || reason(&host).is_none().then_some(()));
    host.kill();
    host.setup().silence_disk();
    host.start_again();
    notices_others(&host);
    ends_in_time(&mut host);
}

/// Fault: those who share a secret whose content never comes have each other checked again without end, as each look of one at it counts
/// as a sign of life for the other.
#[test]
fn two_kinds_that_share_a_secret_do_not_have_each_other_checked_for_ever() {
    if !can_be_mounted() {
        return;
    }
    let toml = "[secrets]\nTOKEN = { file = \"../granted/inner/hung\" }";
    let mut host = with_secret("hung").with_guest("twin", guest::probe()).with_file("twin.toml", toml).start();
    let all = |host: &Host| ["kind", "twin"].map(|kind| rejections(host, kind));
    eventually("both are named", || all(&host).iter().all(|times| *times > 0).then_some(()));
    // Each of these files is seen after the other two were, three times.
    notices_others(&host);
    let before = all(&host);
    assert!(before.iter().all(|times| *times <= 2), "{before:?}");
    notices_others(&host);
    notices_others(&host);
    assert_eq!(all(&host), before);
    is_rejected(&host, "secrets.TOKEN: the file \"../granted/inner/hung\" does not answer");
    ends_in_time(&mut host);
}

/// Fault: each look at a file on a slow disk is given up before its answer comes, so that the file is never seen, nor any change of it.
#[test]
fn settings_on_a_slow_disk_are_only_slow() {
    if !can_be_mounted() {
        return;
    }
    let setup = with_linked_settings();
    let settings = setup.folder().join("settings");
    setup.slow_disk();
    let mut host = setup.start();
    eventually("it serves", || (host.get("/v1/kinds/kind").status == 200).then_some(()));
    assert_eq!(host.output(&host.submit_raw("kind", "")), b"kind");
    std::fs::write(&settings, "is = \"wrong\"").expect("the folder can be written");
    is_rejected(&host, "kind.toml: ");
    assert_eq!(reason(&host), None);
    std::fs::write(&settings, "timeout = \"6s\"").expect("the folder can be written");
    eventually("it serves again", || (host.file("kind.wasm")["state"] == "serving").then_some(()));
    notices_others(&host);
    ends_in_time(&mut host);
}

/// Fault: as an old call never returns, what has come in the place of the file is not seen until the host is started again.
#[test]
fn what_comes_in_the_place_of_a_silent_file_is_seen() {
    if !can_be_mounted() {
        return;
    }
    let mut host = with_linked_settings().start();
    host.setup().silence_disk();
    let is_silent = |reason: &String| reason.contains("kind.toml") && reason.contains("does not answer");
    eventually("the host says which file does not answer", || reason(&host).filter(is_silent));
    std::fs::write(host.setup().folder().join("settings"), "is = \"wrong\"").expect("the folder can be written");
    link(&host, "kind.toml", "../settings");
    is_rejected(&host, "kind.toml: ");
    assert_eq!(reason(&host), None);
    host.drop_file("kind.toml", "timeout = \"6s\"");
    eventually("it serves again", || (host.file("kind.wasm")["state"] == "serving").then_some(()));
    notices_others(&host);
    ends_in_time(&mut host);
}

/// Fault: the host that is to stop waits for the folder, and a client that asks for a kind nobody knows does.
#[test]
fn a_plugin_folder_that_falls_silent_holds_up_neither_jobs_nor_the_end() {
    if !can_be_mounted() {
        return;
    }
    let mut host = plain().with_disk_before_plugins().start();
    host.still_works();
    host.setup().silence_disk();
    eventually("the host says so", || reason(&host).filter(|reason| reason.contains("does not answer")));
    let said = host.process().stderr().matches("does not answer").count();
    for _ in 0..20 {
        assert_eq!(host.post("/v1/kinds/unknown/jobs", "").status, 404);
    }
    host.still_works();
    assert_eq!((host.get("/readyz").status, host.process().stderr().matches("does not answer").count()), (200, said));
    assert_eq!(said, 1, "{}", host.process().stderr());
    host.drop_file("late.wasm", guest::answering("late"));
    host.setup().wake_disk();
    eventually("it can be read again", || reason(&host).is_none().then_some(()));
    assert_eq!(host.file("late.wasm")["state"], "serving");
    host.setup().silence_disk();
    eventually("the host says so again", || reason(&host));
    assert_eq!(host.post("/v1/kinds/unknown/jobs", "").status, 404);
    ends_in_time(&mut host);
}

/// Fault: a host that is started while the server of its plugin folder is gone does not even say where it listens.
#[test]
fn a_host_starts_although_its_plugin_folder_does_not_answer() {
    if !can_be_mounted() {
        return;
    }
    let setup = plain().with_disk_before_plugins();
    setup.silence_disk();
    let (log, silent) = (setup.folder().join("stderr.log"), setup.folder().join("silent"));
    let wake_disk = thread::spawn(move || {
        let says_so = |log: &String| log.contains("the plugin folder does not answer");
        eventually("the host says so", || std::fs::read_to_string(&log).ok().filter(says_so));
        std::fs::remove_file(silent).expect("it is there");
    });
    let mut host = setup.start();
    wake_disk.join().expect("the host has said so");
    host.still_works();
    ends_in_time(&mut host);
}
