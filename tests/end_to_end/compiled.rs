//! Compiled code in the data folder: used when it is sound, replaced when it is not, gone when nobody needs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::process::can_mount_apart;
use crate::support::{Host, Setup, eventually, guest};

/// A plugin that takes a second or more to compile, and a moment to load.
const LARGE: usize = 1_000;

/// The entries of the folder of compiled code.
fn entries(setup: &Setup) -> Vec<PathBuf> {
    let folder = fs::read_dir(setup.data().join("compiled")).expect("the folder is there");
    folder.map(|entry| entry.expect("it can be read").path()).collect()
}

/// The only one of them.
fn entry(host: &Host) -> PathBuf {
    let entries = entries(host.setup());
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

/// The milliseconds the host took to load a file, for each time it did.
fn load_times(host: &Host, file: &str) -> Vec<u64> {
    let log = host.process().stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let served = lines.filter(|line| line["message"] == "plugin serves" && line["plugin.file"] == file);
    served.map(|line| line["duration_ms"].as_u64().expect("a number")).collect()
}

/// Fault: every start compiles every plugin anew.
#[test]
fn a_file_is_compiled_once_and_loaded_in_a_moment_afterwards() {
    let mut host = Host::prepare().with_guest("good", guest::large(LARGE)).start();
    host.still_works();
    let entry_before = entry(&host);
    let mode = |path: &PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&host.setup().data().join("compiled")), mode(&entry_before)), (0o700, 0o600));
    host.kill_and_restart();
    host.still_works();
    assert_eq!(entry(&host), entry_before);
    let times = load_times(&host, "good.wasm");
    assert_eq!(times.len(), 2, "{times:?}");
    assert!(times[1] * 4 < times[0], "{times:?}");
}

/// Real programs get this large: an interpreter with its libraries, or a whole browser engine.
#[test]
fn a_component_of_70_mb_is_compiled_once_and_loaded_in_a_moment_afterwards() {
    let component = guest::huge(70);
    assert!(component.len() > 70 << 20, "{}", component.len());
    let mut host = Host::prepare().with_guest("good", component).start();
    host.still_works();
    host.kill_and_restart();
    host.still_works();
    let times = load_times(&host, "good.wasm");
    eprintln!("compiled in {} ms, loaded in {} ms", times[0], times[1]);
    // Of the same run: how fast the machine is, and what else it does, is in both.
    assert!(times[1] * 5 < times[0], "{times:?}");
}

/// The processes that the host has started.
fn children(host: &Host) -> Vec<Pid> {
    let parent = format!("PPid:\t{}\n", host.process().id());
    let processes = fs::read_dir("/proc").expect("there is one").flatten();
    let is_child = |id: &str| fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|text| text.contains(&parent));
    let children = processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(|id| is_child(id));
    children.filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}

/// Fault: a file that is more than the machine has memory for takes the host with it.
#[test]
fn a_compiler_that_dies_costs_its_file_alone() {
    let host = Host::start();
    host.drop_file("large.wasm", guest::huge(30));
    let compiler = eventually("it is compiled in a process of its own", || children(&host).pop());
    kill_process(compiler, Signal::KILL).expect("it is there");
    let file = host.file("large.wasm");
    let reason = file["reason"].as_str().unwrap_or_default();
    assert!(file["state"] == "rejected" && reason.contains("signal: 9"), "{file}");
    host.still_works();
    assert_eq!(children(&host), []);
    let path = host.setup().plugins().join("large.wasm");
    let again = fs::File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    again.expect("it is ours");
    let compiler = eventually("it is tried again", || children(&host).pop());
    // A compiler goes with its host, however that ends.
    drop(host);
    eventually("nobody compiles for a host that is gone", || test_kill_process(compiler).is_err().then_some(()));
}

/// Fault: whoever tells all processes of a host to stop, and then waits for its jobs to end, has the files of that moment rejected.
#[test]
fn a_compiler_that_is_told_to_stop_compiles_on() {
    let host = Host::start();
    host.drop_file("large.wasm", guest::huge(30));
    // Called so once it hears signals in a way of its own.
    let is_ready =
        |id: &Pid| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name == "dropforge-comp\n");
    let compiler = eventually("it is compiled in a process of its own", || children(&host).pop().filter(is_ready));
    for signal in [Signal::TERM, Signal::INT] {
        kill_process(compiler, signal).expect("it is there");
    }
    let file = host.file("large.wasm");
    assert_eq!(file["state"], "serving", "{file}");
    assert_eq!(load_times(&host, "large.wasm").len(), 1);
    host.still_works();
}

