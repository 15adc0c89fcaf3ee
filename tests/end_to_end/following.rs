//! Commands that follow jobs, while the host they follow goes away and comes back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::command::say;
use crate::support::door::Door;
use crate::support::{Host, eventually, guest, program};

/// Logs a line, waits, logs another one. Waits for three seconds in all.
fn talker() -> Vec<u8> {
    guest::run(
        r#"(call $log (i32.const 2) (text "begin"))
           (call $block (call $subscribe_duration (i64.const 3000000000)))
           (call $log (i32.const 4) (text "end"))
           (return (call $done (text "text/plain") (text "ok")))"#,
    )
}

/// What a log says, without its times: those are not known any more once an attempt has ended.
fn told(text: &str) -> Vec<(u64, String)> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("NDJSON"));
    let told =
        |line: Value| (line["attempt"].as_u64().expect("a number"), line["message"].as_str().expect("text").into());
    lines.map(told).collect()
}

fn line(attempt: u64, message: &str) -> (u64, String) {
    (attempt, message.to_owned())
}

#[test]
fn a_job_is_followed_across_a_restart_of_its_host() {
    let mut host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_secs(2))).start();
    let id = host.submit("slow", Value::Null);
    host.wait_for(&id, "running");
    let door = Door::to(&host);
    let follower = door.types(&host, &["wait", &id]);
    door.was_told("event: state");
    host.kill();
    follower.says_in_passing("the host went away");
    host.start_again();
    door.lead_to(&host);
    let said = follower.ended().ended_with(0);
    assert!(said.text().contains("succeeded") && said.text().contains(&id), "{said:?}");
    assert!(said.errors.contains("the host is back"), "{said:?}");
    assert!(door.entered() > 1, "it came again");
}

#[test]
fn a_log_is_followed_across_the_death_of_its_host() {
    let mut host = Host::prepare().with_guest("talker", talker()).start();
    let id = host.submit("talker", Value::Null);
    let door = Door::to(&host);
    let follower = door.types(&host, &["logs", &id, "--follow", "--json"]);
    eventually("the first line is shown", || follower.output().contains("begin").then_some(()));
    host.kill();
    follower.says_in_passing("host_away");
    host.start_again();
    door.lead_to(&host);
    let said = follower.ended().ended_with(0);
    assert_eq!(host.job(&id)["state"], "succeeded", "it ended after the job did");
    // The first line was written twice: the attempt was made again from its beginning.
    assert_eq!(told(&said.text()), [line(1, "begin"), line(1, "begin"), line(1, "end")], "{said:?}");
    let notes: Vec<Value> = said.errors.lines().map(|note| serde_json::from_str(note).expect("JSON")).collect();
    assert_eq!((&notes[0]["note"], &notes[1]["note"]), (&json!("host_away"), &json!("host_back")), "{said:?}");
}

/// Fault: of a long attempt that was handed back the host keeps the end and no times, which looks like what the next run writes; it is shown
/// again, or what the next run writes is taken for it and left out.
#[test]
fn of_a_log_nothing_is_repeated_and_nothing_left_out_however_its_host_is_started_again() {
    let chatty = guest::run(
        r#"(loop $again
             (call $log (i32.const 2) (text "the same line"))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $i) (i32.const 120))))
           (call $block (call $subscribe_duration (i64.const 5000000000)))
           (call $log (i32.const 2) (text "last"))
           (return (call $done (text "text/plain") (text "ok")))"#,
    );
    let mut host = Host::prepare().with_guest("chatty", chatty).set("grace", "10ms").start();
    let id = host.submit("chatty", Value::Null);
    let door = Door::to(&host);
    let follower = door.types(&host, &["logs", &id, "--follow", "--json"]);
    let shown = |lines| eventually("a run is shown", || (follower.output().lines().count() == lines).then_some(()));
    shown(120);
    assert!(host.terminate().success());
    host.start_again();
    door.lead_to(&host);
    shown(240);
    host.kill();
    host.start_again();
    door.lead_to(&host);
    shown(360);
    assert!(host.terminate().success());
    host.start_again();
    door.lead_to(&host);
    let said = follower.ended().ended_with(0);
    let all = told(&said.text());
    assert_eq!((all.len(), all.last()), (4 * 120 + 1, Some(&line(1, "last"))));
    assert!(all[..4 * 120].iter().all(|told| *told == line(1, "the same line")), "no line is missing: {all:?}");
    let ids: Vec<Value> = said.text().lines().map(|line| serde_json::from_str(line).expect("NDJSON")).collect();
    let ids: std::collections::HashSet<&str> = ids.iter().filter_map(|line| line["id"].as_str()).collect();
    assert_eq!(ids.len(), all.len(), "no line is shown twice");
}

