//! Granted folders on disks and servers that do not answer any more: when the host starts, when a job does, and in the middle of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Attack;
use crate::support::disk::{GRANT, can_be_mounted};
use crate::support::process::can_mount_apart;
use crate::support::{Host, eventually, guest};

/// A probe, which is granted a folder on a disk.
fn probe(input: &str) -> Attack {
    let attack = Attack::by(guest::probe()).granted(GRANT);
    // More than the threads of a folder, so that only their number can hold anybody up.
    let setup = attack.setup.with_disk().set("grace", "200ms").with_guest("echo", guest::echo());
    Attack { setup, input: input.into() }
}

/// Threads of the host.
pub(super) fn threads(host: &Host) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{}/task", host.process().id()));
    threads.expect("it runs").count()
}

/// What a job has logged.
fn log(host: &Host, id: &str) -> String {
    host.get(&format!("/v1/jobs/{id}/logs")).text()
}

/// Many more jobs that wait as this one than there are threads for them hold nobody else up, and are told what they wait for.
#[track_caller]
fn holds_few_threads(host: &Host, input: &str) {
    let waiting: Vec<String> = (0..600).map(|_| host.submit_raw("attack?timeout=10m", input.to_owned())).collect();
    host.wait_for(&waiting[599], "running");
    let large = vec![b'x'; 200_000];
    assert!(host.output(&host.submit_raw("echo", large.clone())) == large);
    let threads = threads(host);
    assert!(threads < 100, "{threads} threads");
    let told = eventually("the last one is told why it waits", || {
        Some(log(host, &waiting[599])).filter(|log| !log.is_empty())
    });
    assert!(told.contains("granted as /g does not answer") && told.contains("waits for its turn"), "{told}");
    host.still_works();
    for id in &waiting {
        host.cancel(id);
    }
    eventually("all of them have let go", || {
        let job = host.job(&waiting[599]);
        (job["usage"] != serde_json::json!([])).then_some(())
    });
    host.still_works();
}

/// The host ends about when it was told to, whoever still waits.
pub(super) fn ends_in_time(host: &mut Host) {
    let started = Instant::now();
    assert!(host.terminate().success());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Mounts on `granted` what is to be mounted there only when somebody looks, by a process that never does, and ends with the host.
const NEVER_MOUNTED: &str = r#"mkdir granted; perl -e '
    pipe(my $asked, my $ask) or die; fcntl($ask, 2, 0) or die; setpgrp(0, 0);
    my $options = sprintf("fd=%d,pgrp=%d,minproto=5,maxproto=5,direct", fileno($ask), getpgrp());
    system("mount", "-t", "autofs", "-o", $options, "none", "granted") == 0 or die;
    my $host = getppid(); select(undef, undef, undef, 0.1) while getppid() == $host;' >/dev/null 2>&1 &
    until grep -q "$PWD/granted autofs" /proc/mounts; do kill -0 $! && sleep 0.05 || exit 1; done"#;

/// Fault: a granted folder whose server is gone holds up the start of the host, and every check of a file after it.
#[test]
fn a_folder_that_never_answers_holds_up_neither_start_nor_end() {
    let known = std::fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("autofs"));
    if !known || !can_mount_apart() {
        return eprintln!("skipped: a mount that never comes needs root, autofs and perl");
    }
    let attack = Attack::by(guest::probe()).granted("[[folders]]\nguest = \"/g\"\nhost = \"../granted\"");
    let setup = attack.setup.with_mounts(NEVER_MOUNTED).set("plugin_checks_max", 1).set("grace", "200ms");
    let mut host = Attack { setup, ..attack }.host();
    let file = host.file("attack.wasm");
    assert_eq!(file["state"], "rejected", "{file}");
    let reason = file["reason"].as_str().expect("a reason");
    assert!(reason.contains("attack.toml: folders.0.host: ") && reason.contains("does not answer"), "{reason}");
    host.drop_file("another.wasm", guest::answering("another"));
    assert_eq!(host.file("another.wasm")["state"], "serving");
    host.still_works();
    ends_in_time(&mut host);
}

#[test]
fn a_folder_that_answers_again_is_asked_again() {
    if !can_be_mounted() {
        return;
    }
    let attack = probe("read /g/quick");
    attack.setup.silence_disk();
    let host = attack.host();
    assert_eq!(host.file("attack.wasm")["state"], "rejected");
    host.setup().wake_disk();
    eventually("it serves", || (host.file("attack.wasm")["state"] == "serving").then_some(()));
    assert_eq!(host.probe("attack", &["read /g/quick"]), ["its text"]);
}

#[test]
fn waiting_for_a_granted_folder_to_open_is_stopped() {
    if !can_be_mounted() {
        return;
    }
    let attack = probe("read /g/quick");
    let input = attack.input.clone();
    let mut host = attack.host();
    assert_eq!(host.probe("attack", &["read /g/quick"]), ["its text"]);
    host.setup().silence_disk();
    super::is_stopped(&host, &input);
    holds_few_threads(&host, "read /g/quick");
    let id = host.submit_raw("attack?timeout=1500", "read /g/quick");
    let job = host.wait_for(&id, "failed");
    assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
    let lines =
        job["usage"][0]["log"].as_array().map(|lines| lines.iter().filter_map(Value::as_str).collect::<String>());
    assert!(lines.is_some_and(|lines| lines.contains("granted as /g")), "{job}");
    host.setup().wake_disk();
    assert_eq!(host.probe("attack", &["read /g/quick"]), ["its text"]);
    host.setup().silence_disk();
    host.wait_for(&host.submit_raw("attack", "read /g/quick"), "running");
    ends_in_time(&mut host);
}

/// Fault: a read from a disk that hangs keeps a thread for good, and so does each further job that reads there.
#[test]
fn waiting_for_a_granted_disk_to_read_is_stopped_and_holds_few_threads() {
    if !can_be_mounted() {
        return;
    }
    let mut host = probe("read /g/hung").stops();
    holds_few_threads(&host, "read /g/hung");
    ends_in_time(&mut host);
}

/// Fault: to close a file of a disk that hangs may take for ever as well, and it was the worker's own thread that did it.
#[test]
fn files_that_cannot_be_closed_hold_nobody_up() {
    if !can_be_mounted() {
        return;
    }
    let mut host = probe("").host();
    for _ in 0..20 {
        assert_eq!(host.probe("attack", &["read /g/unclosed", "read /g/quick"]), ["its text", "its text"]);
    }
    let threads = threads(&host);
    assert!(threads < 100, "{threads} threads");
    host.still_works();
    ends_in_time(&mut host);
}
