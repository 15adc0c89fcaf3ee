//! Requests and connections of guests: what was granted works, and nothing gets around a grant.
//!
//! Each attack ends by showing that the same host still does good work. Only loopback is contacted.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::server::Server;
use crate::support::{Host, eventually, guest};

/// A host with the plugin `good` and a probe called `kind` that has these settings.
fn host(toml: &str) -> Host {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest::probe());
    setup.with_file("kind.toml", toml).start()
}

/// What a kind needs to send GET requests to this server.
fn granting(server: &Server) -> String {
    format!("[[http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {}\n", server.port())
}

fn log(job: &Value) -> Vec<String> {
    let lines = job["usage"][0]["log"].as_array().expect("an attempt has ended");
    lines.iter().map(|line| line.as_str().expect("a line").to_owned()).collect()
}

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
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest::probe());
    let setup = setup.with_file("kind.toml", granting(&server));
    let address = format!("http://127.0.0.1:{}", proxy.port());
    let setup = setup.with_variable("http_proxy", &address).with_variable("HTTP_PROXY", &address);
    let host = setup.with_variable("ALL_PROXY", &address).start();
    assert_eq!(host.probe("kind", &[&format!("http GET http 127.0.0.1:{} /", server.port())]), ["200 hello"]);
    assert_eq!((server.heads().len(), proxy.heads().len()), (1, 0));
    host.still_works();
}

#[test]
fn a_grant_is_for_one_kind_only() {
    let server = Server::start();
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest::probe());
    let setup = setup.with_file("kind.toml", granting(&server)).with_guest("other", guest::probe());
    let host = setup.start();
    let tried = format!("http GET http 127.0.0.1:{} /", server.port());
    assert_eq!(host.probe("other", &[&tried]), ["error: denied"]);
    assert!(server.heads().is_empty());
    assert_eq!(host.probe("kind", &[&tried]), ["200 hello"]);
    host.still_works();
}

#[test]
fn what_is_sent_and_received_counts_to_the_last_byte() {
    let server = Server::start();
    let port = server.port();
    let with =
        |bytes: usize| host(&format!("network_bytes = {bytes}\n{}methods = [\"GET\", \"POST\"]", granting(&server)));
    let tried = format!("count http 127.0.0.1:{port} /bytes/90000");
    assert_eq!(with(1_000_000).probe("kind", &[&tried]), ["90000"]);
    let wire = server.heads()[0].len() + "HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n".len() + 90_000;
    assert_eq!(with(wire).probe("kind", &[&tried]), ["90000"]);
    let below = with(wire - 1);
    let id = below.submit_raw("kind", tried.clone());
    let answer = String::from_utf8(below.output(&id)).expect("it answers in text");
    assert!(answer.starts_with("error: "), "{answer}");
    let log = below.get(&format!("/v1/jobs/{id}/logs")).text();
    assert!(log.contains("network_bytes") && log.contains(&(wire - 1).to_string()), "{log}");
    let host = with(100_000);
    let send = |bytes: u32| host.probe("kind", &[&format!("send http 127.0.0.1:{port} {bytes}")]).remove(0);
    // Each piece of 4,096 bytes goes with a line that says how long it is.
    assert_eq!(send(99_000), "200");
    assert!(send(100_001).starts_with("error: "), "more was sent than granted");
    // Heads alone, of the guest's own making and of the server's, and one after the other without end.
    let field = format!("http GET http 127.0.0.1:{port} / x:{}", "y".repeat(60_000));
    let answers = host.probe("kind", &[&field, &field]);
    assert!(answers[0].starts_with("200") && answers[1].starts_with("error: "), "{}", answers[1]);
    let heads = host.probe("kind", &[&format!("count http 127.0.0.1:{port} /continues")]).remove(0);
    assert!(heads.starts_with("error: "), "{heads}");
    let endless = host.probe("kind", &[&format!("count http 127.0.0.1:{port} /endless")]).remove(0);
    assert!(endless.starts_with("error: "), "{endless}");
    // All requests of an attempt count together.
    let half = format!("count http 127.0.0.1:{port} /bytes/60000");
    let answers = host.probe("kind", &[&half, &half]);
    assert!(answers[0] == "60000" && answers[1].starts_with("error: "), "{answers:?}");
    host.still_works();
}

#[test]
fn a_job_holds_32_connections_and_no_more() {
    let server = Server::start();
    let host = host(&granting(&server));
    let crowd =
        |count: u32| host.probe("kind", &[&format!("crowd {count} 127.0.0.1:{} /slow", server.port())]).remove(0);
    assert_eq!(crowd(32), "32 answered, 0 refused");
    assert_eq!(crowd(33), "32 answered, 0 refused");
    host.still_works();
}

#[test]
fn a_request_without_an_answer_is_stopped_in_time_and_frees_its_thread() {
    let server = Server::start();
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest::probe());
    let host = setup.with_file("kind.toml", granting(&server)).set("workers", 1).start();
    let tried = format!("http GET http 127.0.0.1:{} /silent", server.port());
    let late = host.submit_raw("kind?timeout=500ms", tried.clone());
    let cancelled = host.submit_raw("kind", tried);
    eventually("both wait for their answers", || (server.heads().len() == 2).then_some(()));
    host.still_works();
    let job = host.wait_for(&late, "failed");
    assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
    let wall_ms = job["usage"][0]["wall_ms"].as_u64().expect("a number");
    assert!(wall_ms < 1_000, "stopped after {wall_ms} ms instead of 500");
    let before = Instant::now();
    host.cancel(&cancelled);
    host.wait_until(&cancelled, "has stopped", |job| job["usage"].as_array().is_some_and(|usage| !usage.is_empty()));
    assert!(before.elapsed() < Duration::from_secs(1), "stopped after {:?}", before.elapsed());
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

/// What a kind needs to connect to this server.
fn granting_tcp(server: &Server, host: &str) -> String {
    format!("[[tcp]]\nhost = \"{host}\"\nport = {}\n", server.port())
}

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
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest::probe());
    let setup = setup.with_guest("other", guest::probe()).with_file("kind.toml", granting_tcp(&server, "127.0.0.1"));
    let host = setup.start();
    let tried = format!("tcp 127.0.0.1:{} hi", server.port());
    assert!(host.probe("other", &[&tried])[0].starts_with("error: "));
    assert_eq!(host.probe("kind", &[&format!("http GET http 127.0.0.1:{} /", server.port())]), ["error: denied"]);
    assert!(server.heads().is_empty());
    assert_eq!(host.probe("kind", &[&tried]), ["you said hi"]);
    host.still_works();
}

#[test]
fn bytes_of_connections_count_as_well() {
    let server = Server::start();
    // One way four bytes and a line's end; back the four and nine more.
    let tried = format!("tcp 127.0.0.1:{} four", server.port());
    let with = |bytes: u32| host(&format!("network_bytes = {bytes}\n{}", granting_tcp(&server, "127.0.0.1")));
    let just = with(18);
    assert_eq!(just.probe("kind", &[&tried]), ["you said four"]);
    assert!(with(17).probe("kind", &[&tried])[0].starts_with("error: "));
    just.still_works();
}
