//! What is owed is not forgotten: not by a killed process, a stopped one, retention or a move, only on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{host, setup};
use crate::support::answer::Answer;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{Host, eventually};

/// Fault: the process dies after a job's end was written and before anybody was told.
#[test]
fn a_host_killed_between_the_end_of_a_job_and_its_webhook_tells_it_after_the_restart() {
    let receiver = Receiver::start();
    let mut host = host(&[&receiver]);
    receiver.hold();
    let ids: Vec<String> = (0..20).map(|_| host.submit_telling("good", &receiver.url("/"))).collect();
    ids.iter().for_each(|id| drop(host.wait_for(id, "succeeded")));
    // Some are under way, the others have not been begun.
    receiver.wait_for(8);
    host.kill();
    let before = receiver.told();
    receiver.release();
    host.start_again();
    for id in &ids {
        host.webhook(id, "delivered");
    }
    let after = &receiver.told()[before.len()..];
    for id in &ids {
        let of_job: Vec<_> = after.iter().filter(|told| told.json()["data"]["id"] == **id).collect();
        assert_eq!(of_job.len(), 1, "{id} is told once by the second host");
        assert!(of_job[0].is_signed_with(SECRET));
        let earlier = before.iter().find(|told| told.json()["data"]["id"] == **id);
        assert!(earlier.is_none_or(|earlier| earlier.id() == of_job[0].id()), "under the same id");
    }
}

/// Fault: the promise is only in the memory of a process that dies before the job ends.
#[test]
fn a_webhook_promised_by_a_killed_host_is_kept_by_the_next() {
    let receiver = Receiver::start();
    let mut host = host(&[&receiver]);
    let endless = host.submit_telling("endless", &receiver.url("/endless"));
    let later = host.submit_job(json!({"kind": "good", "delay": "1s", "webhook": receiver.url("/later")}));
    host.wait_for(&endless, "running");
    for _ in 0..3 {
        host.kill_and_restart();
    }
    assert_eq!(host.job(&endless)["webhook"]["state"], "waiting");
    host.cancel(&endless);
    host.webhook(&endless, "delivered");
    host.webhook(&later, "delivered");
    let mut paths: Vec<String> = receiver.told().into_iter().map(|told| told.path).collect();
    paths.sort();
    assert_eq!(paths, ["/endless", "/later"]);
}

/// Fault: the next host forgets how often something was tried, and begins anew with short pauses.
#[test]
fn pauses_are_remembered_over_a_restart() {
    let receiver = Receiver::refusing("503 Later\r\nRetry-After: 600");
    let mut host = host(&[&receiver]);
    let id = host.submit_telling("good", &receiver.url("/"));
    let tried = |host: &Host| host.wait_until(&id, "was tried", |job| job["webhook"]["tries"] == 1)["webhook"].clone();
    let before = tried(&host);
    host.kill_and_restart();
    host.still_works();
    assert_eq!((tried(&host), receiver.told().len()), (before, 1));
}

#[test]
fn a_host_told_to_stop_ends_what_it_is_delivering() {
    let receiver = Receiver::start();
    let mut host = host(&[&receiver]);
    receiver.hold();
    let id = host.submit_telling("good", &receiver.url("/"));
    receiver.wait_for(1);
    host.process().signal(rustix::process::Signal::TERM);
    eventually("it takes nothing new", || {
        Answer::try_of(host.request(reqwest::Method::GET, "/healthz")).is_err().then_some(())
    });
    receiver.release();
    assert!(host.ended().success());
    host.start_again();
    assert_eq!(host.job(&id)["webhook"]["state"], "delivered");
    assert_eq!(receiver.told().len(), 1);
}

#[test]
fn a_receiver_that_does_not_answer_does_not_keep_a_host_from_stopping() {
    let receiver = Receiver::silent();
    let mut host = setup().telling(&[&receiver]).set("webhook_timeout", "10m").start();
    let id = host.submit_telling("good", &receiver.url("/"));
    receiver.wait_for(1);
    assert!(host.terminate().success());
    host.start_again();
    receiver.wait_for(2);
    assert_eq!((&host.job(&id)["webhook"]["state"], &host.job(&id)["webhook"]["tries"]), (&json!("due"), &json!(0)));
}

#[test]
fn a_deleted_job_tells_nobody_any_more() {
    let receiver =
        Receiver::answering(|told, _| Some(if told.path == "/dead" { "500 No" } else { "200 OK" }.to_owned()));
    let mut host = host(&[&receiver]);
    let id = host.submit_telling("good", &receiver.url("/dead"));
    receiver.wait_for(3);
    assert_eq!(Answer::of(host.request(reqwest::Method::DELETE, &format!("/v1/jobs/{id}"))).status, 204);
    // One may have been under way.
    eventually("none is in flight", || (host.webhooks("in_flight") == 0).then_some(()));
    let tries = || receiver.told().iter().filter(|told| told.path == "/dead").count();
    let so_far = tries();
    for _ in 0..10 {
        let other = host.submit_telling("good", &receiver.url("/"));
        host.webhook(&other, "delivered");
    }
    assert!(tries() <= so_far + 1, "{} after {so_far}", tries());
    assert_eq!(host.webhooks("due"), 0);
    assert!(host.terminate().success());
    assert!(host.setup().verify().status.success());
}

