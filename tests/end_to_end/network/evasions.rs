//! Attacks on grants: other spellings of an address, fields, users, redirects, resolvers. Whatever a guard reads otherwise
//! than those who connect is a way around it.

use super::{granting, granting_tcp, host, log};
use crate::support::server::Server;

/// Runs these requests, none of which may reach the server; `PORT` stands for its port.
#[track_caller]
fn stay_out(toml: &str, server: &Server, tries: &[(&str, &str)]) {
    let host = host(toml);
    let lines: Vec<String> = tries.iter().map(|(tried, _)| tried.replace("PORT", &server.port().to_string())).collect();
    let answers = host.probe("kind", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let wanted: Vec<(&String, String)> =
        lines.iter().zip(tries).map(|(tried, (_, error))| (tried, format!("error: {error}"))).collect();
    assert_eq!(lines.iter().zip(answers.iter().cloned()).collect::<Vec<_>>(), wanted);
    assert_eq!(server.heads(), Vec::<String>::new());
    // One by one, since only so many denials of an attempt are explained.
    for (tried, answer) in lines.iter().zip(&answers).filter(|(_, answer)| !answer.contains("field ")) {
        let id = host.submit_raw("kind", tried.clone());
        host.wait_for(&id, "succeeded");
        let log = log(&host.job(&id));
        // The engine refuses some itself, before anybody asks for a grant.
        let by_the_engine = ["error: the authority is refused", "error: protocol"].contains(&answer.as_str());
        let is_said = by_the_engine || log.iter().any(|line| line.contains("denied: "));
        assert!(is_said, "{tried}: {answer}, and the log says only {log:?}");
    }
    host.still_works();
}

#[test]
fn no_spelling_of_an_address_gets_around_the_grants() {
    let server = Server::start();
    let toml = "[[http]]\nscheme = \"http\"\nhost = \"api.example\"\nport = 80\nprivate = true";
    stay_out(
        toml,
        &server,
        &[
            ("http GET http 127.0.0.1:PORT /", "denied"),
            ("http GET http 127.0.0.2:PORT /", "denied"),
            ("http GET http 0.0.0.0:PORT /", "denied"),
            ("http GET http localhost:PORT /", "denied"),
            ("http GET http LOCALHOST.:PORT /", "denied"),
            ("http GET http [::1]:PORT /", "denied"),
            ("http GET http [::]:PORT /", "denied"),
            ("http GET http [::ffff:127.0.0.1]:PORT /", "denied"),
            ("http GET http [::ffff:7f00:1]:PORT /", "denied"),
            ("http GET http [::127.0.0.1]:PORT /", "denied"),
            ("http GET http [64:ff9b::7f00:1]:PORT /", "denied"),
            ("http GET http 127.1:PORT /", "invalid URI"),
            ("http GET http 2130706433:PORT /", "invalid URI"),
            ("http GET http 0x7f000001:PORT /", "invalid URI"),
            ("http GET http 0x7f.0.0.1:PORT /", "invalid URI"),
            ("http GET http 0177.0.0.1:PORT /", "invalid URI"),
            ("http GET http 017700000001:PORT /", "invalid URI"),
            ("http GET http 127.0.0.1.:PORT /", "invalid URI"),
            ("http GET http 127.0.0.1.nip.example:PORT /", "denied"),
            ("http GET http [::1%25lo]:PORT /", "invalid URI"),
            ("http GET http [fe80::1%25lo]:PORT /", "invalid URI"),
            ("http GET http 127\u{3002}0\u{3002}0\u{3002}1:PORT /", "the authority is refused"),
            ("http GET http \u{ff11}27.0.0.1:PORT /", "the authority is refused"),
            ("http GET http 127.0.0.1%00.api.example:PORT /", "the authority is refused"),
        ],
    );
}

#[test]
fn nothing_about_a_request_gets_around_its_grant() {
    let (server, other) = (Server::start(), Server::start());
    // Everything but what is tried.
    let toml =
        granting(&other) + "[[http]]\nscheme = \"https\"\nhost = \"127.0.0.1\"\nport = " + &server.port().to_string();
    stay_out(
        &toml,
        &server,
        &[
            // Another port, scheme, method than granted; and no port, which is 80.
            ("http GET http 127.0.0.1:PORT /", "denied"),
            ("http GET http 127.0.0.1 /", "denied"),
            // Users, and ports that are none.
            ("http GET http 127.0.0.1:80@127.0.0.1:PORT /", "invalid URI"),
            ("http GET http api.example@127.0.0.1:PORT /", "invalid URI"),
            ("http GET http user:password@127.0.0.1:PORT /", "invalid URI"),
            ("http GET http 127.0.0.1:0PORT /", "invalid URI"),
            ("http GET http 127.0.0.1: /", "invalid URI"),
            ("http GET http 127.0.0.1:80:PORT /", "the authority is refused"),
            ("http GET http 127.0.0.1:+PORT /", "invalid URI"),
            ("http GET http 127.0.0.1:PORT#.api.example /", "the authority is refused"),
            ("http GET http api.example\\@127.0.0.1:PORT /", "the authority is refused"),
            // Fields that would lead elsewhere.
            ("http GET http 127.0.0.1:PORT / host:127.0.0.1", "field host: HeaderError::Forbidden"),
            ("http GET http 127.0.0.1:PORT / Host:127.0.0.1", "field Host: HeaderError::Forbidden"),
            (
                "http GET http 127.0.0.1:PORT / transfer-encoding:chunked",
                "field transfer-encoding: HeaderError::Forbidden",
            ),
            ("http GET http 127.0.0.1:PORT / upgrade:websocket", "field upgrade: HeaderError::Forbidden"),
            ("http GET http 127.0.0.1:PORT / connection:keep-alive", "field connection: HeaderError::Forbidden"),
            ("http CONNECT http 127.0.0.1:PORT /", "invalid method"),
            ("http GET ftp 127.0.0.1:PORT /", "protocol"),
        ],
    );
    let host = host(&granting(&server));
    let port = server.port();
    for tried in [
        format!("http POST http 127.0.0.1:{port} /"),
        format!("http get http 127.0.0.1:{port} /"),
        format!("http DELETE http 127.0.0.1:{port} /"),
        format!("http GET https 127.0.0.1:{port} /"),
    ] {
        assert_eq!(host.probe("kind", &[&tried]), ["error: denied"], "{tried}");
    }
    assert!(server.heads().is_empty());
    assert_eq!(host.probe("kind", &[&format!("http GET http 127.0.0.1:{port} /")]), ["200 hello"]);
    host.still_works();
}

#[test]
fn a_redirect_to_a_place_that_was_not_granted_is_not_followed() {
    let (server, forbidden) = (Server::start(), Server::start());
    let host = host(&granting(&server));
    let tried = format!("http GET http 127.0.0.1:{} /redirect/127.0.0.1:{}", server.port(), forbidden.port());
    assert_eq!(host.probe("kind", &[&tried]), ["302 "]);
    // Nor by hand.
    assert_eq!(host.probe("kind", &[&format!("http GET http 127.0.0.1:{} /", forbidden.port())]), ["error: denied"]);
    assert!(forbidden.heads().is_empty());
    host.still_works();
}

/// Fault: a guard that compares texts, or names with what a resolver makes of them, is walked around.
#[test]
fn no_connection_gets_around_its_grant() {
    let (server, other) = (Server::start(), Server::start());
    let (port, elsewhere) = (server.port(), other.port());
    // A name that leads to a private address, which was not granted; and another port of the very address.
    let host = host(&(granting_tcp(&server, "localhost") + &granting_tcp(&other, "127.0.0.1")));
    for tried in [
        format!("tcp 127.0.0.1:{port} hi"),
        format!("tcp localhost:{port} hi"),
        format!("tcp LOCALHOST:{port} hi"),
        format!("tcp localhost:{elsewhere} hi"),
        format!("tcp 127.0.0.2:{elsewhere} hi"),
        format!("tcp 0.0.0.0:{elsewhere} hi"),
        format!("tcp [::1]:{port} hi"),
        format!("tcp [::ffff:127.0.0.1]:{port} hi"),
        format!("tcp [::ffff:127.0.0.1]:{elsewhere} hi"),
        format!("tcp [::127.0.0.1]:{elsewhere} hi"),
        format!("tcp 2130706433:{elsewhere} hi"),
        format!("tcp 0x7f000001:{elsewhere} hi"),
        format!("tcp 0177.0.0.1:{elsewhere} hi"),
        format!("tcp 127.1:{elsewhere} hi"),
        "resolve localhost".to_owned(),
        "resolve api.example".to_owned(),
        "resolve localhost.".to_owned(),
        format!("tcp 127.0.0.1.:{elsewhere} hi"),
        format!("tcp [::]:{elsewhere} hi"),
        format!("tcp [64:ff9b::7f00:1]:{elsewhere} hi"),
        "resolve ::ffff:127.0.0.1%lo".to_owned(),
        "resolve 127.0.0.1\u{3002}".to_owned(),
        "listen 127.0.0.1:0".to_owned(),
        "listen 0.0.0.0:0".to_owned(),
        "listen [::]:0".to_owned(),
        format!("udp 127.0.0.1:{elsewhere}"),
    ] {
        let id = host.submit_raw("kind", tried.clone());
        let answer = String::from_utf8(host.output(&id)).expect("text");
        assert!(answer.starts_with("error: "), "{tried}: {answer}");
        // Granted or not, the engine connects to no unspecified address, and from an IPv6 socket to no IPv4 address.
        let by_the_engine = ["[::ffff:", "[::127", "0.0.0.0", "[::]"]
            .iter()
            .any(|address| tried.starts_with("tcp") && tried.contains(address));
        let log = log(&host.job(&id));
        assert!(by_the_engine || log.iter().any(|line| line.contains("denied: ")), "{tried}: {log:?}");
    }
    assert!(server.heads().is_empty() && other.heads().is_empty(), "{:?} {:?}", server.heads(), other.heads());
    assert_eq!(host.probe("kind", &[&format!("tcp 127.0.0.1:{elsewhere} hi")]), ["you said hi"]);
    host.still_works();
}
