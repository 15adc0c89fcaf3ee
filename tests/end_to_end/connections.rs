//! What connections may be: encrypted or not, of which protocol, how many, and how slow.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::support::answer::{Answer, block_on, builder, client};
use crate::support::command::say_with;
use crate::support::ws::{Over, Socket};
use crate::support::{Host, PATIENCE, Process, Setup, eventually, guest, program};

/// A certificate for `localhost` and its key, in files of the setup's folder.
fn certificate(setup: &Setup, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate can be made");
    let path = |end: &str| setup.folder().join(format!("{name}.{end}"));
    std::fs::write(path("pem"), made.cert.pem()).expect("writable");
    std::fs::write(path("key"), made.signing_key.serialize_pem()).expect("writable");
    (path("pem"), path("key"))
}

fn serve_tls(setup: &Setup, certificate: &Path, key: &Path) -> Process {
    let files = [OsStr::new("--tls-cert"), certificate.as_os_str(), OsStr::new("--tls-key"), key.as_os_str()];
    setup.serve(["--listen", "127.0.0.1:0"].map(OsStr::new).into_iter().chain(files))
}

/// Asks whether the host is alive, over TLS, offering these protocols. Answers which one was chosen, and the status.
fn ask_over_tls(address: &str, root: &Path, protocols: &[&str]) -> std::io::Result<(String, u16)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).expect("a certificate")).expect("it can be trusted");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has them");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let address = address.trim_start_matches("https://").to_owned();
    block_on(async move {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let name = "localhost".try_into().expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let protocol = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        let protocol = protocol.unwrap_or_default();
        let request = hyper::Request::get("https://localhost/healthz").header("host", "localhost");
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let answer = if protocol == "h2" {
            let io = TokioIo::new(stream);
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(std::io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        answer.map(|answer| (protocol, answer.status().as_u16())).map_err(std::io::Error::other)
    })
}

#[test]
fn the_command_line_talks_to_a_host_over_tls_if_its_certificate_is_trusted() {
    let setup = Host::prepare();
    let (root, key) = certificate(&setup, "host");
    let mut process = serve_tls(&setup, &root, &key);
    assert!(process.comes_up());
    let url = process.address().replace("127.0.0.1", "localhost");
    let folder = setup.folder();
    say_with(&[("SSL_CERT_FILE", &root)], &["kinds"], &url, b"", folder).ended_with(0);
    let (stranger, _) = certificate(&setup, "stranger");
    let refused = say_with(&[("SSL_CERT_FILE", &stranger)], &["kinds"], &url, b"", folder).ended_with(10);
    assert!(
        refused.errors.contains("issued its certificate") && refused.errors.contains("SSL_CERT_FILE"),
        "{}",
        refused.errors
    );
    let at_address = say_with(&[("SSL_CERT_FILE", &root)], &["kinds"], process.address(), b"", folder).ended_with(10);
    assert!(at_address.errors.contains("localhost"), "which names it is for: {}", at_address.errors);
    // Fault: a file that is not there counts as none, and nobody says so.
    let absent = say_with(&[("SSL_CERT_FILE", Path::new("absent.pem"))], &["kinds"], &url, b"", folder).ended_with(6);
    assert!(absent.errors.contains("absent.pem") && absent.errors.contains("SSL_CERT_FILE"), "{}", absent.errors);
    let empty = say_with(&[("SSL_CERT_FILE", &key)], &["kinds"], &url, b"", folder).ended_with(1);
    assert!(empty.errors.contains("no certificate in it"), "{}", empty.errors);
    let clear = say_with(&[], &["kinds"], &url.replace("https", "http"), b"", folder).ended_with(10);
    assert!(
        clear.errors.contains("speaks https") && clear.errors.contains(&format!("try: --url {url}")),
        "{}",
        clear.errors
    );
}

/// Fault: without certificates of authorities not even hosts that speak clear text can be reached.
#[test]
fn a_host_in_clear_text_needs_no_certificates() {
    let host = Host::start();
    let nowhere = Path::new("/absent");
    let variables = [("SSL_CERT_FILE", nowhere), ("SSL_CERT_DIR", nowhere)];
    say_with(&variables, &["kinds"], host.process().address(), b"", host.setup().folder()).ended_with(0);
}

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
fn both_protocols_are_spoken_over_tls_and_the_client_chooses() {
    let setup = Host::prepare().with_guest("good", guest::good());
    let (pem, key) = certificate(&setup, "a");
    let mut process = serve_tls(&setup, &pem, &key);
    assert!(process.comes_up(), "{}", process.stderr());
    let address = process.address();
    assert!(address.starts_with("https://127.0.0.1:"), "{address}");
    let ask = |protocols: &[&str]| ask_over_tls(address, &pem, protocols).expect("an answer");
    assert_eq!(ask(&["http/1.1", "h2"]), ("h2".to_owned(), 200));
    assert_eq!(ask(&["http/1.1"]), ("http/1.1".to_owned(), 200));
    assert_eq!(ask(&[]), (String::new(), 200));
    // Whoever knows another certificate, or speaks in the clear, is not served and harms nobody.
    let (other, _) = certificate(&setup, "other");
    assert!(ask_over_tls(address, &other, &["h2"]).is_err());
    let plain = address.replace("https://", "http://");
    assert!(Answer::try_of(client().get(format!("{plain}/healthz"))).is_err());
    assert_eq!(ask(&["h2"]).1, 200);
}

#[test]
fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let setup = Host::prepare();
    let ((pem, key), (new_pem, new_key)) = (certificate(&setup, "a"), certificate(&setup, "b"));
    let mut process = serve_tls(&setup, &pem, &key);
    assert!(process.comes_up(), "{}", process.stderr());
    let old = setup.folder().join("old.pem");
    std::fs::copy(&pem, &old).expect("a file can be copied");
    let is_known = |root: &Path| ask_over_tls(process.address(), root, &[]).is_ok();
    // One file before the other, as a careless script would.
    std::fs::copy(&new_pem, &pem).expect("a file can be copied");
    eventually("the host says so", || process.stderr().contains("the certificate stays as it was").then_some(()));
    assert!(is_known(&old) && !is_known(&new_pem));
    std::fs::copy(&new_key, &key).expect("a file can be copied");
    eventually("the new one is used", || is_known(&new_pem).then_some(()));
    assert!(!is_known(&old));
}

