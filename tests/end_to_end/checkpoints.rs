//! State that a plugin saves reaches the next attempt of its job, whatever ended the last one.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::guest::Guest;
use crate::support::{Host, Setup, guest};

/// Answers what an earlier attempt saved; the first one saves `half way` and then does this.
fn resuming(then: &str) -> Vec<u8> {
    guest::run(&format!(
        r#"(call $load_checkpoint (i32.const 832))
        (if (i32.load8_u (i32.const 832)) (then
          (return (call $done (text "text/plain") (i32.load (i32.const 836)) (i32.load (i32.const 840))))))
        (call $save_checkpoint (text "half way") (i32.const 832))
        (if (i32.load8_u (i32.const 832)) (then (unreachable)))
        (call $progress (f64.const 0.5) (i32.const 0) (i32.const 0))
        {then}"#
    ))
}

const FOR_EVER: &str = "(loop $forever (br $forever))";

fn with(kind: Vec<u8>) -> Setup {
    Host::prepare().with_guest("good", guest::good()).with_guest("kind", kind)
}

/// A job that has saved its state and goes on.
fn saved(host: &Host) -> String {
    let id = host.submit("kind", Value::Null);
    host.wait_until(&id, "has saved its state", |job| job["progress"]["fraction"] == 0.5);
    id
}

/// Fault: the host is killed, and a job of many hours begins anew.
#[test]
fn what_a_plugin_has_saved_survives_kill_9_and_reaches_the_next_attempt() {
    let mut host = with(resuming(FOR_EVER)).start();
    let id = saved(&host);
    host.kill_and_restart();
    assert_eq!(host.output(&id), b"half way");
    assert_eq!(host.job(&id)["attempts"], 1);
    host.still_works();
}

#[test]
fn what_a_plugin_has_saved_survives_an_interruption() {
    let mut host = with(resuming(FOR_EVER)).start();
    let id = saved(&host);
    assert!(host.terminate().success());
    host.start_again();
    assert_eq!(host.output(&id), b"half way");
    assert_eq!(host.job(&id)["interruptions"], 1);
    host.still_works();
}

