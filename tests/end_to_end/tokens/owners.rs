//! Whose a job or an upload is: nobody gets to what another token brought, by any way and at any time.

use reqwest::Method;
use serde_json::{Value, json};

use super::{submit_as, until_known, wait_as};
use crate::support::answer::Answer;
use crate::support::{Host, accepted, guest, sse};

#[test]
fn nobody_gets_to_a_job_of_another_token_by_any_way() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("echo", guest::echo());
    let [one, two] = [(); 2].map(|()| setup.new_token(&[]));
    let admin = setup.new_token(&["--scope", "admin"]);
    let host = setup.start();
    let mut heard = sse::Stream::of(host.request_as(&two, Method::GET, "/v1/events"), None);
    assert!(heard.next_or_comment().is_some(), "it listens");
    let id = submit_as(&host, &one, json!({"kind": "good"}));
    let delayed = submit_as(&host, &one, json!({"kind": "good", "delay": "1h"}));
    assert_eq!(wait_as(&host, &one, &id).status, 200);
    for (method, below) in [
        (Method::GET, ""),
        (Method::GET, "/result"),
        (Method::GET, "/artifacts"),
        (Method::GET, "/artifacts/a"),
        (Method::GET, "/artifacts.zip"),
        (Method::GET, "/logs"),
        (Method::GET, "/logs?follow=true"),
        (Method::GET, "/explain"),
        (Method::GET, "/events"),
        (Method::POST, "/cancel"),
        (Method::POST, "/retry"),
        (Method::DELETE, ""),
    ] {
        for id in [&id, &delayed] {
            let answer = Answer::of(host.request_as(&two, method.clone(), &format!("/v1/jobs/{id}{below}")));
            let foreign = answer.refused(404, "unknown_job");
            let nowhere = "00000000-0000-7000-8000-000000000000";
            let missing = Answer::of(host.request_as(&two, method.clone(), &format!("/v1/jobs/{nowhere}{below}")));
            assert_eq!(
                foreign,
                missing.refused(404, "unknown_job"),
                "{method} {below}: nothing tells one from the other"
            );
        }
    }
    let count = |token: &str, query: &str| {
        host.get_as(token, &format!("/v1/jobs{query}")).json()["jobs"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((count(&one, ""), count(&two, ""), count(&two, "?state=scheduled"), count(&admin, "")), (2, 0, 0, 2));
    // Neither as it happens nor afterwards.
    let own = submit_as(&host, &two, json!({"kind": "good"}));
    wait_as(&host, &two, &own);
    let begin = "0-0";
    for event in [heard.next().expect("its own"), heard.next().expect("its own")] {
        assert_eq!(event.data["id"], own.as_str(), "{event:?}");
    }
    let mut before = sse::Stream::of(host.request_as(&one, Method::GET, "/v1/events"), Some(begin));
    assert_eq!(before.next().map(|event| event.name).as_deref(), Some("resync"));
    let position = sse::Stream::of(host.request_as(&one, Method::GET, &format!("/v1/jobs/{id}/events")), None);
    let position = position.rest().pop().expect("its state").id;
    submit_as(&host, &one, json!({"kind": "good"}));
    let last = submit_as(&host, &two, json!({"kind": "good"}));
    let mut resumed = sse::Stream::of(host.request_as(&two, Method::GET, "/v1/events"), Some(&position));
    assert_eq!(resumed.next().expect("its own").data["id"], last.as_str());
    // The same key of another is another key.
    let keyed = |token: &str, input: &str| {
        let body = json!({"kind": "echo", "input": input}).to_string();
        accepted(&Answer::of(
            host.request_as(token, Method::POST, "/v1/jobs").header("idempotency-key", "k").body(body),
        ))
    };
    let (ones, twos) = (keyed(&one, "a"), keyed(&two, "b"));
    assert!(ones != twos && keyed(&one, "a") == ones && keyed(&two, "b") == twos);
    // Whoever administers the host sees and ends all.
    assert_eq!(host.get_as(&admin, &format!("/v1/jobs/{id}/result")).status, 200);
    assert_eq!(host.post_as(&admin, &format!("/v1/jobs/{delayed}/cancel"), "").json()["state"], "cancelled");
    assert_eq!(Answer::of(host.request_as(&one, Method::DELETE, &format!("/v1/jobs/{id}"))).status, 204);
}

#[test]
fn owners_outlive_the_process_an_export_and_an_import() {
    let mut host = Host::start();
    let nobodys = host.submit("good", Value::Null);
    host.wait(&nobodys);
    let [one, two] = [(); 2].map(|()| host.setup().new_token(&[]));
    let admin = host.setup().new_token(&["--scope=admin"]);
    until_known(&host, &admin);
    let id = submit_as(&host, &one, json!({"kind": "good"}));
    wait_as(&host, &one, &id);
    let check = |host: &Host| {
        let statuses =
            |id: &str| [&one, &two, &admin].map(|token| host.get_as(token, &format!("/v1/jobs/{id}")).status);
        assert_eq!((statuses(&id), statuses(&nobodys)), ([200, 404, 200], [404, 404, 200]));
    };
    check(&host);
    host.kill_and_restart();
    check(&host);
    assert!(host.terminate().success());
    assert!(host.setup().verify().status.success());
    let folder = host.setup().folder();
    let (data, moved, export) = (host.setup().data(), folder.join("moved"), folder.join("export"));
    let move_it = |from: &std::path::Path, to: &std::path::Path, verb: &str| {
        let binary = env!("CARGO_BIN_EXE_dropforge");
        let status = std::process::Command::new(binary).arg(verb).args([from, to]).status().expect("it starts");
        assert!(status.success(), "{verb}");
    };
    move_it(&data, &export, "export");
    std::fs::rename(&data, &moved).expect("a folder can be renamed");
    move_it(&export, &data, "import");
    std::fs::copy(moved.join("tokens.json"), data.join("tokens.json")).expect("a file can be copied");
    host.start_again();
    check(&host);
}

/// Fault: what was uploaded before there were tokens lies there for a day and nobody can get at it.
#[test]
fn uploads_that_are_nobodys_or_anothers_are_there_for_admin_alone() {
    let host = Host::start();
    let post = |answer: Answer| {
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.header("location").to_owned()
    };
    let before = post(host.post("/v1/blobs", "before"));
    let [one, two] = [(); 2].map(|()| host.setup().new_token(&[]));
    let admin = host.setup().new_token(&["--scope", "admin"]);
    let of_a_kind = host.setup().new_token(&["--scope", "admin", "--kind", "good"]);
    until_known(&host, &of_a_kind);
    let ones = post(host.post_as(&one, "/v1/blobs", "one's"));
    for (token, sees) in [(&one, [404, 200]), (&two, [404, 404]), (&of_a_kind, [404, 404]), (&admin, [200, 200])] {
        assert_eq!([&before, &ones].map(|path| host.get_as(token, path).status), sees);
        let name = |path: &str| json!({"$blob": format!("sha256:{}", path.rsplit('/').next().unwrap_or_default())});
        let submit = |path: &str| {
            host.post_as(token, "/v1/jobs", json!({"kind": "good", "input": name(path)}).to_string()).status
        };
        assert_eq!([submit(&before), submit(&ones)], sees.map(|seen| if seen == 200 { 202 } else { 422 }));
    }
}
