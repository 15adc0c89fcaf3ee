//! The `serve` command: what it takes, what it prints, how it ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::command::say;
use crate::support::{Host, Setup, eventually, guest};

#[test]
fn standard_output_is_one_line() {
    let host = Host::start();
    host.still_works();
    host.post("/v1/jobs", "nonsense").refused(400, "malformed");
    let address = host.process().address();
    assert_eq!(host.process().stdout(), [format!("listening on {address}")]);
    assert!(address.starts_with("http://127.0.0.1:"), "{address}");
}

#[test]
fn a_stop_by_any_of_these_signals_is_a_success_and_prints_nothing_more() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        if signal == Signal::HUP && is_ignored(signal) {
            eprintln!(
                "skipped for {signal:?}: these tests were started to outlive their terminal, and so would the host be"
            );
            continue;
        }
        let setup = Host::prepare().with_guest("endless", guest::endless());
        let mut process = setup.serve(["--listen", "127.0.0.1:0"]);
        assert!(process.comes_up(), "{}", process.stderr());
        process.signal(signal);
        let exit = process.wait();
        assert_eq!((exit.status.code(), exit.stdout.len()), (Some(0), 1), "{signal:?}: {}", exit.stderr);
        assert!(exit.stderr.contains("stopped"), "the log is on standard error: {}", exit.stderr);
    }
}

/// Whether this process, and so whatever it starts, does not hear of a signal.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("Linux");
    u64::from_str_radix(mask.trim(), 16).expect("hexadecimal") >> (signal.as_raw() - 1) & 1 == 1
}

