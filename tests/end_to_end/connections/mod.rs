//! What connections may be: how many, of which size, and how slow. Encrypted ones are told of in `tls`.

mod tls;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Method;

use crate::support::answer::{Answer, block_on, builder};
use crate::support::ws::{Over, Socket};
use crate::support::{Host, PATIENCE, Setup, eventually, guest, program};

/// A connection on which bytes are sent by hand.
fn connect(host: &Host) -> TcpStream {
    let address = host.process().address().trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(address).expect("the host listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// What comes until the host closes the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "closed one way or the other"),
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_head_that_is_too_large_is_refused_and_the_next_is_served() {
    let host = Setup::start(Host::prepare().with_guest("good", guest::good()).set("header_bytes_max", 16_384));
    let sized = |bytes: usize| host.request(Method::GET, "/healthz").header("x-large", "x".repeat(bytes));
    assert_eq!(Answer::of(sized(15_000)).status, 200);
    assert_eq!(Answer::of(sized(17_000)).status, 431);
    let client = builder().http2_prior_knowledge().build().expect("a client");
    let sized =
        |bytes: usize| client.get(format!("{}/healthz", host.process().address())).header("x-large", "x".repeat(bytes));
    assert_eq!(Answer::of(sized(15_000)).status, 200);
    assert!(Answer::try_of(sized(17_000)).is_ok_and(|answer| answer.status == 431));
    // One that never ends, and one of many small fields.
    for field in ["x".repeat(4096), "a: b\r\n".repeat(700)] {
        let mut stream = connect(&host);
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-large: ").expect("writable");
        // It may close the connection in the middle of this.
        let _ = (0..200).try_for_each(|_| stream.write_all(field.as_bytes()));
        let answer = rest(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    host.still_works();
}

/// Slow-loris: many connections that each send a byte now and then, for as long as they are let.
#[test]
fn who_sends_slowly_loses_its_connection_and_nobody_elses() {
    let setup = Host::prepare().with_guest("good", guest::good()).set("header_timeout", "1s");
    let host = setup.set("idle_timeout", "2s").start();
    let opened = Instant::now();
    let drip = |first: &'static str| {
        let mut stream = connect(&host);
        std::thread::spawn(move || {
            stream.write_all(first.as_bytes()).expect("writable");
            let mut answer = stream.try_clone().expect("a stream can be shared");
            // A byte at a time, each well within any limit on pauses.
            let dripping = std::thread::spawn(move || {
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            let mut text = Vec::new();
            // However it is closed, it is over.
            let _ = answer.read_to_end(&mut text);
            drop(answer);
            dripping.join().expect("no panic");
            (String::from_utf8_lossy(&text).into_owned(), opened.elapsed())
        })
    };
    let heads = ["", "G", "GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let slow: Vec<_> = heads.into_iter().cycle().take(40).map(drip).collect();
    host.still_works();
    for slow in slow {
        let (answer, took) = slow.join().expect("no panic");
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
    // A second request that never comes whole, and none at all.
    for half in ["GET / HT", ""] {
        let mut stream = connect(&host);
        let begun = Instant::now();
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n{half}").expect("writable");
        assert!(rest(stream).starts_with("HTTP/1.1 200"), "the first is answered");
        assert!(begun.elapsed() > Duration::from_millis(1_500) && begun.elapsed() < Duration::from_secs(20));
    }
    host.still_works();
}

#[test]
fn a_body_that_stops_coming_is_given_up_and_no_job() {
    let host = Setup::start(Host::prepare().with_guest("good", guest::good()).set("idle_timeout", "1s"));
    let mut stream = connect(&host);
    write!(stream, "POST /v1/kinds/good/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf")
        .expect("writable");
    let answer = rest(stream);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("no progress"), "{answer}");
    assert_eq!(host.get("/v1/jobs").json()["jobs"].as_array().map(Vec::len), Some(0));
    // Who waits for an answer is not idle.
    let host = Host::prepare().with_plugin("message").set("idle_timeout", "1s").start();
    let body = "{\"kind\":\"message\",\"input\":{\"message\":\"hi\",\"seconds\":3}}";
    let answer = Answer::of(host.request(Method::POST, "/v1/jobs").header("prefer", "wait=30").body(body));
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"message\":\"hi\"}"));
}

#[test]
fn a_silent_websocket_is_no_idle_connection() {
    let host = Setup::start(Host::prepare().with_guest("good", guest::good()).set("idle_timeout", "1s"));
    for over in [Over::Http1, Over::Http2] {
        let mut socket = Socket::open(&host, over);
        // Longer than an idle connection is kept, and than one that is told to end may take.
        assert!(socket.is_silent_for(Duration::from_secs(8)), "{over:?}");
        socket.send(&serde_json::json!({"op": "ping"}));
        assert_eq!(socket.message()["event"], "pong", "{over:?}");
    }
}

#[test]
fn a_client_that_does_not_take_its_answer_is_let_go() {
    let host = Host::prepare().with_guest("cat", program::component(program::CAT)).set("idle_timeout", "1s").start();
    let id = host.submit_raw("cat", vec![b'x'; 30_000_000]);
    host.wait_for(&id, "succeeded");
    let mut stream = connect(&host);
    write!(stream, "GET /v1/jobs/{id}/result HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("writable");
    let files = || std::fs::read_dir(format!("/proc/{}/fd", host.process().id())).expect("it runs").count();
    eventually("the host has opened the result", || {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()
    });
    let before = files();
    eventually("it has closed it", || (files() < before).then_some(()));
    let taken = rest(stream).len();
    assert!(taken < 30_000_000, "what it did not take is not kept for it: {taken}");
}

#[test]
fn one_connection_has_as_many_streams_as_it_may_and_no_more() {
    let host = Setup::start(Host::prepare().with_guest("good", guest::good()).set("streams_max", 2));
    let address = host.process().address().trim_start_matches("http://").to_owned();
    block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.expect("the host listens");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.expect("the host speaks HTTP/2");
        tokio::spawn(connection);
        let mut get = |path: &str| {
            let request = hyper::Request::get(format!("http://{address}{path}")).body(Empty::<Bytes>::new());
            sender.send_request(request.expect("a request"))
        };
        let one = get("/v1/events").await.expect("it listens");
        let _two = get("/v1/events").await.expect("it listens");
        let mut third = std::pin::pin!(get("/healthz"));
        let waited = tokio::time::timeout(Duration::from_secs(1), third.as_mut()).await;
        assert!(waited.is_err(), "two are under way, so the third waits");
        drop(one);
        let answer = tokio::time::timeout(PATIENCE, third).await.expect("its turn comes").expect("an answer");
        assert_eq!(answer.status(), 200);
    });
}

#[test]
fn connections_beyond_the_most_are_refused_until_one_ends() {
    let host = Setup::start(Host::prepare().with_guest("good", guest::good()).set("connections_max", 3));
    // Those of this test's own client end first, or it is counted among them.
    let ask = |stream: &mut TcpStream| {
        let mut head = [0; 12];
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .and_then(|()| stream.read_exact(&mut head))?;
        std::io::Result::Ok(String::from_utf8_lossy(&head[9..]).into_owned())
    };
    let mut open = Vec::new();
    let refused = eventually("there is no place left", || {
        let mut stream = connect(&host);
        let status = ask(&mut stream).ok()?;
        if status == "200" {
            open.push(stream);
            return None;
        }
        Some((status, rest(stream)))
    });
    assert_eq!(refused.0, "503");
    let answer = refused.1.to_lowercase();
    for part in ["retry-after: 1", "connection: close", "application/problem+json", "too_many_connections"] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    assert!((2..=3).contains(&open.len()), "{}", open.len());
    assert!(open.iter_mut().all(|stream| ask(stream).is_ok_and(|_| true)), "those that are in stay");
    drop(open);
    eventually("there is a place again", || ask(&mut connect(&host)).ok().filter(|status| status == "200"));
}
