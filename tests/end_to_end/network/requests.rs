//! Requests that were granted, and what a guest and its operator are told of those that were not.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::json;

use super::{granting, host, log, setup};
use crate::support::server::Server;
use crate::support::{eventually, guest};

#[test]
fn a_granted_request_is_sent_and_answered() {
    let server = Server::start();
    let host = host(&granting(&server));
    let port = server.port();
    assert_eq!(
        host.probe("kind", &[&format!("http GET http 127.0.0.1:{port} /some/path?a=b x-name:value")]),
        ["200 hello"]
    );
    let heads = server.heads();
    assert_eq!(heads.len(), 1);
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("get /some/path?a=b http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")) && head.contains("\r\nx-name: value\r\n"),
        "{head}"
    );
    // The very address, in another spelling, is the very address.
    assert_eq!(host.probe("kind", &[&format!("http GET http [::ffff:127.0.0.1]:{port} /")]), ["200 hello"]);
    assert!(server.heads()[1].contains(&format!("127.0.0.1:{port}")), "{:?}", server.heads());
    host.still_works();
}

/// Fault: a plugin is denied something, and its operator has to guess what to write where.
#[test]
fn what_the_log_says_to_add_is_what_was_missing() {
    let server = Server::start();
    let host = host("");
    let request = format!("http POST http 127.0.0.1:{} /", server.port());
    let id = host.submit_raw("kind", request.clone());
    assert_eq!(host.output(&id), b"error: denied");
    let log = log(&host.job(&id));
    let said = log
        .iter()
        .position(|line| line.contains("denied: POST http://127.0.0.1") && line.contains("plugins/kind.toml"));
    let said = said.unwrap_or_else(|| panic!("the log does not say what was denied: {log:?}"));
    assert!(server.heads().is_empty());
    host.drop_file("kind.toml", log[said + 1..].join("\n"));
    eventually("the new grant holds", || (host.probe("kind", &[&request]) == ["200 hello"]).then_some(()));
    host.still_works();
}

#[test]
fn a_name_that_leads_to_a_private_address_needs_a_grant_that_says_so() {
    let server = Server::start();
    let port = server.port();
    let toml = format!("[[http]]\nscheme = \"http\"\nhost = \"localhost\"\nport = {port}\n");
    let host = host(&toml);
    let tried = format!("http GET http LocalHost:{port} /");
    let id = host.submit_raw("kind", tried.clone());
    assert_eq!(host.output(&id), b"error: prohibited address");
    let log = log(&host.job(&id));
    let said = log.iter().position(|line| line.contains("private address") && line.contains("plugins/kind.toml"));
    let said = said.unwrap_or_else(|| panic!("the log does not say why: {log:?}"));
    assert!(server.heads().is_empty());
    host.drop_file("kind.toml", toml + &log[said + 1]);
    eventually("the new grant holds", || (host.probe("kind", &[&tried]) == ["200 hello"]).then_some(()));
    assert!(server.heads()[0].to_ascii_lowercase().contains(&format!("host: localhost:{port}\r\n")));
    host.still_works();
}

/// Fault: a variable that everything else on the machine obeys sends requests to somebody who was not granted.
#[test]
fn no_proxy_of_the_hosts_environment_comes_between() {
    let (server, proxy) = (Server::start(), Server::start());
    let address = format!("http://127.0.0.1:{}", proxy.port());
    let setup = setup(&granting(&server)).with_variable("http_proxy", &address).with_variable("HTTP_PROXY", &address);
    let host = setup.with_variable("ALL_PROXY", &address).start();
    assert_eq!(host.probe("kind", &[&format!("http GET http 127.0.0.1:{} /", server.port())]), ["200 hello"]);
    assert_eq!((server.heads().len(), proxy.heads().len()), (1, 0));
    host.still_works();
}

#[test]
fn a_grant_is_for_one_kind_only() {
    let server = Server::start();
    let host = setup(&granting(&server)).with_guest("other", guest::probe()).start();
    let tried = format!("http GET http 127.0.0.1:{} /", server.port());
    assert_eq!(host.probe("other", &[&tried]), ["error: denied"]);
    assert!(server.heads().is_empty());
    assert_eq!(host.probe("kind", &[&tried]), ["200 hello"]);
    host.still_works();
}

#[test]
fn a_request_that_cannot_be_sent_is_an_error_to_the_guest() {
    let server = Server::start();
    let port = server.port();
    // A port that nobody listens on: it was free a moment ago, and stays bound to nothing.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("loopback").port();
    let grant =
        |scheme: &str, port: u16| format!("[[http]]\nscheme = \"{scheme}\"\nhost = \"127.0.0.1\"\nport = {port}\n");
    let nowhere = "[[http]]\nscheme = \"http\"\nhost = \"no-such-name.invalid\"\n";
    let host = host(&(grant("http", free) + &grant("https", port) + nowhere));
    let tries = [
        format!("http GET http 127.0.0.1:{free} /"),
        format!("http GET https 127.0.0.1:{port} /"),
        "http GET http no-such-name.invalid /".to_owned(),
    ];
    let answers = host.probe("kind", &tries.each_ref().map(String::as_str));
    assert_eq!(answers, ["error: refused", "error: tls", "error: dns"]);
    host.still_works();
}

/// Fault: a job starts while its submit is still being written down, and what it sent cannot be taken back when the host dies then.
#[test]
fn what_is_sent_is_sent_for_a_job_that_is_on_disk() {
    const JOBS: usize = 40;
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
    listener.set_nonblocking(true).expect("it can be asked again and again");
    let port = listener.local_addr().expect("it listens").port();
    let host = host(&format!("[[http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {port}\n"));
    std::thread::scope(|scope| {
        let listed = scope.spawn(|| {
            let requests = (0..JOBS).map(|_| {
                let (mut stream, _) = eventually("somebody comes", || listener.accept().ok());
                stream.set_nonblocking(false).expect("it is open");
                // Whoever is asked for something can look at once for whom.
                let listed = host.get("/v1/jobs?kind=kind&limit=100").json()["jobs"].as_array().expect("a list").len();
                let mut head = BufReader::new(stream.try_clone().expect("it is open")).lines();
                assert!(head.any(|line| line.is_ok_and(|line| line.is_empty())), "the head ends");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").expect("the host listens");
                listed
            });
            requests.collect::<Vec<_>>()
        });
        for _ in 0..JOBS {
            assert_eq!(host.probe("kind", &[&format!("http GET http 127.0.0.1:{port} /")]), ["200 hello"]);
        }
        let listed = listed.join().expect("each request was answered");
        assert_eq!(json!(listed), json!((1..=JOBS).collect::<Vec<_>>()));
    });
}