#[test]
fn what_is_wrong_with_the_files_is_said_at_the_start() {
    let setup = Host::prepare();
    let ((pem, key), (_, other_key)) = (certificate(&setup, "a"), certificate(&setup, "b"));
    let (missing, nonsense) = (setup.folder().join("missing.pem"), setup.folder().join("nonsense.pem"));
    std::fs::write(&nonsense, "nonsense").expect("writable");
    for (pem, key, hints) in [
        (&pem, &other_key, ["b.key", "is not that of"]),
        (&missing, &key, ["missing.pem", "cannot be read"]),
        (&pem, &missing, ["missing.pem", "cannot be read"]),
        (&nonsense, &key, ["no certificate", "nonsense.pem"]),
        (&pem, &nonsense, ["no private key", "nonsense.pem"]),
        (&key, &key, ["no certificate", "a.key"]),
        (&pem, &pem, ["no private key", "a.pem"]),
    ] {
        let exit = serve_tls(&setup, pem, key).wait();
        assert!(!exit.status.success() && exit.stdout.is_empty(), "{exit:?}");
        let last = exit.stderr.lines().last().unwrap_or_default();
        assert!(hints.iter().all(|hint| last.contains(hint)), "{hints:?}: {last}");
    }
    let exit = setup.serve(["--tls-cert", "a.pem"]).wait();
    assert!(exit.stderr.contains("tls_key"), "{}", exit.stderr);
    assert!(!setup.folder().join("dropforge-data").exists(), "nothing has been touched");
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