/// A process that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fault: a host ends in disorder, or a part of it does, as what reads its log has gone.
#[test]
fn a_log_that_nobody_reads_any_more_changes_nothing() {
    let setup = Host::prepare().with_guest("good", guest::good());
    let mut command = Command::new(env!("CARGO_BIN_EXE_dropforge"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(setup.data())
        .arg("--plugins")
        .arg(setup.plugins());
    let command = command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ended(host) = &mut Ended(command.spawn().expect("it was built and starts"));
    drop(host.stderr.take());
    let mut line = String::new();
    let mut output = BufReader::new(host.stdout.take().expect("it is piped"));
    output.read_line(&mut line).expect("it is text");
    let address = line.trim().strip_prefix("listening on ").expect("it says where").to_owned();
    // Each of them is told to the log.
    for name in ["broken", "broken-too"] {
        std::fs::write(setup.plugins().join(format!("{name}.wasm")), "no plugin").expect("it can be written");
        eventually("it is rejected", || {
            let said = say(&["plugins", "--json"], &address, b"", setup.folder()).text();
            said.contains(&format!("{name}.wasm")).then_some(())?;
            (said.matches("\"rejected\"").count() == if name == "broken" { 1 } else { 2 }).then_some(())
        });
    }
    kill_process(Pid::from_child(host), Signal::TERM).expect("it is our child");
    let status = eventually("it stops", || host.try_wait().expect("it is our child"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_stop_while_jobs_run_and_clients_wait_takes_no_long_time() {
    let mut host = Host::prepare().with_guest("endless", guest::endless()).start();
    let ids: Vec<String> = (0..5).map(|_| host.submit("endless", Value::Null)).collect();
    host.wait_for(&ids[0], "running");
    let started = std::time::Instant::now();
    assert!(host.terminate().success());
    // Not the 60 s the jobs may take, and not much more than the 5 s clients are given for their last answers.
    assert!(started.elapsed().as_secs() < 15, "{:?}", started.elapsed());
}

/// The timeout of a kind, as the host says it: 60 s unless set.
fn timeout_ms(host: &Host) -> Value {
    host.get("/v1/kinds/good").json()["limits"]["timeout_ms"].clone()
}

#[test]
fn a_variable_goes_before_the_file_and_that_before_the_default() {
    let host = Host::start();
    assert_eq!(timeout_ms(&host), 60_000);

    let with_file = || {
        let setup = Host::prepare().with_guest("good", guest::good());
        let file = setup.folder().join("settings.toml");
        std::fs::write(&file, "timeout = \"5s\"\nmemory_bytes = 12345678\n").expect("the folder can be written");
        setup.set("config", file.display())
    };
    let host = with_file().start();
    assert_eq!(timeout_ms(&host), 5_000);
    let host = with_file().set("timeout", "7s").start();
    assert_eq!(timeout_ms(&host), 7_000);
    assert_eq!(host.get("/v1/kinds/good").json()["limits"]["memory_bytes"], 12_345_678, "the rest is still the file's");
}

#[test]
fn a_flag_goes_before_a_variable() {
    let elsewhere = tempfile::tempdir().expect("a temporary folder can be made");
    let setup = Host::prepare().with_guest("good", guest::good());
    let other = |name: &str| elsewhere.path().join(name).display().to_string();
    // The harness gives the folders as flags.
    let host = setup.set("data", other("data")).set("plugins", other("plugins")).start();
    host.still_works();
    assert!(host.setup().data().join("db").is_dir());
    assert_eq!(std::fs::read_dir(elsewhere.path()).expect("readable").count(), 0);
}

#[test]
fn folders_are_made_where_the_defaults_say() {
    let setup = Host::prepare();
    std::fs::remove_dir(setup.plugins()).expect("it is there and empty");
    let mut process = setup.serve(["--listen", "127.0.0.1:0"]);
    assert!(process.comes_up(), "{}", process.stderr());
    assert!(setup.folder().join("dropforge-data/db").is_dir());
    assert!(setup.plugins().is_dir());
}

/// Starts a host that must refuse to, and expects this in what it says.
#[track_caller]
fn refuses(setup: &Setup, flags: &[&str], hints: &[&str]) {
    let exit = setup.serve(flags).wait();
    assert!(!exit.status.success() && exit.status.code().is_some(), "{:?}", exit.status);
    assert!(exit.stdout.is_empty(), "{:?}", exit.stdout);
    for hint in hints {
        assert!(exit.stderr.to_lowercase().contains(&hint.to_lowercase()), "no {hint:?} in: {}", exit.stderr);
    }
    assert!(!setup.folder().join("dropforge-data").exists(), "nothing has been touched");
}

#[test]
fn a_misspelt_setting_is_an_error_that_names_it() {
    refuses(&Host::prepare().set("wrokers", 3), &[], &["wrokers"]);
    refuses(&Host::prepare(), &["--wrokers", "3"], &["--wrokers"]);
    let setup = Host::prepare();
    let file = setup.folder().join("settings.toml");
    std::fs::write(&file, "wrokers = 3\n").expect("the folder can be written");
    refuses(&setup, &["--config", &file.to_string_lossy()], &["wrokers"]);
    refuses(&setup, &["--config", "/nowhere/settings.toml"], &["/nowhere/settings.toml"]);
}

#[test]
fn a_file_in_the_place_of_a_folder_is_told_with_who_named_it() {
    let setup = Host::prepare();
    std::fs::write(setup.folder().join("file"), "").expect("the folder can be written");
    refuses(&setup, &["--plugins", "file"], &["--plugins: file is a file, expected a folder"]);
    let setup = setup.set("data", "file");
    refuses(&setup, &[], &["DROPFORGE_DATA: file is a file, expected a folder"]);
}

#[test]
fn an_impossible_value_is_an_error_that_names_the_setting() {
    for (name, value) in
        [("timeout", "soon"), ("timeout", "2h"), ("queue_max", "0"), ("workers", "-1"), ("listen", "here")]
    {
        refuses(&Host::prepare().set(name, value), &[], &[name]);
    }
}

#[test]
fn an_address_beyond_this_machine_needs_to_be_meant() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        refuses(&Host::prepare(), &["--listen", address], &["token new", "--insecure", "127.0.0.1"]);
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    refuses(&Host::prepare(), &["--listen", &address], &["cannot listen on", &address]);
}

#[test]
fn a_host_has_as_many_workers_as_it_is_told() {
    let setup = Host::prepare().with_guest("endless", guest::endless());
    let host = setup.set("workers", 3).start();
    for _ in 0..5 {
        host.submit("endless", Value::Null);
    }
    eventually("three run and two wait", || {
        let counts = host.get("/v1/kinds/endless").json()["counts"].clone();
        (counts["running"] == 3 && counts["queued"] == 2).then_some(())
    });
    let running = host.get("/v1/jobs?state=running").json();
    assert_eq!(running["jobs"].as_array().map(Vec::len), Some(3));
    assert_eq!(host.get("/v1/kinds/endless").json()["counts"]["failed"], json!(0));
}
