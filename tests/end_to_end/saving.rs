//! Where results go: looked at before there is a job, and never a reason to lose what it made.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Host, eventually, guest};

fn host() -> Host {
    Host::prepare().with_guest("echo", guest::echo()).start()
}

/// Fault: the job has run for an hour when it turns out that its result has nowhere to go.
#[test]
fn a_place_that_cannot_be_written_is_told_before_there_is_a_job() {
    let host = host();
    std::fs::write(host.setup().folder().join("file"), "x").expect("the folder can be written");
    for (flag, place) in [
        ("--output", "absent/out"),
        ("--output", "plugins"),
        ("--output", "file/out"),
        ("--output", "/proc/out"),
        ("--save-artifacts", "file"),
        ("--save-artifacts", "file/in"),
        ("--save-artifacts", "/proc/absent/in"),
    ] {
        for words in [["submit", "echo", "-i", "1", flag, place], ["run", "plugins/echo.wasm", "-i", "1", flag, place]]
        {
            let said = host.says(&words);
            assert!(said.code != 0 && said.errors.contains(place), "{words:?}: {said:?}");
        }
    }
    assert_eq!(host.get("/v1/jobs").json()["jobs"], json!([]));
    let said = host.says(&["submit", "echo", "-i", "1", "--save-artifacts", "new/of", "--output", "file"]);
    said.ended_with(0);
    assert!(host.setup().folder().join("new/of").is_dir());
}

#[test]
fn what_cannot_be_saved_at_last_can_still_be_fetched() {
    let host = host();
    let folder = host.setup().folder().join("results");
    for as_json in [false, true] {
        std::fs::create_dir(&folder).expect("the folder can be written");
        host.says(&["pause", "echo"]).ended_with(0);
        let words = ["submit", "echo", "-i", "[5]", "-o", "results/out", "--json"];
        let submit = host.types(&words[..if as_json { 7 } else { 6 }]);
        let id = eventually("the job is there", || {
            let queued = host.get("/v1/jobs?state=queued").json();
            Some(queued["jobs"][0]["id"].as_str()?.to_owned())
        });
        std::fs::remove_dir(&folder).expect("it is empty");
        host.says(&["resume", "echo"]).ended_with(0);
        let said = submit.ended().ended_with(6);
        assert!(said.errors.contains(&format!("`dropforge result {id} -o FILE`")), "{}", said.errors);
        if as_json {
            let problem: Value = serde_json::from_str(&said.errors).expect("JSON");
            assert_eq!(problem["code"], "not_saved");
        }
        assert_eq!(host.says(&["result", &id]).ended_with(0).text(), "[5]");
    }
}

#[test]
fn the_result_in_json_is_the_job_and_the_result_is_saved() {
    let host = host();
    let id = host.submit("echo", json!([7]));
    host.wait_for(&id, "succeeded");
    let said = host.says(&["result", &id, "--json", "-o", "out"]).ended_with(0).json();
    assert_eq!((&said["id"], &said["state"]), (&json!(id), &json!("succeeded")));
    assert_eq!(std::fs::read(host.setup().folder().join("out")).expect("it was saved"), b"[7]");
    assert!(
        host.says(&["result", "--help"]).ended_with(0).text().contains("with --json show the job"),
        "and it says so"
    );
}

#[test]
fn a_reader_who_has_had_enough_is_no_mistake() {
    let host = host();
    std::fs::write(host.setup().folder().join("large"), vec![b'x'; 300 << 10]).expect("the folder can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dropforge"));
    command.args(["submit", "echo", "large", "--wait"]).current_dir(host.setup().folder());
    command.env("DROPFORGE_URL", host.process().address()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary was built and starts");
    drop(child.stdout.take());
    let said = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && !errors.contains("error"), "{errors}");
}