#[test]
fn a_log_goes_on_where_it_was_when_its_connection_breaks() {
    let chatty = guest::run(
        r#"(loop $again
             (call $log (i32.const 2) (text "the same line"))
             (call $block (call $subscribe_duration (i64.const 20000000)))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $i) (i32.const 45))))
           (call $log (i32.const 2) (text "last"))
           (if (i32.lt_u (local.get $attempt) (i32.const 2))
             (then (return (call $fail (i32.const 2) (text "not yet")))))
           (return (call $done (text "text/plain") (text "ok")))"#,
    );
    let host = Host::prepare().with_guest("chatty", chatty).set("retry_pause", "300ms").start();
    let id = host.submit("chatty", Value::Null);
    let door = Door::to(&host);
    let follower = door.types(&host, &["logs", &id, "--follow", "--json"]);
    for entered in [2, 4] {
        let before = follower.output().lines().count();
        eventually("more is shown", || (follower.output().lines().count() > before + 5).then_some(()));
        door.cut();
        door.was_entered(entered / 2 + 1);
    }
    let said = follower.ended().ended_with(0);
    let afterwards = host.says(&["logs", &id, "--json"]).ended_with(0).text();
    assert_eq!(told(&afterwards).len(), 92);
    assert_eq!(told(&said.text()), told(&afterwards), "each line once, and none is missing");
}

#[test]
fn a_follower_gives_up_on_a_host_that_stays_away() {
    let mut host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_secs(600))).start();
    let id = host.submit("slow", Value::Null);
    host.wait_for(&id, "running");
    let words: [&[&str]; 3] = [&["logs", &id, "--follow"], &["wait", &id], &["list", "--watch", "--json"]];
    let door = Door::to(&host);
    let followers: Vec<_> =
        words.iter().map(|words| door.types(&host, &[words, &["--patience", "1s"][..]].concat())).collect();
    door.was_entered(followers.len());
    host.kill();
    for follower in followers {
        let said = follower.ended().ended_with(10);
        assert!(said.errors.contains("no host answers"), "{said:?}");
    }
}

#[test]
fn a_host_that_never_was_there_is_not_waited_for() {
    let setup = Host::prepare();
    for words in [&["logs", "x", "--follow"][..], &["wait", "x"], &["list", "--watch", "--json"]] {
        let said = say(words, "http://127.0.0.1:1", b"", setup.folder()).ended_with(10);
        assert!(!said.errors.contains("went away"), "{said:?}");
    }
}

#[test]
fn changes_are_told_across_a_restart_of_the_host() {
    let mut host = Host::prepare()
        .with_guest("slow", guest::sleeping(Duration::from_secs(2)))
        .with_guest("good", guest::good())
        .start();
    let before = host.submit("slow", Value::Null);
    host.wait_for(&before, "running");
    let door = Door::to(&host);
    let watcher = door.types(&host, &["list", "--watch", "--json"]);
    let told = |id: &str| -> Vec<String> {
        let lines = watcher.output();
        let jobs = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("NDJSON"));
        jobs.filter(|job| job["id"] == *id).map(|job| job["state"].as_str().expect("a state").to_owned()).collect()
    };
    let first = eventually("it listens", || {
        let id = host.submit("good", Value::Null);
        host.wait_for(&id, "succeeded");
        (!told(&id).is_empty()).then_some(id)
    });
    eventually("the end of a job is told", || (told(&first).last()? == "succeeded").then_some(()));
    door.close();
    door.cut();
    host.kill_and_restart();
    host.wait_for(&before, "succeeded");
    let meanwhile = host.submit("good", Value::Null);
    host.wait_for(&meanwhile, "succeeded");
    door.lead_to(&host);
    for id in [&before, &meanwhile] {
        eventually("what happened meanwhile is told", || (told(id).last()? == "succeeded").then_some(()));
    }
    let afterwards = host.submit("good", Value::Null);
    eventually("what happens now is told", || (told(&afterwards).last()? == "succeeded").then_some(()));
    for id in [&first, &before, &meanwhile, &afterwards] {
        assert_eq!(told(id).iter().filter(|state| *state == "succeeded").count(), 1, "{}", watcher.output());
    }
    assert!(watcher.errors().contains("host_away") && watcher.errors().contains("host_back"), "{}", watcher.errors());
}

