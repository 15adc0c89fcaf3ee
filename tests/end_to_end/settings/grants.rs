//! What a kind is given: values, variables, secrets and folders, which reach it and nobody else.

use serde_json::json;

use super::setup;
use crate::support::{Setup, guest};

#[test]
fn values_variables_and_secrets_reach_their_own_kind_only() {
    let toml = r#"
        [config]
        GREETING = "hello"
        [environment]
        LANG = "fr"
        [secrets]
        TOKEN = { file = "../token" }
        KEY = { variable = "KEY_OF_THE_HOST" }"#;
    let setup = setup(guest::probe(), toml).with_guest("other", guest::probe()).with_file("../token", "hunter2\n");
    let host = setup.with_variable("KEY_OF_THE_HOST", "hunter3").start();
    let tries =
        ["config GREETING", "env GREETING", "env LANG", "config LANG", "env TOKEN", "config TOKEN", "env KEY", "vars"];
    let answers = host.probe("kind", &tries);
    assert_eq!(answers, ["hello", "unset", "fr", "unset", "hunter2", "hunter2", "hunter3", "KEY LANG TOKEN"]);
    let nothing = ["unset", "unset", "unset", "unset", "unset", "unset", "unset", ""];
    assert_eq!(host.probe("other", &tries), nothing);
    for path in ["/v1/kinds", "/v1/kinds/kind", "/v1/plugins"] {
        let shown = host.get(path).text();
        assert!(!shown.contains("hunter") && !shown.contains("\"fr\"") && !shown.contains("hello"), "{path}: {shown}");
    }
    assert!(!host.process().stderr().contains("hunter"));
    host.still_works();
}

/// A folder with a file, links that lead out of it and one that stays inside, and a secret beside it.
fn setup_with_folder() -> Setup {
    let toml = "[[folders]]\nguest = \"/model\"\nhost = \"../model\"";
    let setup = setup(guest::probe(), toml).with_guest("other", guest::probe());
    let folder = setup.folder().join("model");
    std::fs::create_dir_all(folder.join("inner")).expect("a folder can be made");
    std::fs::write(folder.join("words"), "one two").expect("it can be written");
    std::fs::write(setup.folder().join("outside"), "hunter2").expect("it can be written");
    for (link, to) in [
        ("inside", "words"),
        ("relative", "../outside"),
        ("absolute", "/etc/passwd"),
        ("upwards", ".."),
        ("inner/twice", "../../outside"),
    ] {
        std::os::unix::fs::symlink(to, folder.join(link)).expect("a link can be made");
    }
    setup
}

#[test]
fn a_granted_folder_can_be_read_and_nothing_else() {
    let host = setup_with_folder().start();
    let good = ["read /model/words", "read /model/inside", "read /model/inner/../words", "list /model/inner"];
    assert_eq!(host.probe("kind", &good), ["one two", "one two", "one two", "twice"]);
    let tries = [
        "read /model/relative",
        "read /model/absolute",
        "read /model/upwards/outside",
        "read /model/inner/twice",
        "read /model/../outside",
        "read /model/inner/../../outside",
        "read /outside",
        "read /etc/passwd",
        "list /model/..",
        "list /",
        "write /model/new",
        "write /model/words",
        "remove /model/words",
        "write /new",
    ];
    for (tried, answer) in tries.iter().zip(host.probe("kind", &tries)) {
        assert!(answer.starts_with("error: "), "{tried} gives {answer}");
    }
    assert_eq!(std::fs::read(host.setup().folder().join("model/words")).expect("it is there"), b"one two");
    assert!(!host.setup().folder().join("model/new").exists());
    // Another kind was granted nothing, not even to see it.
    for answer in host.probe("other", &["read /model/words", "list /model"]) {
        assert!(answer.starts_with("error: "), "{answer}");
    }
    host.still_works();
}

#[test]
fn a_granted_folder_that_has_gone_fails_the_job_and_says_so() {
    let host = setup_with_folder().start();
    std::fs::rename(host.setup().folder().join("model"), host.setup().folder().join("gone"))
        .expect("it can be renamed");
    let id = host.submit_raw("kind?max_attempts=1", "read /model/words");
    let failure = host.failure(&id);
    assert_eq!((&failure["code"], &failure["fault"]), (&json!("internal"), &json!("host")), "{failure}");
    assert!(failure["message"].as_str().is_some_and(|text| text.contains("/model")), "{failure}");
    host.still_works();
}
