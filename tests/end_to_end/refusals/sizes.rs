//! Bodies that are too large, however they are sent, beside the largest that are not.

use std::io::{Read, Write};
use std::net::TcpStream;

use futures_util::stream;
use reqwest::Body;

use crate::support::{Host, PATIENCE, guest};

#[test]
fn oversize_json_bodies_are_refused_and_the_largest_allowed_is_not() {
    let host = Host::prepare().with_guest("good", guest::good()).set("json_bytes_max", 1000).start();
    let job = r#"{"kind": "good"}"#;
    let body = |size: usize| job.to_owned() + &" ".repeat(size - job.len());
    for (size, status) in [(1000, 202), (1001, 413), (200_000, 413)] {
        check_size(&host, "/v1/jobs", body(size), status);
    }
    host.still_works();
}

#[test]
fn oversize_files_are_refused_and_the_largest_allowed_is_not() {
    let host = Host::prepare().with_guest("good", guest::good()).set("body_bytes_max", 100_000).start();
    for (size, status) in [(0, 202), (100_000, 202), (100_001, 413), (300_000, 413)] {
        check_size(&host, "/v1/kinds/good/jobs", "x".repeat(size), status);
    }
    let left: Vec<_> = std::fs::read_dir(host.setup().data().join("tmp")).expect("readable").collect();
    assert!(left.is_empty(), "refused uploads leave nothing: {left:?}");
    host.still_works();
}

/// Sends a body with its length announced, and again in chunks of which nobody knows how many there will be.
fn check_size(host: &Host, path: &str, body: String, status: u16) {
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(700).map(|chunk| Ok(chunk.to_vec())).collect();
    for body in [Body::from(body), Body::wrap_stream(stream::iter(chunks))] {
        let answer = host.post(path, body);
        match status {
            413 => drop(answer.refused(413, "too_large")),
            _ => assert_eq!(answer.status, status, "{}", answer.text()),
        }
    }
}

/// Fault: the host answers and closes while the client still sends. The client then finds a broken pipe, not the answer.
#[test]
fn an_oversize_body_is_refused_also_to_clients_that_send_all_of_it_before_they_listen() {
    let host = Host::prepare().with_guest("good", guest::good()).set("body_bytes_max", 100_000).start();
    let address = host.process().address().trim_start_matches("http://");
    let size = 20_000_000;
    for path in ["/v1/kinds/good/jobs", "/v1/jobs"] {
        let mut stream = TcpStream::connect(address).expect("the host listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        write!(stream, "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n")
            .expect("the head is taken");
        stream.write_all(&vec![b'x'; size]).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer, *b"HTTP/1.1 413");
    }
    host.still_works();
}
