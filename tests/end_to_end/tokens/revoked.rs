//! What was begun with a token ends with it: whoever revokes one wants its holder out now, not after the next request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::json;

use super::{submit_as, until_known, wait_as};
use crate::support::{Host, PATIENCE, eventually, guest, sse};

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
