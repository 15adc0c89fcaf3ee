//! Connections over TLS: which certificates are served and trusted, which protocol is spoken, and what is said where they do not fit.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::support::answer::{Answer, block_on, client};
use crate::support::command::say_with;
use crate::support::{Host, Process, Setup, eventually, guest};

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
