//! Tokens: who may come in, and what they may do there, over HTTP and over a WebSocket.

mod command;
mod owners;
mod revoked;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::ws::Socket;
use crate::support::{Host, accepted, eventually, guest};

/// The number of a token.
fn id_of(token: &str) -> &str {
    &token[4..20]
}

/// Waits until the running host has taken up that there are tokens, of which this is the last.
fn until_known(host: &Host, token: &str) {
    eventually("the host knows the token", || {
        (host.get("/v1/jobs").status == 401 && host.get_as(token, "/healthz/none").status == 404).then_some(())
    });
}

fn submit_as(host: &Host, token: &str, job: Value) -> String {
    accepted(&host.post_as(token, "/v1/jobs", job.to_string()))
}

fn wait_as(host: &Host, token: &str, id: &str) -> Answer {
    let path = format!("/v1/jobs/{id}/result");
    Answer::of(host.request_as(token, Method::GET, &path).header("prefer", "wait=60"))
}

#[test]
fn once_there_are_tokens_a_running_host_asks_for_one() {
    let mut host = Host::start();
    host.still_works();
    let token = host.setup().new_token(&[]);
    until_known(&host, &token);
    let refusal = host.get("/v1/jobs");
    refusal.refused(401, "unauthorized");
    assert_eq!(refusal.header("www-authenticate"), "Bearer realm=\"dropforge\"");
    let wrong = format!("{}0", &token[..token.len() - 1]);
    let almost = if wrong == token { format!("{}1", &token[..token.len() - 1]) } else { wrong };
    for shown in [almost.as_str(), "x", "", id_of(&token)] {
        let refusal = host.get_as(shown, "/v1/jobs");
        refusal.refused(401, "unauthorized");
        assert!(refusal.header("www-authenticate").starts_with("Bearer "), "{shown}");
    }
    Answer::of(host.request(Method::GET, "/v1/jobs").basic_auth(&token, Some(&token))).refused(401, "unauthorized");
    // What shows nothing of jobs is open; what does not exist is nobody's to find out.
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(host.get(path).status, 200, "{path}");
    }
    for path in ["/v1/kinds", "/v1/plugins", "/v1/events", "/v1/jobs/x/result", "/nothing/here"] {
        host.get(path).refused(401, "unauthorized");
    }
    host.post("/v1/jobs", "{}").refused(401, "unauthorized");
    host.post("/v1/jobs/batch", "{}").refused(401, "unauthorized");
    assert_eq!(host.get_as(&token, "/v1/jobs").status, 200);
    let lower = host.request(Method::GET, "/v1/jobs").header("authorization", format!("bearer {token}"));
    assert_eq!(Answer::of(lower).status, 200);
    host.kill_and_restart();
    assert_eq!((host.get("/v1/jobs").status, host.get_as(&token, "/v1/jobs").status), (401, 200));

    assert!(host.setup().token_command(&["revoke", &token]).status.success());
    let started = std::time::Instant::now();
    eventually("it is refused", || (host.get_as(&token, "/v1/jobs").status == 401).then_some(()));
    assert!(started.elapsed().as_secs_f64() < 1.0, "{:?}", started.elapsed());
    host.get("/v1/jobs").refused(401, "unauthorized");
}

#[test]
fn a_token_does_what_it_is_for_and_a_refusal_names_what_is_missing() {
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("other", guest::good()).start();
    let of = |flags: &[&str]| host.setup().new_token(flags);
    let (submit, read, admin) = (of(&["--scope=submit"]), of(&["--scope=read"]), of(&["--scope=admin"]));
    let limited = of(&["--scope=submit,read", "--kind=good"]);
    let limited_admin = of(&["--scope=admin", "--kind=good"]);
    until_known(&host, &limited_admin);
    let job = json!({"kind": "good"}).to_string();
    let id = accepted(&host.post_as(&submit, "/v1/jobs", job.clone()));
    let lacks = |answer: Answer, scope: &str| {
        let problem = answer.refused(403, "missing_scope");
        assert_eq!(problem["scope"], scope);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(scope)), "{problem}");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("insufficient_scope") && challenge.contains(&format!("scope=\"{scope}\"")));
    };
    lacks(host.post_as(&read, "/v1/jobs", job.clone()), "submit");
    lacks(host.post_as(&read, "/v1/jobs/batch", job.clone()), "submit");
    lacks(host.post_as(&read, "/v1/kinds/good/jobs", ""), "submit");
    lacks(host.post_as(&read, &format!("/v1/jobs/{id}/cancel"), ""), "submit");
    lacks(Answer::of(host.request_as(&read, Method::DELETE, &format!("/v1/jobs/{id}"))), "submit");
    lacks(host.get_as(&submit, &format!("/v1/jobs/{id}")), "read");
    lacks(host.get_as(&submit, "/v1/events"), "read");
    lacks(host.post_as(&submit, "/v1/kinds/good/pause", ""), "admin");
    for pause_or_resume in ["pause", "resume"] {
        let path = format!("/v1/kinds/good/{pause_or_resume}");
        assert_eq!(host.post_as(&admin, &path, "").status, 200);
        assert_eq!(host.post_as(&limited_admin, &path, "").status, 200);
    }
    // Kinds.
    for token in [&limited, &limited_admin] {
        for (path, body) in [("/v1/jobs", "{\"kind\":\"other\"}"), ("/v1/kinds/other/jobs", "")] {
            let problem = host.post_as(token, path, body).refused(403, "foreign_kind");
            assert_eq!(problem["kind"], "other");
        }
        let batch = host.post_as(token, "/v1/jobs/batch", "{\"kind\":\"other\"}\n{\"kind\":\"good\"}\n").text();
        let statuses: Vec<Value> =
            batch.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["status"].clone()).collect();
        assert_eq!(statuses, [json!(403), json!(202)]);
        host.get_as(token, "/v1/kinds/other").refused(403, "foreign_kind");
        let (kinds, files) = (host.get_as(token, "/v1/kinds").json(), host.get_as(token, "/v1/plugins").json());
        assert_eq!(
            (kinds["kinds"].as_array().map(Vec::len), files["plugins"].as_array().map(Vec::len)),
            (Some(1), Some(1))
        );
    }
    host.post_as(&limited_admin, "/v1/kinds/other/pause", "").refused(403, "foreign_kind");
    let other = submit_as(&host, &admin, json!({"kind": "other"}));
    host.get_as(&limited_admin, &format!("/v1/jobs/{other}")).refused(404, "unknown_job");
    assert_eq!(host.get_as(&limited_admin, &format!("/v1/jobs/{id}")).status, 200, "of its kind it sees all");
}

