//! Ctrl-C: nothing is left in the dark, and nothing is left behind.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::command::Typed;
use crate::support::{Host, Setup, eventually, guest, program};

#[test]
fn an_interrupted_follower_says_what_becomes_of_the_job() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_secs(600))).start();
    let submit = host.types(&["submit", "slow", "--wait"]);
    let id = eventually("the job is there", || Some(host.get("/v1/jobs").json()["jobs"][0]["id"].as_str()?.to_owned()));
    let also = host.types(&["wait", &id]);
    let for_programs = host.types(&["wait", &id, "--json"]);
    host.wait_for(&id, "running");
    // All three follow it by the time they are interrupted.
    eventually("they listen", || {
        let metrics = host.get("/metrics").text();
        let listeners = metrics.lines().find_map(|line| line.strip_prefix("dropforge_listeners "))?;
        (listeners.parse::<f64>().ok()? >= 3.0).then_some(())
    });
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

/// Types `dropforge run`, with a folder of its own for what is temporary, which is answered too.
fn run(setup: &Setup, words: &[&str], stdin: Stdio) -> (Typed, std::path::PathBuf) {
    let (temporary, caches) = (setup.folder().join("temporary"), setup.folder().join("caches"));
    std::fs::create_dir_all(&temporary).expect("the folder can be written");
    let variables: [(&str, &Path); 2] = [("TMPDIR", &temporary), ("XDG_CACHE_HOME", &caches)];
    let words = [&["run"], words].concat();
    (Typed::start(&variables, &words, "http://127.0.0.1:1", stdin, setup.folder()), temporary)
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
        let (running, temporary) = run(&setup, &[&format!("plugins/{plugin}.wasm")], Stdio::null());
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
        [(["plugins/large.wasm", "-i", "1"], "compiling"), (["plugins/echo.wasm", "-f", "-"], "reading")]
    {
        let (running, temporary) = run(&setup, &words, Stdio::piped());
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
