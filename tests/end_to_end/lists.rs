//! Lists of jobs, kinds and files.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Host, guest};

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().unwrap_or_else(|| panic!("no list in {page}"));
    jobs.iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
}

/// Every id from the newest page to the oldest, and how many pages that took.
fn walk(host: &Host, query: &str) -> (Vec<String>, usize) {
    let (mut walked, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = host.get(&format!("/v1/jobs?{query}{cursor}")).json();
        walked.extend(ids(&page));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (walked, pages),
        }
        assert!(pages < 100, "the pages do not end");
    }
}

#[test]
fn the_pages_of_a_list_hold_every_job_once_newest_first() {
    let host = Host::start();
    let mut submitted: Vec<String> = (0..25).map(|_| host.submit("good", Value::Null)).collect();
    submitted.reverse();
    for (limit, pages) in [(1, 25), (7, 4), (25, 1), (1000, 1)] {
        assert_eq!(walk(&host, &format!("limit={limit}")), (submitted.clone(), pages), "limit {limit}");
    }
    assert_eq!(ids(&host.get("/v1/jobs").json()), submitted);
}

#[test]
fn jobs_that_come_meanwhile_do_not_disturb_a_walk() {
    let host = Host::start();
    let before: HashSet<String> = (0..20).map(|_| host.submit("good", Value::Null)).collect();
    let first = host.get("/v1/jobs?limit=5").json();
    host.submit("good", Value::Null);
    let cursor = first["next_cursor"].as_str().expect("there are more");
    let rest = ids(&host.get(&format!("/v1/jobs?limit=1000&cursor={cursor}")).json());
    let walked: Vec<String> = ids(&first).into_iter().chain(rest).collect();
    assert_eq!((walked.len(), walked.into_iter().collect::<HashSet<_>>()), (20, before));
}

#[test]
fn a_list_can_be_narrowed_by_kind_state_and_tag() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("endless", guest::endless());
    let host = host.set("workers", 1).start();
    let done = host.submit_job(json!({"kind": "good", "tags": ["red", "round"]}));
    host.wait_for(&done, "succeeded");
    let running = host.submit_job(json!({"kind": "endless", "tags": ["red"]}));
    host.wait_for(&running, "running");
    let queued = host.submit_job(json!({"kind": "good", "tags": ["blue"]}));
    let later = host.submit_job(json!({"kind": "good", "delay": "1h"}));
    let gone = host.submit("endless", Value::Null);
    host.cancel(&gone);
    for (query, expected) in [
        ("kind=good", vec![&later, &queued, &done]),
        ("kind=endless", vec![&gone, &running]),
        ("kind=absent", vec![]),
        ("state=succeeded", vec![&done]),
        ("state=running", vec![&running]),
        ("state=queued", vec![&queued]),
        ("state=scheduled", vec![&later]),
        ("state=cancelled", vec![&gone]),
        ("state=failed", vec![]),
        ("tag=red", vec![&running, &done]),
        ("tag=round", vec![&done]),
        ("tag=green", vec![]),
        ("tag=red&kind=good", vec![&done]),
        ("tag=blue&state=running", vec![]),
    ] {
        assert_eq!(ids(&host.get(&format!("/v1/jobs?{query}")).json()).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    // A filter holds on every page.
    let (walked, _) = walk(&host, "kind=good&limit=1");
    assert_eq!(walked.iter().collect::<Vec<_>>(), [&later, &queued, &done]);
}

#[test]
fn wrong_list_queries_are_refused_by_name() {
    let host = Host::start();
    for (query, name) in [
        ("stat=running", "stat"),
        ("state=done", "state"),
        ("kind=Not+A+Kind", "kind"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("cursor=xyz", "cursor"),
    ] {
        let problem = host.get(&format!("/v1/jobs?{query}")).refused(422, "invalid_option");
        assert_eq!(problem["errors"][0]["parameter"], name, "{problem}");
    }
}

#[test]
fn a_kind_shows_what_it_reads_and_what_its_jobs_may_use() {
    let host = Host::prepare().with_plugin("message").with_guest("good", guest::good()).set("memory_bytes", 100 << 20);
    let host = host.start();
    let list = host.get("/v1/kinds").json();
    let names: Vec<_> = list["kinds"].as_array().expect("a list").iter().map(|kind| &kind["kind"]).collect();
    assert_eq!(names, ["good", "message"]);

    let kind = host.get("/v1/kinds/message").json();
    assert_eq!(kind, list["kinds"][1]);
    assert!(kind["summary"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(kind["input"]["media_types"], json!(["application/json"]));
    assert_eq!(kind["input"]["schema"]["required"], json!(["message"]));
    assert_eq!(kind["parameters"]["additionalProperties"], false);
    assert_eq!(kind["output"]["media_type"], "application/json");
    assert_eq!(kind["limits"]["timeout_ms"], 60_000);
    assert_eq!(kind["limits"]["memory_bytes"], 100 << 20);
    assert_eq!(kind["limits"]["output_bytes"], 256 << 20);
    let example = &kind["examples"][1]["input"];
    assert_eq!(host.output(&host.submit("message", example.clone())), br#"{"message":"hi"}"#);
}

#[test]
fn a_kind_counts_its_jobs() {
    let host = Host::prepare().with_guest("endless", guest::endless()).set("workers", 1).start();
    let first = host.submit("endless", Value::Null);
    host.wait_for(&first, "running");
    host.submit("endless", Value::Null);
    host.submit_job(json!({"kind": "endless", "delay": "1h"}));
    let counts = || host.get("/v1/kinds/endless").json()["counts"].clone();
    let expected = json!({"scheduled": 1, "blocked": 0, "queued": 1, "running": 1, "succeeded": 0, "failed": 0,
                          "cancelled": 0});
    assert_eq!(counts(), expected);
    host.cancel(&first);
    crate::support::eventually("the next one runs", || {
        let counts = counts();
        (counts["cancelled"] == 1 && counts["running"] == 1 && counts["queued"] == 0).then_some(())
    });
}

#[test]
fn the_plugin_list_shows_every_file_with_its_state() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("bad", b"nonsense").start();
    let list = host.get("/v1/plugins").json();
    let [bad, good] = &list["plugins"].as_array().expect("a list")[..] else { panic!("{list}") };
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(guest::good()));
    let (since, size) = (&good["since"], guest::good().len());
    let expected = json!({
        "file": "good.wasm", "kind": "good", "state": "serving", "reason": null, "digest": digest, "same_as": [],
        "step": null, "since": since, "size": size
    });
    assert_eq!(*good, expected);
    assert!(since.as_str().is_some_and(|since| since.ends_with('Z')), "{good}");
    assert_eq!((&bad["file"], &bad["kind"], &bad["state"]), (&json!("bad.wasm"), &json!("bad"), &json!("rejected")));
    assert!(bad["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{bad}");
}