/// Fault: a host whose parent wants to hear of no child, as some that start others do, is not told how its compiler has ended.
#[test]
fn a_host_that_is_told_of_no_child_compiles_all_the_same() {
    let perl = Command::new("perl").arg("-e1").status().is_ok_and(|status| status.success());
    if !perl || !can_mount_apart() {
        return eprintln!("skipped: a parent that wants to hear of no child needs root, unshare and perl");
    }
    // Shells take it back.
    let ignore = r#"exec perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV' "$0" "$@""#;
    let mut host = Host::prepare().with_guest("good", guest::large(LARGE)).with_mounts(ignore).start();
    let status = fs::read_to_string(format!("/proc/{}/status", host.process().id())).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect("the system tells");
    let ignored = u64::from_str_radix(ignored, 16).expect("a number");
    assert_ne!(ignored & 1 << (Signal::CHILD.as_raw() - 1), 0, "the test ignores nothing");
    host.still_works();
    host.drop_file("nonsense.wasm", guest::large(LARGE).split_last().expect("it is long").1);
    assert_eq!(host.file("nonsense.wasm")["state"], "rejected");
    assert_eq!(entries(host.setup()).len(), 1);
    assert!(!host.process().stderr().contains("no process could be started"), "{}", host.process().stderr());
    assert_eq!(load_times(&host, "good.wasm").len(), 1);
    assert!(host.terminate().success());
}

/// Fault: machine code is run that nobody has checked.
#[test]
fn a_damaged_entry_is_ignored_and_replaced() {
    let mut host = Host::start();
    let sound = fs::read(entry(&host)).expect("it can be read");
    for damage in [
        |entry: &mut Vec<u8>| entry[60] ^= 1,
        |entry: &mut Vec<u8>| entry.truncate(1_000),
        |entry: &mut Vec<u8>| {
            let last = entry.len() - 1;
            entry[last] ^= 1;
        },
    ] {
        host.kill();
        let mut damaged = sound.clone();
        damage(&mut damaged);
        fs::write(entry(&host), &damaged).expect("it can be written");
        host.start_again();
        host.still_works();
        assert!(host.process().stderr().contains("compiled code is not used"));
        assert_ne!(fs::read(entry(&host)).expect("it can be read"), damaged);
    }
}

/// Fault: a folder that only ever grows.
#[test]
fn compiled_code_goes_with_the_last_file_that_needs_it() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("twin", guest::good()).start();
    let first = entry(&host);
    fs::remove_file(host.setup().plugins().join("twin.wasm")).expect("it is there");
    eventually("the twin is retired", || (host.get("/v1/kinds/twin").status == 404).then_some(()));
    host.drop_file("good.wasm", guest::answering("two"));
    eventually("only the new version's code is there", || {
        let now = entries(host.setup());
        (now.len() == 1 && now[0] != first).then_some(())
    });
    fs::remove_file(host.setup().plugins().join("good.wasm")).expect("it is there");
    eventually("nothing is left", || entries(host.setup()).is_empty().then_some(()));
}

#[test]
fn the_code_of_the_last_good_version_is_kept_while_it_serves() {
    let mut host = Host::start();
    let good = entry(&host);
    host.drop_file("good.wasm", b"nonsense");
    eventually("the broken version is rejected", || (host.file("good.wasm")["state"] == "rejected").then_some(()));
    host.kill_and_restart();
    host.still_works();
    assert_eq!(entry(&host), good);
}