#[test]
fn an_address_beyond_this_machine_needs_tokens_or_a_warning() {
    let setup = Host::prepare().with_guest("good", guest::good());
    let flags = |data: std::path::PathBuf| {
        ["--listen", "0.0.0.0:0", "--data"].map(str::to_owned).into_iter().chain([data.display().to_string()])
    };
    let mut open = setup.serve(flags(setup.folder().join("open")).chain(["--insecure".to_owned()]));
    assert!(open.comes_up());
    assert!(open.stderr().contains("--insecure, and there are no tokens"), "{}", open.stderr());
    drop(open);
    let token = setup.new_token(&[]);
    let mut process = setup.serve(flags(setup.data()));
    assert!(process.comes_up(), "{}", process.stderr());
    let address = process.address().replace("0.0.0.0", "127.0.0.1");
    let get = |request: reqwest::RequestBuilder| Answer::of(request).status;
    let client = crate::support::answer::client();
    let jobs = || client.get(format!("{address}/v1/jobs"));
    assert_eq!((get(jobs()), get(jobs().bearer_auth(&token))), (401, 200));
    // Even if the file goes, strangers stay outside.
    std::fs::remove_file(setup.data().join("tokens.json")).expect("it is there");
    eventually("nobody is known any more", || (get(jobs().bearer_auth(&token)) == 401).then_some(()));
    assert_eq!(get(jobs()), 401);
}

#[test]
fn a_token_file_that_cannot_be_read_stops_a_start_and_changes_nothing_for_a_running_host() {
    let mut host = Host::start();
    let token = host.setup().new_token(&[]);
    until_known(&host, &token);
    let file = host.setup().data().join("tokens.json");
    std::fs::write(&file, "{\"tokens\": [").expect("writable");
    eventually("the host says so", || host.process().stderr().contains("the tokens stay as they were").then_some(()));
    assert_eq!((host.get("/v1/jobs").status, host.get_as(&token, "/v1/jobs").status), (401, 200));
    assert!(host.terminate().success());
    let exit = host.try_start_again().expect_err("nobody knows who may come in");
    assert!(exit.stderr.contains("tokens.json"), "{}", exit.stderr);
    assert!(!host.setup().verify().status.success());
}

#[test]
fn over_a_websocket_the_same_rules_hold() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("other", guest::good());
    let [one, two] = [(); 2].map(|()| setup.new_token(&["--kind", "good"]));
    let read = setup.new_token(&["--scope", "read"]);
    let host = setup.start();
    let id = submit_as(&host, &one, json!({"kind": "good", "delay": "1h"}));
    let refused = |socket: &mut Socket, operation: Value, code: &str| {
        socket.send(&operation);
        let answer = socket.message();
        assert_eq!((&answer["event"], &answer["problem"]["code"]), (&json!("problem"), &json!(code)), "{answer}");
    };
    let mut twos = Socket::open_as(&host, &two);
    refused(&mut twos, json!({"op": "subscribe", "id": id}), "unknown_job");
    refused(&mut twos, json!({"op": "cancel", "id": id}), "unknown_job");
    refused(&mut twos, json!({"op": "subscribe", "kind": "other"}), "foreign_kind");
    refused(&mut twos, json!({"op": "submit", "kind": "other"}), "foreign_kind");
    let mut reads = Socket::open_as(&host, &read);
    refused(&mut reads, json!({"op": "submit", "kind": "good"}), "missing_scope");
    refused(&mut reads, json!({"op": "cancel", "id": id}), "missing_scope");
    twos.send(&json!({"op": "subscribe", "kind": "good"}));
    assert_eq!(twos.message()["event"], "accepted");
    wait_as(&host, &one, &submit_as(&host, &one, json!({"kind": "good"})));
    let own = submit_as(&host, &two, json!({"kind": "good"}));
    assert_eq!(twos.message()["id"], own.as_str(), "what the other does is not told");
    assert_eq!(host.get_as(&one, &format!("/v1/jobs/{id}")).json()["state"], "scheduled");
    assert!(host.setup().token_command(&["revoke", &two]).status.success());
    let closed = std::iter::from_fn(|| Some(twos.next())).find_map(Result::err);
    assert_eq!(closed, Some(1008), "it ends with its token");
}
