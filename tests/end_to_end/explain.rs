//! Why a job is not running yet, and when it may be.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::{Host, eventually, guest};

fn explain(host: &Host, id: &str) -> Value {
    let answer = host.get(&format!("/v1/jobs/{id}/explain"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let explained = answer.json();
    assert_eq!(explained["id"], id);
    assert!(explained["sentence"].as_str().is_some_and(|text| text.ends_with('.')), "{explained}");
    explained
}

fn rule(host: &Host, id: &str) -> String {
    explain(host, id)["rule"].as_str().expect("a rule").to_owned()
}

#[test]
fn each_rule_that_holds_a_job_back_is_named() {
    let fails = guest::run(r#"(return (call $fail (i32.const 2) (text "busy")))"#);
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("fails", fails);
    let host = host.with_guest("endless", guest::endless()).set("workers", 1).set("retry_pause", "1h");
    let host = host.set("retry_pause_max", "1h").start();

    let done = host.submit("good", Value::Null);
    host.wait_for(&done, "succeeded");
    assert_eq!((rule(&host, &done).as_str(), &explain(&host, &done)["estimate"]), ("finished", &Value::Null));

    let delayed = host.submit_job(json!({"kind": "good", "delay": "1h"}));
    let explained = explain(&host, &delayed);
    assert_eq!((&explained["rule"], &explained["until"]), (&json!("delay"), &host.job(&delayed)["run_at"]));
    assert!(explained["estimate"]["starts_in_ms"].as_u64() > Some(3_500_000), "{explained}");

    let failed = host.submit("fails", Value::Null);
    host.wait_for(&failed, "scheduled");
    let explained = explain(&host, &failed);
    assert_eq!(explained["rule"], "backoff");
    assert!(
        explained["sentence"]
            .as_str()
            .is_some_and(|text| text.contains("transient") && text.contains("attempt 2 of 3"))
    );

    let endless = host.submit("endless", Value::Null);
    host.wait_for(&endless, "running");
    assert_eq!(rule(&host, &endless), "running");
    let (first, second) = (host.submit("good", Value::Null), host.submit("good", Value::Null));
    let explained = explain(&host, &second);
    assert_eq!((&explained["rule"], &explained["position"]), (&json!("no_free_slot"), &json!(2)));
    assert_eq!((&explained["running"], &explained["workers"]), (&json!(1), &json!(1)));
    assert_eq!(explain(&host, &first)["position"], 1);

    std::fs::remove_file(host.setup().plugins().join("good.wasm")).expect("the file is there");
    eventually("the kind is retired", || (host.get("/v1/kinds/good").status == 404).then_some(()));
    let explained = explain(&host, &first);
    assert_eq!((&explained["rule"], &explained["estimate"]), (&json!("plugin_missing"), &Value::Null));
    host.get("/v1/jobs/none/explain").refused(404, "unknown_job");
}

#[test]
fn estimates_come_from_measured_runs_and_tell_clients_when_to_ask_again() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_millis(2_200)));
    let host = host.with_guest("endless", guest::endless()).set("workers", 1).set("queue_max", 4).start();
    let answer = host.post_job(&json!({"kind": "slow"}));
    assert_eq!(answer.header("retry-after"), "1", "nothing was measured yet");
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(explain(&host, &id)["estimate"], Value::Null);
    host.wait_for(&id, "succeeded");

    // A computing job keeps the one worker; those of the other kind wait for it.
    let endless = host.submit("endless", Value::Null);
    host.wait_for(&endless, "running");
    let jobs: Vec<String> = (0..3).map(|_| host.submit("slow", Value::Null)).collect();
    let last = host.post_job(&json!({"kind": "slow"}));
    assert!((8..=12).contains(&last.header("retry-after").parse::<u32>().expect("a number")), "{:?}", last.headers);
    let estimate = explain(&host, &jobs[2])["estimate"].clone();
    let starts_in = estimate["starts_in_ms"].as_u64().expect("a number");
    let ends_in = estimate["ends_in_ms"].as_u64().expect("a number");
    assert!((4_400..6_000).contains(&starts_in) && (2_200..3_000).contains(&(ends_in - starts_in)), "{estimate}");
    let full = host.post_job(&json!({"kind": "slow"}));
    full.refused(503, "queue_full");
    assert_eq!(full.header("retry-after"), "3");
    let pending = host.result(&jobs[0]);
    assert!((8..=12).contains(&pending.header("retry-after").parse::<u32>().expect("a number")));
}

