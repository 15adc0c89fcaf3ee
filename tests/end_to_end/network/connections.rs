//! Connections that were granted, and what a guest and its operator are told of sockets that were not.

use super::{granting_tcp, host, log, setup};
use crate::support::server::Server;
use crate::support::{eventually, guest};

#[test]
fn a_granted_connection_is_made_by_address_and_by_name() {
    let server = Server::start();
    let port = server.port();
    let toml = granting_tcp(&server, "127.0.0.1") + &granting_tcp(&server, "localhost") + "private = true\n";
    let host = host(&toml);
    let answers = host.probe("kind", &[&format!("tcp 127.0.0.1:{port} hi"), &format!("tcp localhost:{port} ho")]);
    assert_eq!(answers, ["you said hi", "you said ho"]);
    assert!(host.probe("kind", &["resolve localhost"])[0].contains("127.0.0.1"));
    host.still_works();
}

#[test]
fn what_the_log_says_to_add_for_a_connection_is_what_was_missing() {
    let server = Server::start();
    let host = host("");
    let tried = format!("tcp 127.0.0.1:{} hi", server.port());
    let id = host.submit_raw("kind", tried.clone());
    assert!(host.output(&id).starts_with(b"error: "));
    let log = log(&host.job(&id));
    let said = log
        .iter()
        .position(|line| line.contains("denied: a connection to 127.0.0.1") && line.contains("plugins/kind.toml"));
    let said = said.unwrap_or_else(|| panic!("the log does not say what was denied: {log:?}"));
    assert!(server.heads().is_empty());
    host.drop_file("kind.toml", log[said + 1..].join("\n"));
    eventually("the new grant holds", || (host.probe("kind", &[&tried]) == ["you said hi"]).then_some(()));
    host.still_works();
}

#[test]
fn denied_sockets_are_explained_in_the_log() {
    let host = host("[[tcp]]\nhost = \"localhost\"\nport = 9");
    for (tried, said) in [
        ("listen 127.0.0.1:0", "denied: listening on 127.0.0.1:0, which cannot be granted"),
        ("udp 127.0.0.1:9", "denied: a UDP socket, which cannot be granted"),
        ("resolve api.example", "denied: looking up api.example; to allow it, add to plugins/kind.toml:"),
        ("tcp localhost:9 hi", "denied: localhost leads to a private address"),
    ] {
        let id = host.submit_raw("kind", tried);
        assert!(host.output(&id).starts_with(b"error: "), "{tried}");
        let log = log(&host.job(&id));
        assert!(log.iter().any(|line| line.contains(said)), "{tried}: {log:?}");
    }
    host.still_works();
}

#[test]
fn a_grant_to_connect_is_for_one_kind_only_and_not_for_requests() {
    let server = Server::start();
    let host = setup(&granting_tcp(&server, "127.0.0.1")).with_guest("other", guest::probe()).start();
    let tried = format!("tcp 127.0.0.1:{} hi", server.port());
    assert!(host.probe("other", &[&tried])[0].starts_with("error: "));
    assert_eq!(host.probe("kind", &[&format!("http GET http 127.0.0.1:{} /", server.port())]), ["error: denied"]);
    assert!(server.heads().is_empty());
    assert_eq!(host.probe("kind", &[&tried]), ["you said hi"]);
    host.still_works();
}