#[test]
fn code_compiled_elsewhere_is_never_taken_from_the_plugin_folder() {
    let host = Host::start();
    // As it lies in the data folder, and bare as the engine's own tools write it: an ELF file.
    let kept = fs::read(entry(&host)).expect("it can be read");
    let elf = kept.windows(4).position(|window| window == b"\x7fELF").expect("machine code is in it");
    for (name, bytes) in [("bare", &kept[elf..]), ("entry", &kept[..])] {
        host.drop_file(&format!("{name}.wasm"), bytes);
        let file = host.file(&format!("{name}.wasm"));
        assert_eq!(file["state"], "rejected", "{file}");
        let hint = if name == "bare" { "compiled ahead of time" } else { "not a WebAssembly file" };
        assert!(file["reason"].as_str().is_some_and(|reason| reason.contains(hint)), "{file}");
    }
    host.still_works();
}

/// The niceness of each thread of the host that compiles a file now.
fn compiling_threads(host: &Host) -> Vec<i32> {
    let tasks = |process: Pid| fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let nice = |task: std::io::Result<fs::DirEntry>| {
        // A thread may be gone at any time, and so may a process.
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.split_once(") ")?;
        if name == "compile" { rest.split(' ').nth(16)?.parse().ok() } else { None }
    };
    children(host).into_iter().flat_map(tasks).filter_map(nice).collect()
}

/// The most checks that were under way at a time. What one check has taken the next one can have as soon as the log says that its
/// file serves.
fn checks_at_a_time(host: &Host) -> usize {
    let log = host.process().stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let spans: Vec<(jiff::Timestamp, jiff::Timestamp)> = lines
        .filter(|line| line["message"] == "plugin serves" && line["plugin.file"] != "good.wasm")
        .map(|line| {
            let end: jiff::Timestamp = line["timestamp"].as_str().expect("text").parse().expect("a moment");
            let took = Duration::from_millis(line["duration_ms"].as_u64().expect("a number"));
            (end.saturating_sub(took).expect("a moment"), end)
        })
        .collect();
    let under_way = |at: &jiff::Timestamp| spans.iter().filter(|(start, end)| start <= at && at < end).count();
    spans.iter().map(|(start, _)| under_way(start)).max().expect("there are some")
}

/// Fault: a folder full of new files takes the machine away from the jobs.
#[test]
fn only_so_many_files_are_checked_at_a_time_behind_everything_else() {
    for most in [1, 2] {
        let host = Host::prepare().with_guest("good", guest::good()).set("plugin_checks_max", most).start();
        // To make one takes as long as to check it, so all are made before the first is dropped.
        let files: Vec<Vec<u8>> = (0..4).map(|number| guest::large(LARGE + number)).collect();
        for (number, file) in files.iter().enumerate() {
            host.drop_file(&format!("file-{number}.wasm"), file);
        }
        let mut seen_behind = false;
        eventually("all of them serve", || {
            // A thread puts itself there as the first thing it does.
            let threads = compiling_threads(&host);
            seen_behind |= !threads.is_empty() && threads.iter().all(|nice| *nice == 19);
            let files = host.get("/v1/plugins").json();
            let files = files["plugins"].as_array().expect("a list").clone();
            (files.len() == 5 && files.iter().all(|file| file["state"] == "serving")).then_some(())
        });
        assert_eq!((checks_at_a_time(&host), seen_behind), (most, true));
    }
}

/// Fault: one large file is compiled, and everybody waits.
#[test]
fn a_slow_compile_holds_up_neither_small_files_nor_the_end_of_the_host() {
    let mut host = Host::start();
    // So much that it is still being compiled when everything below has happened.
    let large = guest::large(20 * LARGE);
    assert!(large.len() > 8 << 20, "it counts as large");
    host.drop_file("large.wasm", &large);
    host.drop_file("other-large.wasm", &large);
    eventually("it is being compiled", || {
        let files = host.get("/v1/plugins").json();
        let states = files["plugins"].as_array().expect("a list").iter().filter(|file| file["state"] == "compiling");
        (states.count() == 2).then_some(())
    });
    host.drop_file("small.wasm", guest::answering("small"));
    assert_eq!(host.file("small.wasm")["state"], "serving");
    let id = host.submit("small", Value::Null);
    assert_eq!(host.output(&id), b"small");
    let files = host.get("/v1/plugins").json();
    assert_eq!(files["plugins"][1]["state"], "compiling", "the test needs a larger file: {files}");
    let asked = Instant::now();
    assert!(host.terminate().success());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
