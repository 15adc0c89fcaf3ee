//! Prying: what a plugin sees of the machine, its files, its network and its neighbours if nothing was granted.

use super::Attack;
use crate::support::server::Server;
use crate::support::{guest, program};

/// Has the probe try these things on a host that grants nothing, and shows that the host is well.
#[track_caller]
fn finds(tries: &[&str], found: impl Fn(&str) -> bool) {
    let host = Attack::by(guest::probe()).host();
    for (tried, answer) in tries.iter().zip(host.probe("attack", tries)) {
        assert!(found(&answer), "{tried}: {answer}");
    }
    host.still_works();
}

fn is_error(answer: &str) -> bool {
    answer.starts_with("error: ")
}

#[test]
fn no_variable_of_the_host_is_seen() {
    let attack = Attack::by(guest::probe());
    let setup = attack.setup.with_variable("SECRET_OF_THE_HOST", "s3cret");
    let host = Attack { setup, ..attack }.host();
    assert_eq!(
        host.probe("attack", &["env SECRET_OF_THE_HOST", "env PATH", "env HOME", "vars"]),
        ["unset", "unset", "unset", ""]
    );
    host.still_works();
}

#[test]
fn no_value_of_another_kind_is_seen() {
    let attack = Attack::by(guest::probe());
    let setup = attack.setup.with_file("good.toml", "[config]\nkey = \"s3cret\"");
    let host = Attack { setup, ..attack }.host();
    assert_eq!(host.probe("attack", &["config key", "config ../good/key", "config good.key"]), ["unset"; 3]);
    host.still_works();
}

#[test]
fn no_file_is_seen() {
    finds(
        &[
            "read /etc/passwd",
            "read ../plugins/attack.wasm",
            "read .",
            "list /",
            "list .",
            "list /proc/self",
            "read /dev/zero",
        ],
        is_error,
    );
}

#[test]
fn no_file_can_be_written_or_removed() {
    finds(
        &["write /tmp/x", "write x", "write ../data/lock", "remove /etc/passwd", "remove ../plugins/good.wasm"],
        is_error,
    );
}

#[test]
fn no_connection_can_be_made() {
    let server = Server::start();
    let port = server.port();
    let tries = [
        format!("http GET http 127.0.0.1:{port} /"),
        format!("http GET http localhost:{port} /"),
        format!("http GET http [::1]:{port} /"),
        format!("tcp 127.0.0.1:{port} hello"),
        format!("tcp localhost:{port} hello"),
        format!("udp 127.0.0.1:{port}"),
    ];
    finds(&tries.each_ref().map(String::as_str), is_error);
    assert_eq!(server.heads(), Vec::<String>::new());
}

#[test]
fn nobody_can_be_waited_for_or_looked_up() {
    finds(
        &["listen 127.0.0.1:0", "listen 0.0.0.0:80", "listen [::]:0", "resolve localhost", "resolve example.com"],
        is_error,
    );
}

/// Fault: the host's own interface is reachable from inside, where it is loopback too.
#[test]
fn the_host_itself_cannot_be_reached() {
    let host = Attack::by(guest::probe()).host();
    let address = host.process().address().trim_start_matches("http://").to_owned();
    let tries = [
        format!("http GET http {address} /v1/jobs"),
        format!("http POST http {address} /v1/kinds/good/jobs"),
        format!("tcp {address} x"),
    ];
    for answer in host.probe("attack", &tries.each_ref().map(String::as_str)) {
        assert!(is_error(&answer), "{answer}");
    }
    host.still_works();
}

/// A program finds no folder, whatever number it gives it.
#[test]
fn a_program_finds_no_folder() {
    let opened = |fd: u32| {
        format!(
            "(if (i32.ge_s (call $open (i32.const {fd}) (text \"x\") (i32.const 1)) (i32.const 0)) (then (unreachable)))"
        )
    };
    let body: String = (0..10).map(opened).collect();
    for file in [program::module(&body), program::component(&body)] {
        Attack::by(file).succeeds("");
    }
}
