//! Who may come in, what they may do there, and that nobody gets to a job that is not theirs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::Answer;
use crate::support::ws::Socket;
use crate::support::{Host, PATIENCE, accepted, eventually, guest, sse};

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
fn a_token_is_printed_once_listed_without_its_secret_and_revoked() {
    let setup = Host::prepare();
    let token = setup.new_token(&["--scope", "submit,read", "--kind", "pdf-to-png", "--name", "the laptop"]);
    assert!(token.starts_with("dfk_") && token.len() == 85, "{token}");
    let list = setup.token_command(&["list"]);
    assert_eq!(list.stdout.len(), 1);
    for part in [id_of(&token), "submit", "read", "pdf-to-png", "the laptop"] {
        assert!(list.stdout[0].contains(part), "{part} is not in {:?}", list.stdout);
    }
    let secret = &token[21..];
    assert!(!list.stdout[0].contains(secret));
    let kept = std::fs::read_to_string(setup.data().join("tokens.json")).expect("it is there");
    assert!(!kept.contains(secret), "only a hash is kept");
    let made: Value = serde_json::from_str(&setup.new_token(&["--json"])).expect("JSON");
    assert_eq!((&made["scopes"], &made["kinds"]), (&json!(["read", "submit"]), &Value::Null), "the default");
    let listed = setup.token_command(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout[0]).expect("JSON");
    assert_eq!((&listed["tokens"][1]["id"], listed["tokens"][1].get("token")), (&made["id"], None));
    assert!(setup.token_command(&["revoke", id_of(&token)]).status.success());
    assert_eq!(setup.token_command(&["list"]).stdout.len(), 1);
    for (arguments, hint) in [
        (["revoke", id_of(&token)], "token list"),
        (["revoke", "all"], "16 digits"),
        (["new", "--scope=write"], "admin"),
        (["new", "--kind=No Kind"], "a-z"),
    ] {
        let exit = setup.token_command(&arguments);
        assert!(!exit.status.success() && exit.stderr.contains(hint), "{arguments:?}: {}", exit.stderr);
    }
}

/// Fault: the first token locks out everybody who has used the host without one, and nothing says so.
#[test]
fn the_first_token_says_what_changes_with_it() {
    let setup = Host::prepare();
    let first = setup.token_command(&["new"]).stderr;
    for part in ["from now on every client needs one", "401", "DROPFORGE_TOKEN", "--scope admin", "tokens.json"] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
    assert!(!setup.token_command(&["new"]).stderr.contains("every client"), "only once");
    let setup = Host::prepare();
    let admin = setup.token_command(&["new", "--scope", "admin"]).stderr;
    assert!(admin.contains("every client") && !admin.contains("Pausing kinds"), "{admin}");
    let setup = Host::prepare();
    assert_eq!(setup.token_command(&["new", "--json"]).stderr, "", "programs read one document");
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
fn a_stream_ends_with_the_token_it_was_opened_with() {
    let host = Host::start();
    let [one, two] = [(); 2].map(|()| host.setup().new_token(&[]));
    until_known(&host, &two);
    let mut listening =
        [&one, &two].map(|token| sse::Stream::of(host.request_as(token, Method::GET, "/v1/events"), None));
    assert!(listening.iter_mut().all(|stream| stream.next_or_comment().is_some()));
    assert!(host.setup().token_command(&["revoke", &one]).status.success());
    let [ones, mut twos] = listening;
    assert!(ones.rest().is_empty(), "it ends, and nothing more was told");
    let id = submit_as(&host, &two, json!({"kind": "good"}));
    assert_eq!(twos.next().expect("it goes on").data["id"], id.as_str());
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

/// Fault: a token is revoked because it was stolen, and the thief's download goes on to its end.
#[test]
fn a_download_under_way_ends_with_the_token_it_was_begun_with() {
    let setup = Host::prepare().with_guest("good", guest::good());
    let [one, two] = [(); 2].map(|()| setup.new_token(&[]));
    let host = setup.start();
    // Far more than the buffers between a host and a client hold.
    let bytes = vec![7; 64 << 20];
    let [first, second] = [&one, &two].map(|token| {
        let answer = host.post_as(token, "/v1/blobs", bytes.clone());
        assert_eq!(answer.status, 201, "{}", answer.text());
        begin_download(&host, token, answer.header("location"))
    });
    assert!(host.setup().token_command(&["revoke", &one]).status.success());
    eventually("nobody is known by it", || (host.get_as(&one, "/v1/jobs").status == 401).then_some(()));
    let (got, rest) = (take_the_rest(first), take_the_rest(second));
    assert!(got < bytes.len(), "all {got} bytes came after the token was revoked");
    assert_eq!(rest, bytes.len(), "another's goes on");
    assert_eq!(host.get_as(&two, "/v1/jobs").status, 200);
}

#[test]
fn whoever_waits_for_a_result_waits_in_vain_once_their_token_is_revoked() {
    let setup = Host::prepare().with_guest("endless", guest::endless());
    let token = setup.new_token(&[]);
    let host = setup.start();
    let id = submit_as(&host, &token, json!({"kind": "endless"}));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_as(&host, &token, &id));
        // Once it runs, whoever waits has long been let in.
        eventually("the job runs", || {
            (host.get_as(&token, &format!("/v1/jobs/{id}")).json()["state"] == "running").then_some(())
        });
        assert!(host.setup().token_command(&["revoke", &token]).status.success());
        waiting.join().expect("it is answered").refused(401, "unauthorized");
    });
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

/// Asks for a file and takes its head alone.
fn begin_download(host: &Host, token: &str, path: &str) -> BufReader<TcpStream> {
    let address = host.process().address().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).expect("the host listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the host reads");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).expect("the host answers") > 2 {
        assert!(line.starts_with("HTTP/1.1 200") || !line.starts_with("HTTP"), "{line}");
        line.clear();
    }
    reader
}

/// How many bytes come until the connection ends, in whichever way.
fn take_the_rest(mut reader: BufReader<TcpStream>) -> usize {
    let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return total,
            Ok(read) => total += read,
        }
    }
}