#[test]
fn a_failed_job_says_why_and_what_it_wrote_last() {
    let lines: String =
        (1..=12).map(|number| format!("(call $write (i32.const 2) (text \"line {number}\n\"))")).collect();
    let tool = program::component(&format!("{lines} (call $exit (i32.const 3))"));
    let host = Host::prepare().with_guest("tool", tool).start();
    let said = host.says(&["submit", "tool", "--wait"]).ended_with(3);
    let id = host.get("/v1/jobs").json()["jobs"][0]["id"].as_str().expect("an id").to_owned();
    for words in ["plugin_error", "line 12", "line 3", &format!("`dropforge logs {id}`")] {
        assert!(said.errors.contains(words), "{words}: {}", said.errors);
    }
    assert!(!said.errors.contains("line 2\n"), "ten lines are enough: {}", said.errors);
    let said = host.says(&["wait", &id]).ended_with(3);
    assert!(said.text().contains("plugin_error") && said.text().contains("line 12"), "{said:?}");
    assert!(!said.errors.contains("line 12"), "once is enough: {said:?}");
    let said = host.says(&["submit", "tool", "--wait", "--json"]).ended_with(3);
    assert_eq!((said.json()["usage"][0]["log"][0].as_str(), said.errors.as_str()), (Some("line 1"), ""));
}

#[test]
fn a_kind_that_is_being_compiled_is_waited_for() {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    let echo = || [guest::echo(), guest::huge(12).split_off(guest::good().len())].concat();
    for (name, input) in [("one", None), ("two", Some("[2]"))] {
        host.drop_file(&format!("{name}.wasm"), echo());
        eventually("it is being compiled", || {
            let files = host.get("/v1/plugins").json();
            let file = files["plugins"].as_array()?.iter().find(|file| file["kind"] == name)?.clone();
            assert_ne!(file["state"], "serving", "the file is too small for this test");
            (file["state"] == "compiling").then_some(())
        });
        let said = host.says(&["submit", name, "-i", "[1]", "--patience", "10ms"]).ended_with(9);
        assert!(said.errors.contains("not ready"), "{}", said.errors);
        let said = match input {
            None => host.says(&["submit", name, "--wait", "-i", "[1]"]),
            Some(input) => host.says_reading(&["submit", name, "--wait", "-"], input.as_bytes()),
        };
        let said = said.ended_with(0);
        assert_eq!(said.text(), input.unwrap_or("[1]"));
        assert!(said.errors.contains(&format!("{name} is not ready yet: {name}.wasm")), "{}", said.errors);
        assert!(said.errors.contains("; waiting for it, up to 1 m"), "{}", said.errors);
    }
    host.still_works();
}

/// Whoever refuses a large input does not read it first, and the connection breaks while it is being sent.
#[test]
fn a_large_input_does_not_hide_why_it_is_refused() {
    let host = Host::prepare().with_guest("good", guest::good()).start();
    let large = vec![b'x'; 8 << 20];
    std::fs::write(host.setup().folder().join("large"), &large).expect("the folder can be written");
    for _ in 0..5 {
        let said = host.says(&["submit", "god", "--file", "large"]).ended_with(6);
        assert!(said.errors.contains("did you mean good?"), "{}", said.errors);
        host.says_reading(&["submit", "god", "-"], &large).ended_with(6);
    }
    host.drop_file("late.wasm", [guest::good(), guest::huge(12).split_off(guest::good().len())].concat());
    eventually("it is listed", || host.get("/v1/plugins").text().contains("late.wasm").then_some(()));
    assert_eq!(host.says(&["submit", "late", "large", "--wait"]).ended_with(0).text(), "ok");
    assert_eq!(host.get("/v1/jobs?kind=late").json()["jobs"].as_array().map(Vec::len), Some(1), "one job, not several");
}