/// Fault: retention takes a job away of which somebody is still to be told.
#[test]
fn retention_leaves_the_record_of_a_job_until_its_end_was_told() {
    let receiver = Receiver::start();
    let host = setup().telling(&[&receiver]).set("keep", "1ms").start();
    receiver.hold();
    let told = host.submit_telling("good", &receiver.url("/"));
    let other = host.submit("good", json!(null));
    let status = |id: &str, what: &str| host.get(&format!("/v1/jobs/{id}{what}")).status;
    eventually("the other goes", || (status(&other, "") == 404).then_some(()));
    eventually("its result goes", || (status(&told, "/result") == 410).then_some(()));
    assert_eq!(host.job(&told)["webhook"]["state"], "due");
    receiver.release();
    eventually("it goes once it is told", || (status(&told, "") == 404).then_some(()));
    assert_eq!(receiver.told()[0].json()["data"]["id"], *told);
}

#[test]
fn a_webhook_is_given_up_after_its_time() {
    let receiver = Receiver::refusing("500 No");
    let host = setup().telling(&[&receiver]).set("webhook_keep_trying", "1s").start();
    let id = host.submit_telling("good", &receiver.url("/"));
    let webhook = host.webhook(&id, "given_up");
    assert_eq!(webhook["last_error"], "answered 500");
    let told = receiver.told();
    assert!(told.len() as u64 == webhook["tries"].as_u64().expect("a number") && told.len() >= 5, "{}", told.len());
    assert!(told[told.len() - 1].at - told[0].at >= Duration::from_millis(900));
    eventually("the log says so", || host.process().stderr().contains("a webhook is given up").then_some(()));
    // Who retries the job wants to know of its end again.
    assert_eq!(host.webhooks("due") + host.webhooks("waiting"), 0);
}

#[test]
fn an_export_carries_what_is_owed_and_a_check_of_the_folder_knows_it() {
    let receiver =
        Receiver::answering(|told, _| Some(if told.path == "/told" { "200 OK" } else { "500 No" }.to_owned()));
    let mut host = host(&[&receiver]);
    let told = host.submit_telling("good", &receiver.url("/told"));
    let before = host.webhook(&told, "delivered");
    let owed = host.submit_telling("good", &receiver.url("/owed?key=hush"));
    let waiting = host.submit_job(json!({"kind": "good", "delay": "1h", "webhook": receiver.url("/waiting")}));
    receiver.wait_for(4);
    assert!(host.terminate().success());
    let verdict = host.setup().verify();
    assert!(verdict.status.success() && verdict.stdout[0].contains("3 webhooks"), "{verdict:?}");
    host.setup().move_data();
    assert!(host.setup().verify().stdout[0].contains("3 webhooks"));
    let so_far = receiver.told().len();
    host.start_again();
    assert_eq!(host.job(&told)["webhook"], before);
    assert_eq!(host.job(&waiting)["webhook"]["state"], "waiting");
    let again = receiver.wait_for(so_far + 1).pop().expect("it goes on");
    assert_eq!((again.path.as_str(), &again.json()["data"]["id"]), ("/owed?key=hush", &json!(owed)));
}

/// Fault: a clock that is wrong for a minute gives up whatever was tried a few times, or puts it off until the clock comes there again.
#[test]
fn a_clock_that_jumps_gives_up_no_webhook_and_puts_none_off() {
    let is_well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&is_well);
    let receiver = Receiver::answering(move |_, _| {
        Some(if says.load(Ordering::Relaxed) { "200 OK" } else { "500 No" }.to_owned())
    });
    let setup = setup().telling(&[&receiver]);
    let clock = setup.folder().join("clock");
    let host = setup.set("test_clock", clock.display()).start();
    let set = |hours: i64| {
        let new = clock.with_extension("new");
        std::fs::write(&new, (hours * 60 * 60 * 1000).to_string()).expect("writable");
        // Never read half written.
        std::fs::rename(new, &clock).expect("a file can be renamed");
    };
    let id = host.submit_telling("good", &receiver.url("/"));
    receiver.wait_for(6);
    let mut tries = 6;
    for hours in [48, 0, -48, 0] {
        set(hours);
        // Tried again and again, as if nothing had happened; some of these may have been under way before.
        receiver.wait_for(tries + 10);
        tries = receiver.told().len();
        assert_eq!(host.job(&id)["webhook"]["state"], "due", "{hours} hours");
    }
    is_well.store(true, Ordering::Relaxed);
    host.webhook(&id, "delivered");
}