#[test]
fn what_a_plugin_has_saved_survives_a_transient_failure() {
    let host = with(resuming(r#"(return (call $fail (i32.const 2) (text "busy")))"#)).start();
    let id = host.submit("kind", Value::Null);
    assert_eq!(host.output(&id), b"half way");
    assert_eq!(host.job(&id)["attempts"], 2);
    host.still_works();
}

#[test]
fn a_failed_job_that_is_retried_begins_without_its_checkpoint() {
    let host = with(resuming(r#"(return (call $fail (i32.const 1) (text "no")))"#)).start();
    let id = host.submit("kind", Value::Null);
    host.wait_for(&id, "failed");
    assert_eq!(host.post(&format!("/v1/jobs/{id}/retry"), "").status, 202);
    let again =
        host.wait_until(&id, "has ended again", |job| job["usage"].as_array().is_some_and(|all| all.len() == 2));
    assert_eq!(again["state"], "failed", "{again}");
    host.still_works();
}

/// Fault: an update of the plugin reads what the old one wrote and takes it for its own.
#[test]
fn a_plugin_is_told_which_plugin_saved_what_it_finds() {
    let mut host = with(resuming(FOR_EVER)).start();
    let digest = host.file("kind.wasm")["digest"].clone();
    let id = saved(&host);
    host.kill();
    let update = guest::run(
        r#"(call $load_checkpoint (i32.const 832))
        (return (call $done (text "text/plain") (i32.load (i32.const 844)) (i32.load (i32.const 848))))"#,
    );
    host.drop_file("kind.wasm", update);
    host.start_again();
    assert_eq!(json!(String::from_utf8(host.output(&id)).expect("digits")), digest);
    assert_ne!(host.file("kind.wasm")["digest"], digest);
    host.still_works();
}

#[test]
fn an_attempt_finds_what_it_has_saved_itself_and_nothing_before() {
    let host = with(guest::run(
        r#"(call $load_checkpoint (i32.const 832))
        (if (i32.load8_u (i32.const 832)) (then (unreachable)))
        (call $save_checkpoint (text "first") (i32.const 832))
        (call $save_checkpoint (text "second") (i32.const 832))
        (call $load_checkpoint (i32.const 832))
        (return (call $done (text "text/plain") (i32.load (i32.const 836)) (i32.load (i32.const 840))))"#,
    ))
    .start();
    for _ in 0..2 {
        let id = host.submit("kind", Value::Null);
        assert_eq!(host.output(&id), b"second");
    }
    host.still_works();
}

/// Saves so many bytes and answers why that was refused, or that it was not.
fn saving(bytes: u32) -> Vec<u8> {
    let run = format!(
        r#"(call $save_checkpoint (i32.const 131072) (i32.const {bytes}) (i32.const 832))
        (if (i32.load8_u (i32.const 832)) (then
          (return (call $done (text "text/plain") (i32.load (i32.const 836)) (i32.load (i32.const 840))))))
        (return (call $done (text "text/plain") (text "saved")))"#
    );
    Guest { run: &run, pages: 100, ..Guest::GOOD }.component()
}

#[test]
fn a_mebibyte_can_be_saved_and_one_byte_more_is_refused_with_the_limit() {
    let host = with(saving(1 << 20)).with_guest("larger", saving((1 << 20) + 1)).start();
    assert_eq!(host.output(&host.submit("kind", Value::Null)), b"saved");
    let refused = String::from_utf8(host.output(&host.submit("larger", Value::Null))).expect("text");
    assert!(refused.contains("1048577") && refused.contains("1048576 bytes is the most"), "{refused}");
    host.still_works();
}

#[test]
fn describe_has_nothing_to_save_and_is_told_so() {
    let describe = r#"(call $load_checkpoint (i32.const 832))
        (if (i32.load8_u (i32.const 832)) (then (unreachable)))
        (call $save_checkpoint (text "x") (i32.const 832))
        (if (i32.eqz (i32.load8_u (i32.const 832))) (then (unreachable)))
        (return (i32.const 16))"#;
    let host = with(guest::with_describe(describe)).start();
    assert_eq!(host.output(&host.submit("kind", Value::Null)), b"ok");
    host.still_works();
}

/// Answers what an earlier attempt saved; the first one saves 200,000 bytes, which take a file, and goes on for ever.
fn saving_a_file() -> Vec<u8> {
    let run = r#"(call $load_checkpoint (i32.const 832))
        (if (i32.load8_u (i32.const 832)) (then
          (return (call $done (text "text/plain") (i32.load (i32.const 836)) (i32.load (i32.const 840))))))
        (memory.fill (i32.const 131072) (i32.const 120) (i32.const 200000))
        (call $save_checkpoint (i32.const 131072) (i32.const 200000) (i32.const 832))
        (if (i32.load8_u (i32.const 832)) (then (unreachable)))
        (call $progress (f64.const 0.5) (i32.const 0) (i32.const 0))
        (loop $forever (br $forever))"#;
    Guest { run, pages: 100, ..Guest::GOOD }.component()
}

/// Fault: state that the disk has lost is handed out as if whole, or keeps its job from ever ending.
#[test]
fn a_job_whose_checkpoint_is_damaged_begins_anew_and_its_log_says_so() {
    let damages: [fn(&Path); 2] = [
        |file| std::fs::write(file, vec![b'y'; 200_000]).expect("it can be written"),
        |file| std::fs::remove_file(file).expect("it is there"),
    ];
    for damage in damages {
        let mut host = with(saving_a_file()).start();
        let id = saved(&host);
        host.kill();
        let mut blobs = host.setup().data().join("blobs").read_dir().expect("a folder");
        damage(&blobs.next().expect("one blob").expect("readable").path());
        assert!(blobs.next().is_none());
        host.start_again();
        host.wait_until(&id, "has saved its state again", |job| job["progress"]["fraction"] == 0.5);
        let log = host.get(&format!("/v1/jobs/{id}/logs")).text();
        assert!(log.contains("the checkpoint cannot be read, so this attempt begins without it"), "{log}");
        host.kill_and_restart();
        assert!(host.output(&id) == vec![b'x'; 200_000], "what it saved the second time");
        host.still_works();
    }
}

/// Fault: a backup that is restored has the jobs, and they begin anew.
#[test]
fn checkpoints_are_exported_imported_compacted_and_verified() {
    // A small one in the database and a large one in a file.
    let mut host = with(resuming(FOR_EVER)).with_guest("large", saving_a_file()).start();
    let small = saved(&host);
    let large = host.submit("large", Value::Null);
    host.wait_until(&large, "has saved its state", |job| job["progress"]["fraction"] == 0.5);
    assert!(host.terminate().success());
    let setup = host.setup();
    let (data, file) = (setup.data(), setup.folder().join("export"));
    let (data, file) = (data.to_str().expect("text"), file.to_str().expect("text"));
    let run = |arguments: &[&str]| {
        let exit = setup.run(arguments);
        assert!(exit.status.success(), "{arguments:?}: {exit:?}");
        exit.stdout.join("\n")
    };
    assert!(run(&["verify", data]).contains("2 pending; 2 checkpoints, 1 blob,"));
    run(&["export", data, file]);
    std::fs::remove_dir_all(data).expect("nobody uses it");
    run(&["import", file, data]);
    run(&["compact", data]);
    assert!(run(&["verify", data]).contains("2 pending; 2 checkpoints, 1 blob,"));
    host.start_again();
    assert_eq!(host.output(&small), b"half way");
    assert!(host.output(&large) == vec![b'x'; 200_000]);
    assert!(host.terminate().success());
    let data = host.setup().data();
    let verdict = host.setup().run(&["verify", data.to_str().expect("text")]);
    assert!(verdict.stdout.join("\n").contains("2 succeeded + 0 failed + 0 cancelled + 0 pending; 0 checkpoints"));
}

/// The counting of a grid that takes this plugin seconds, in columns.
const COLUMNS: u32 = 30_000_000;

fn grid(columns: u32) -> Value {
    json!({"f": "sqrt(4-xs**2)", "a": 0, "b": 2, "c": 0, "d": 2, "size": columns})
}

fn fraction(job: &Value) -> f64 {
    job["progress"]["fraction"].as_f64().expect("a number")
}

fn fuel(job: &Value) -> f64 {
    let reports = job["usage"].as_array().expect("a list");
    reports.last().expect("an attempt has ended")["fuel"].as_f64().expect("a number")
}

/// Fault: the longer a computation takes, the less likely it ever ends.
#[test]
fn a_computation_killed_at_60_percent_goes_on_near_60_percent() {
    let mut host = Host::prepare().with_guest("good", guest::good()).with_plugin("integrate").start();
    let id = host.submit("integrate", grid(COLUMNS));
    let killed_at = fraction(&host.wait_until(&id, "is at 60 %", |job| fraction(job) >= 0.6));
    host.kill_and_restart();
    let job = host.wait_until(&id, "runs again", |job| fraction(job) > 0.0 || job["state"] == "succeeded");
    assert!(fraction(&job) >= killed_at - 0.25, "killed at {killed_at}, back at {job}");
    let result: Value = serde_json::from_slice(&host.output(&id)).expect("JSON");
    assert!((result["result"].as_f64().expect("a number") - std::f64::consts::PI).abs() < 1e-6, "{result}");
    // What the guest says is one thing; what it burnt is another.
    let job = host.job(&id);
    let whole = host.wait_for(&host.submit("integrate", grid(COLUMNS / 40)), "succeeded");
    let share = fuel(&job) / (fuel(&whole) * 40.0);
    assert!((0.1..0.65).contains(&share), "after the kill at {killed_at} it burnt {share} of a whole run's fuel");
    host.still_works();
}
