//! What comes of saying it wrongly: a sentence that tells what to change, and never a secret.

use super::{host, reason};
use crate::support::{eventually, guest};

/// Fault: a misspelt limit is silently no limit at all.
#[test]
fn every_mistake_names_the_key_what_was_found_and_what_is_expected() {
    let host = host(guest::good(), "");
    for (toml, parts) in [
        ("timout = 5", &["kind.toml", "unknown key \"timout\"", "did you mean \"timeout\"?"][..]),
        ("[[http]]\nhots = \"a.example\"", &["http", "unknown key \"hots\"", "did you mean \"host\"?"]),
        ("zzz = 1", &["unknown key \"zzz\"", "known are", "memory_bytes"]),
        ("memory_bytes = \"much\"", &["memory_bytes", "found \"much\"", "expected a whole number"]),
        ("memory_bytes = -1", &["memory_bytes", "found -1", "expected a whole number"]),
        ("memory_bytes = 1073741825", &["memory_bytes", "1073741825", "1073741824", "the host's own memory_bytes_max"]),
        ("timeout = \"soon\"", &["timeout", "found \"soon\"", "expected a duration such as \"2s\""]),
        ("timeout = 0", &["timeout", "found 0 ms"]),
        ("timeout_max = \"3601s\"", &["timeout_max", "3601000 ms", "3600000 ms"]),
        ("timeout = \"3s\"\ntimeout_max = \"2s\"", &["timeout", "3000 ms", "2000 ms"]),
        ("keep = \"forever\"", &["keep", "found \"forever\"", "expected a duration such as \"2s\""]),
        ("keep_jobs_max = -1", &["keep_jobs_max", "found -1", "expected a whole number"]),
        ("keep_bytes = 1", &["unknown key \"keep_bytes\"", "did you mean \"keep_bytes_max\"?"]),
        ("concurrency = 0", &["concurrency", "found 0"]),
        ("max_attempts = 101", &["max_attempts", "found 101", "100"]),
        ("retry_on = [\"trap\", \"host_crash\"]", &["retry_on", "found \"host_crash\"", "out_of_fuel"]),
        ("retry_on = [\"trapp\"]", &["retry_on", "found \"trapp\"", "did you mean \"trap\"?"]),
        ("job_args = \"yes\"", &["job_args", "found \"yes\"", "true or false"]),
        ("media_type = \"json\"", &["media_type", "found \"json\"", "application/json"]),
        ("[[http]]\nscheme = \"http\"", &["http", "\"host\" is missing"]),
        ("[[http]]\nhost = \"127.1\"", &["http", "host", "found \"127.1\"", "api.example.com"]),
        ("[[http]]\nhost = \"a.example\"\nport = 0", &["http", "port 0"]),
        ("[[http]]\nhost = \"a.example\"\nmethods = [\"get\"]", &["methods", "found \"get\"", "POST"]),
        ("[[http]]\nhost = \"a.example\"\nmethods = []", &["http.0.methods", "empty list"]),
        ("[[http]]\nhost = \"a.example\"\nscheme = \"ftp\"", &["scheme", "found \"ftp\"", "http, https"]),
        ("[[tcp]]\nhost = \"a.example\"", &["tcp", "\"port\" is missing"]),
        ("[[folders]]\nguest = \"model\"\nhost = \".\"", &["folders.0.guest", "found \"model\"", "/model"]),
        ("[[folders]]\nguest = \"/a/../b\"\nhost = \".\"", &["folders.0.guest", "/a/../b"]),
        ("[[folders]]\nguest = \"/a\"\nhost = \"nowhere\"", &["folders.0.host", "nowhere", "a folder that is there"]),
        ("[environment]\n\"A=B\" = \"1\"", &["environment", "A=B"]),
        ("[config]\nA = \"1\"\n[secrets]\nA = { variable = \"PATH\" }", &["config.A", "secrets.A", "same name"]),
        ("[secrets]\nA = { file = \"nowhere\" }", &["secrets.A", "nowhere"]),
        ("[secrets]\nA = { variable = \"NO_SUCH_THING\" }", &["secrets.A", "NO_SUCH_THING"]),
        ("[secrets]\nA = { variable = \"PATH\", file = \"b\" }", &["secrets.A", "expected { file"]),
        ("timeout =", &["line 1 is not TOML"]),
        ("timeout = 1\n\ntimeout = 2", &["line 3 is not TOML", "timeout"]),
    ] {
        host.drop_file("kind.toml", toml);
        eventually(&format!("{toml:?} is refused with all of {parts:?}, not {}", host.file("kind.wasm")), || {
            let file = host.file("kind.wasm");
            let reason = file["reason"].as_str().unwrap_or_default();
            (file["state"] == "rejected" && parts.iter().all(|part| reason.contains(*part))).then_some(())
        });
    }
    host.still_works();
}

/// Fault: a secret that was put in the wrong place is read out to everybody who asks for the reason.
#[test]
fn a_mistake_beside_a_secret_does_not_tell_it() {
    let host = host(guest::good(), "");
    for toml in [
        "[secrets]\nTOKEN = \"hunter2\"",
        "[secrets]\nTOKEN = { file = [\"hunter2\"] }",
        "[environment]\nTOKEN = [\"hunter2\"]",
        "[environment]\nTOKEN = \"hunter2",
        "[config]\nTOKEN = { value = \"hunter2\" }",
        "[environment]\nTOKEN = \"hunter2\\q\"",
    ] {
        host.drop_file("kind.toml", toml);
        let reason = reason(&host, "kind.toml");
        assert!(!reason.contains("hunter2"), "{toml:?}: {reason}");
        host.drop_file("kind.toml", "");
        eventually("the mended settings serve", || (host.file("kind.wasm")["state"] == "serving").then_some(()));
    }
    assert!(!host.process().stderr().contains("hunter2"));
}
