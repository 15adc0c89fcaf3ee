//! How much network an attempt gets: bytes, connections, and no longer than its time.

use std::time::{Duration, Instant};

use super::{granting, granting_tcp, host, setup};
use crate::support::eventually;
use crate::support::server::Server;

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
    let host = setup(&granting(&server)).set("workers", 1).start();
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
