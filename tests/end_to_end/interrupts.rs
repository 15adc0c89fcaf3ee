//! Ctrl-C: nothing is left in the dark, and nothing is left behind.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::command::Typed;
use crate::support::{Host, Setup, eventually, guest, program};

/// Waits until so many follow what happens on the host.
fn until_listening(host: &Host, listeners: u32) {
    eventually(&format!("{listeners} listen"), || {
        let metrics = host.get("/metrics").text();
        let there = metrics.lines().find_map(|line| line.strip_prefix("dropforge_listeners "))?;
        (there.parse::<f64>().ok()? >= f64::from(listeners)).then_some(())
    });
}

#[test]
fn an_interrupted_follower_says_what_becomes_of_the_job() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_secs(600))).start();
    let submit = host.types(&["submit", "slow", "--wait"]);
    let id = eventually("the job is there", || Some(host.get("/v1/jobs").json()["jobs"][0]["id"].as_str()?.to_owned()));
    let also = host.types(&["wait", &id]);
    let for_programs = host.types(&["wait", &id, "--json"]);
    host.wait_for(&id, "running");
    // All three follow it by the time they are interrupted.
    until_listening(&host, 3);
    for follower in [submit, also] {
        follower.interrupt();
        let said = follower.ended().ended_with(130);
        for words in [format!("`dropforge wait {id}`"), format!("`dropforge cancel {id}`")] {
            assert!(said.errors.contains(&words), "{words}: {}", said.errors);
        }
    }
    for_programs.interrupt();
    let note: Value = serde_json::from_str(&for_programs.ended().ended_with(130).errors).expect("JSON");
    assert_eq!(note["note"], "interrupted");
    assert_eq!(host.job(&id)["state"], "running", "the job goes on");
}

#[test]
fn whatever_goes_on_for_long_says_so_when_it_is_interrupted() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_secs(600))).start();
    let id = host.submit("slow", Value::Null);
    host.wait_for(&id, "running");
    let (log, watch) = (host.types(&["logs", "--follow", &id]), host.types(&["list", "--watch", "--json"]));
    until_listening(&host, 2);
    log.interrupt();
    let said = log.ended().ended_with(130);
    assert!(said.errors.contains(&format!("`dropforge logs --follow {id}`")), "{}", said.errors);
    watch.interrupt();
    let note: Value = serde_json::from_str(&watch.ended().ended_with(130).errors).expect("JSON");
    assert_eq!(note["note"], "interrupted");
    assert_eq!(host.job(&id)["state"], "running", "the job goes on");
}

#[test]
fn waiting_for_a_kind_that_is_not_ready_can_be_interrupted() {
    let host = Host::start();
    host.drop_file("late.wasm", [guest::good(), guest::huge(20).split_off(guest::good().len())].concat());
    eventually("it is listed", || host.get("/v1/plugins").text().contains("late.wasm").then_some(()));
    let said = host.says(&["kinds", "late"]).ended_with(9);
    assert!(said.errors.contains("late is not ready yet: late.wasm"), "no kind is unknown that has a file: {said:?}");
    let submit = host.types(&["submit", "late"]);
    submit.says_in_passing("waiting for it, up to");
    submit.interrupt();
    let said = submit.ended().ended_with(130);
    assert!(said.errors.contains("no job was submitted"), "{}", said.errors);
    assert_eq!(host.get("/v1/jobs?kind=late").json()["jobs"].as_array().map(Vec::len), Some(0));
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let setup = Host::prepare();
    let (demo, temporary) = start(&setup, &["demo", "--out", "pages"], Stdio::null());
    eventually("its host listens", || demo.output().contains("listens on").then_some(()));
    demo.interrupt();
    let said = demo.ended().ended_with(130);
    assert!(said.errors.contains("interrupted"), "{}", said.errors);
    assert!(is_empty(&temporary));
}

#[test]
fn an_interrupted_measurement_leaves_nothing_behind() {
    let setup = Host::prepare();
    let (bench, temporary) = start(&setup, &["bench", "--only", "echo", "--seconds", "60"], Stdio::null());
    eventually("it has a folder", || (!is_empty(&temporary)).then_some(()));
    bench.interrupt();
    let said = bench.ended().ended_with(130);
    assert!(said.errors.contains("interrupted") && said.output.is_empty(), "{said:?}");
    assert!(is_empty(&temporary));
}

