//! Secrets that change while their kind serves: the next job gets the new one, whatever else is wrong.

use crate::support::{Host, eventually, guest};

const TOML: &str = "[secrets]\nTOKEN = { file = \"../token\" }";

fn host() -> Host {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest::probe());
    setup.with_file("kind.toml", TOML).with_file("../token", "one\n").start()
}

/// Puts another secret in the place of the one before, in one step.
fn rotate(host: &Host, secret: &str) {
    let (new, token) = (host.setup().folder().join("new"), host.setup().folder().join("token"));
    std::fs::write(&new, secret).expect("it can be written");
    std::fs::rename(new, token).expect("a file can be renamed");
}

fn secret(host: &Host) -> Vec<String> {
    host.probe("kind", &["config TOKEN", "env TOKEN"])
}

fn assert_reaches_jobs(host: &Host, expected: &str) {
    eventually(&format!("{expected:?} reaches a job"), || (secret(host) == [expected, expected]).then_some(()));
}

fn assert_rejected(host: &Host, hint: &str) {
    eventually(&format!("a reason with {hint:?}"), || {
        let file = host.file("kind.wasm");
        let reason = file["reason"].as_str().unwrap_or_default();
        (file["state"] == "rejected" && reason.contains(hint)).then_some(())
    });
}

/// Fault: a password is changed because it has leaked, and the host goes on using the old one until somebody touches NAME.toml.
#[test]
fn a_rotated_secret_reaches_the_next_job() {
    let host = host();
    assert_eq!(secret(&host), ["one", "one"]);
    rotate(&host, "two");
    assert_reaches_jobs(&host, "two");
    // Written in place, too.
    std::fs::write(host.setup().folder().join("token"), "three").expect("it can be written");
    assert_reaches_jobs(&host, "three");
    assert_eq!(host.file("kind.wasm")["state"], "serving");
    for path in ["/v1/kinds/kind", "/v1/plugins"] {
        assert!(!host.get(path).text().contains("three"), "{path}");
    }
    assert!(!host.process().stderr().contains("three"));
    host.still_works();
}

#[test]
fn a_secret_that_becomes_unreadable_is_named_as_at_the_start_and_the_old_one_stays() {
    let mut host = host();
    std::fs::remove_file(host.setup().folder().join("token")).expect("the file is there");
    let hint = "kind.toml: secrets.TOKEN: the file \"../token\" cannot be read";
    assert_rejected(&host, hint);
    assert_eq!(secret(&host), ["one", "one"]);
    rotate(&host, "two");
    assert_reaches_jobs(&host, "two");
    assert_eq!(host.file("kind.wasm")["state"], "serving");
    // The words of a host that starts without it.
    std::fs::remove_file(host.setup().folder().join("token")).expect("the file is there");
    host.kill_and_restart();
    assert_rejected(&host, hint);
    rotate(&host, "three");
    eventually("the kind serves", || (host.file("kind.wasm")["state"] == "serving").then_some(()));
    assert_eq!(secret(&host), ["three", "three"]);
}

/// Fault: a broken new version keeps a new secret from the old one, which goes on serving.
#[test]
fn a_rotated_secret_reaches_jobs_of_the_old_version_while_the_new_one_is_rejected() {
    let mut host = host();
    host.drop_file("kind.wasm", "nonsense");
    assert_rejected(&host, "WebAssembly");
    rotate(&host, "two");
    assert_reaches_jobs(&host, "two");
    host.drop_file("kind.wasm", guest::probe());
    eventually("the mended version serves", || (host.file("kind.wasm")["state"] == "serving").then_some(()));
    host.drop_file("kind.toml", "nonsense =");
    assert_rejected(&host, "is not TOML");
    rotate(&host, "three");
    assert_reaches_jobs(&host, "three");
    // Also of the last good one, which serves after a restart.
    host.kill_and_restart();
    assert_rejected(&host, "is not TOML");
    assert_eq!(secret(&host), ["three", "three"]);
    rotate(&host, "four");
    assert_reaches_jobs(&host, "four");
    host.still_works();
}