/// Fault: the workers are idle, nothing is paused, and nobody says why the job does not start.
#[test]
fn a_kinds_own_limit_is_named_as_what_holds_its_jobs_back() {
    let slow = guest::sleeping(Duration::from_secs(3600));
    let host = Host::prepare().with_guest("slow", slow).with_file("slow.toml", "concurrency = 2");
    let host = host.with_guest("good", guest::good()).set("workers", 4).start();
    let jobs: Vec<String> = (0..4).map(|_| host.submit("slow", Value::Null)).collect();
    jobs[..2].iter().for_each(|id| drop(host.wait_for(id, "running")));
    let explained = explain(&host, &jobs[3]);
    assert_eq!((&explained["rule"], &explained["position"]), (&json!("concurrency"), &json!(2)), "{explained}");
    let sentence = explained["sentence"].as_str().expect("a sentence");
    assert!(
        sentence.contains("slow") && sentence.contains("(2)") && sentence.contains("1 job of its kind"),
        "{sentence}"
    );
    // One place is free again, and the first of those that wait has it.
    host.cancel(&jobs[0]);
    host.wait_for(&jobs[2], "running");
    assert_eq!((rule(&host, &jobs[3]).as_str(), &explain(&host, &jobs[3])["position"]), ("concurrency", &json!(1)));
    host.still_works();
}

#[test]
fn estimates_count_with_a_kinds_own_limit() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(Duration::from_millis(1_000)));
    let host = host.with_file("slow.toml", "concurrency = 1").set("workers", 4).start();
    host.wait_for(&host.submit("slow", Value::Null), "succeeded");
    let jobs: Vec<String> = (0..5).map(|_| host.submit("slow", Value::Null)).collect();
    host.wait_for(&jobs[0], "running");
    // Behind the one that runs, three go first, one at a time.
    let explained = explain(&host, &jobs[4]);
    let starts_in = explained["estimate"]["starts_in_ms"].as_u64().expect("a number");
    let position = explained["position"].as_u64().expect("a number");
    assert!((position * 1_000..position * 1_500).contains(&starts_in), "{explained}");
}

#[test]
fn a_job_that_is_scheduled_far_off_is_not_to_be_asked_for_every_second() {
    let host = Host::start();
    let answer = host.post_job(&json!({"kind": "good", "delay": "2m"}));
    assert!((115..=121).contains(&answer.header("retry-after").parse::<u32>().expect("a number")));
    let answer = host.post_job(&json!({"kind": "good", "delay": "48h"}));
    assert_eq!(answer.header("retry-after"), "3600");
}

#[test]
fn a_plugin_that_is_compiled_or_was_rejected_is_named_as_what_its_jobs_wait_for() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("endless", guest::endless());
    let host = host.set("workers", 1).start();
    let endless = host.submit("endless", Value::Null);
    host.wait_for(&endless, "running");
    let waiting = host.submit("good", Value::Null);
    std::fs::remove_file(host.setup().plugins().join("good.wasm")).expect("the file is there");
    eventually("the kind is retired", || (host.get("/v1/kinds/good").status == 404).then_some(()));
    host.drop_file("good.wasm", "this is no plugin");
    eventually("it is rejected", || (rule(&host, &waiting) == "plugin_rejected").then_some(()));
    let explained = explain(&host, &waiting);
    let file = host.get("/v1/plugins").json()["plugins"][1].clone();
    let reason = file["reason"].as_str().expect("it was rejected for a reason");
    let sentence = explained["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains("good.wasm") && sentence.contains(reason), "{sentence}");
    assert_eq!(explained["estimate"], Value::Null);
    // Megabytes of code take a moment.
    host.drop_file("good.wasm", crate::support::shipped("plugins/pdf-to-png.wasm"));
    eventually("it is compiled", || (rule(&host, &waiting) == "plugin_compiling").then_some(()));
    eventually("it serves", || (rule(&host, &waiting) == "no_free_slot").then_some(()));
}

/// Fault: jobs that were running when the host died wait for each other, and nobody says why.
#[test]
fn a_suspect_that_waits_for_another_says_so() {
    let crasher = guest::run(
        r#"(loop $burn
             (local.set $deadline (i64.sub (local.get $deadline) (i64.const 1000)))
             (br_if $burn (i64.gt_s (local.get $deadline) (i64.const 0))))
           (call $log (i32.const 4) (text "boom"))
           (return (call $done (text "text/plain") (text "the host did not die")))"#,
    );
    let host = Host::prepare().with_guest("endless", guest::endless()).with_guest("crasher", crasher);
    let host = host.with_guest("good", guest::good()).set("test_crash_word", "boom").set("crashes_max", 100);
    let mut host = host.set("workers", 5).start();
    let mut jobs: Vec<String> = (0..3).map(|_| host.submit("endless", Value::Null)).collect();
    jobs.iter().for_each(|id| drop(host.wait_for(id, "running")));
    jobs.push(host.submit("crasher", Value::Null));
    // Only those are suspects that were computing at that very moment, which may be the crasher alone: then it is as before.
    let explained = eventually("one of the jobs waits for another", || {
        let ask = |id: &String| Answer::try_of(host.request(Method::GET, &format!("/v1/jobs/{id}/explain"))).ok();
        let answers: Option<Vec<Value>> = jobs.iter().map(|id| Some(ask(id)?.json())).collect();
        if answers.is_none() {
            host.kill();
            host.start_again();
        }
        answers?.into_iter().find(|explained| explained["rule"] == "suspect")
    });
    assert!(explained["sentence"].as_str().is_some_and(|sentence| sentence.contains("died")), "{explained}");
    // Innocent jobs go on meanwhile.
    assert_eq!(host.output(&host.submit("good", Value::Null)), b"ok");
}