#[test]
fn an_interrupted_check_leaves_nothing_behind() {
    let setup = Host::prepare().with_guest("large", guest::huge(12));
    let (check, temporary) = start(&setup, &["check", "plugins/large.wasm"], Stdio::null());
    eventually("it has a folder", || (!is_empty(&temporary)).then_some(()));
    check.interrupt();
    let said = check.ended().ended_with(130);
    assert!(said.errors.contains("interrupted") && said.output.is_empty(), "{said:?}");
    assert!(is_empty(&temporary));
}

/// Types a command that needs no host, with a folder of its own for what is temporary, which is answered too.
fn start(setup: &Setup, words: &[&str], stdin: Stdio) -> (Typed, std::path::PathBuf) {
    let (temporary, caches) = (setup.folder().join("temporary"), setup.folder().join("caches"));
    std::fs::create_dir_all(&temporary).expect("the folder can be written");
    let variables: [(&str, &Path); 2] = [("TMPDIR", &temporary), ("XDG_CACHE_HOME", &caches)];
    (Typed::start(&variables, words, "http://127.0.0.1:1", stdin, setup.folder()), temporary)
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("it is there").next().is_none()
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let endless = "(call $write (i32.const 2) (text \"under way\n\")) (loop $forever (br $forever))";
    let setup = Host::prepare()
        .with_guest("endless", program::component(endless))
        .with_file("endless.toml", "scratch = true")
        .with_guest(
            "slow",
            guest::run(
                r#"(call $log (i32.const 2) (text "under way"))
            (call $block (call $subscribe_duration (i64.const 600000000000)))"#,
            ),
        );
    for plugin in ["endless", "slow"] {
        let (running, temporary) = start(&setup, &["run", &format!("plugins/{plugin}.wasm")], Stdio::null());
        running.says_in_passing("under way");
        assert!(!is_empty(&temporary), "a running job has folders");
        running.interrupt();
        let said = running.ended().ended_with(130);
        assert!(said.errors.contains("cancelled") && said.errors.contains("attempt 1"), "{}", said.errors);
        assert!(is_empty(&temporary), "{plugin}: they are gone afterwards");
    }
}

#[test]
fn a_run_can_be_interrupted_before_its_job_has_begun() {
    let setup = Host::prepare().with_guest("large", guest::huge(12)).with_guest("echo", guest::echo());
    // While the plugin is compiled, and while the input is read.
    for (words, what) in
        [(["run", "plugins/large.wasm", "-i", "1"], "compiling"), (["run", "plugins/echo.wasm", "-f", "-"], "reading")]
    {
        let (running, temporary) = start(&setup, &words, Stdio::piped());
        eventually("it has a folder", || (!is_empty(&temporary)).then_some(()));
        if what == "reading" {
            let compiled = setup.folder().join("caches/dropforge/compiled");
            eventually("the plugin is compiled", || {
                let files = std::fs::read_dir(&compiled).ok()?.flatten();
                files.map(|file| file.file_name()).any(|name| !name.to_string_lossy().starts_with('.')).then_some(())
            });
        }
        running.interrupt();
        let said = running.ended().ended_with(130);
        assert!(said.errors.contains("interrupted"), "{what}: {}", said.errors);
        assert!(is_empty(&temporary), "{what}");
    }
}

/// Fault: what was started to outlive its terminal ends with it.
#[test]
fn a_signal_that_was_to_be_ignored_stays_ignored() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_secs(600))).start();
    let id = host.submit("slow", Value::Null);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" wait \"$1\"", env!("CARGO_BIN_EXE_dropforge"), &id]);
    let command = command.env("DROPFORGE_URL", host.process().address()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut follower = command.spawn().expect("it starts");
    until_listening(&host, 1);
    rustix::process::kill_process(rustix::process::Pid::from_child(&follower), rustix::process::Signal::HUP)
        .expect("it is our child");
    host.cancel(&id);
    let status = eventually("it ends", || follower.try_wait().expect("it is our child"));
    assert_eq!(status.code(), Some(4), "the job was cancelled");
}
