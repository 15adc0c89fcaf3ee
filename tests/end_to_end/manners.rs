//! How the command line behaves to those who use it: what it says of mistakes, before it does anything, and of what is not there.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::command::{say, say_with};
use crate::support::{Host, eventually, guest};

fn host() -> Host {
    Host::prepare().with_plugin("integrate").with_guest("echo", guest::echo()).start()
}

fn jobs(host: &Host) -> usize {
    host.get("/v1/jobs").json()["jobs"].as_array().expect("a list").len()
}

#[test]
fn each_mistake_is_told_with_its_place_and_flags_are_called_flags() {
    let host = host();
    let wrong = r#"{"f": "x", "a": "q", "b": 1, "c": 0, "d": 1, "size": 0}"#;
    for words in [["submit", "integrate", "-i", wrong], ["run", "plugins/integrate.wasm", "-i", wrong]] {
        let said = host.says(&words).ended_with(7);
        for line in ["  /size: value is less than the minimum of 1", "  /a: value is not of type \"number\""] {
            assert!(said.errors.lines().any(|one| one == line), "{words:?}: {}", said.errors);
        }
        assert!(said.errors.contains("try:"), "{}", said.errors);
    }
    for (words, place) in [
        (&["submit", "echo", "--priority", "x"][..], "  --priority: \"x\" is not"),
        (&["submit", "echo", "--max-attempts", "0"], "  --max-attempts: 0 is not"),
    ] {
        let said = host.says(words);
        assert!(said.errors.lines().any(|line| line.starts_with(place)), "{words:?}: {}", said.errors);
        assert!(!said.errors.contains("query parameter"), "{}", said.errors);
    }
}

#[test]
fn what_is_wrong_with_one_job_leaves_no_other_undone() {
    let host = Host::prepare().with_guest("slow", guest::sleeping(std::time::Duration::from_secs(600))).start();
    let [one, two] = [(); 2].map(|()| host.submit("slow", Value::Null));
    let said = host.says(&["cancel", "nope", &one, "neither", &two]).ended_with(6);
    for words in ["nope: No such job", "neither: No such job"] {
        assert!(said.errors.contains(words), "{}", said.errors);
    }
    for id in [&one, &two] {
        assert!(said.text().contains(id.as_str()));
        host.wait_for(id, "cancelled");
    }
    // The first that goes wrong is the one that counts.
    let other = host.submit("slow", Value::Null);
    host.wait_for(&other, "running");
    let said = host.says(&["delete", &other, "nope", &one, "--json"]).ended_with(7);
    assert!(said.errors.contains("for a job that is running"), "{}", said.errors);
    let problems: Vec<Value> = said.errors.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&problems[0]["id"], &problems[1]["id"]), (&json!(other), &json!("nope")));
    assert_eq!(said.json(), json!({"id": one, "deleted": true}));
    let said = say(&["retry", "a", "b"], "http://127.0.0.1:1", b"", host.setup().folder()).ended_with(10);
    assert_eq!(said.errors.matches("no host answers").count(), 1, "{}", said.errors);
    assert!(said.errors.contains("nothing was done about b"), "{}", said.errors);
}

#[test]
fn wrong_usage_is_json_for_those_who_asked_for_json() {
    let setup = Host::prepare();
    let type_ = |words: &[&str]| say(words, "http://127.0.0.1:1", b"", setup.folder()).ended_with(2);
    for (words, hint) in [
        (&["list", "--json", "--foo"][..], "usage: dropforge list [OPTIONS]"),
        (&["lisst", "--json"], "'list'"),
        (&["token", "new", "--scope", "x", "--json"], "`dropforge token new --help`"),
        (&["status", "--json"], "usage: dropforge status [OPTIONS] <ID>"),
        (&["serve", "--json"], "usage: dropforge serve [OPTIONS]"),
    ] {
        let said = type_(words);
        let problem: Value = serde_json::from_str(&said.errors).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        assert!(problem["try"].as_str().is_some_and(|advice| advice.contains(hint)), "{words:?}: {problem}");
        assert!(problem["code"] == "usage" && problem["title"].is_string() && problem["detail"].is_string());
    }
    // What is behind two dashes is no flag. Variables that are set are not asked for.
    let said = type_(&["status", "--", "a", "--json"]);
    assert!(said.errors.starts_with("error: ") && !said.errors.contains("--url"), "{}", said.errors);
    assert!(say(&["list", "--help", "--json"], "", b"", setup.folder()).ended_with(0).text().contains("Usage:"));
}

#[test]
fn json_errors_say_what_to_try_like_those_in_words() {
    let host = host();
    let nobody = say(&["list", "--json"], "http://127.0.0.1:1", b"", host.setup().folder()).ended_with(10);
    for (said, hint) in [
        (host.says(&["submit", "eco", "--json"]), "`dropforge kinds`"),
        (host.says(&["submit", "integrate", "-i", "{}", "--json"]), "`dropforge kinds integrate`"),
        (host.says(&["run", "plugins/integrate.wasm", "-i", "{}", "--json"]), "--input JSON"),
        (nobody, "`dropforge serve`"),
    ] {
        let problem: Value = serde_json::from_str(&said.errors).expect("JSON");
        assert!(problem["try"].as_str().is_some_and(|advice| advice.contains(hint)), "{problem}");
    }
}

#[test]
fn input_that_is_no_json_is_wrong_usage_wherever_it_comes_from() {
    let host = host();
    std::fs::write(host.setup().folder().join("bad.json"), "{\n \"f\": ,\n}").expect("the folder can be written");
    let plugin = "plugins/integrate.wasm";
    for words in [
        &["submit", "integrate", "bad.json"][..],
        &["submit", "integrate", "bad.json", "--type", "application/json"],
        &["submit", "integrate", "-"],
        &["submit", "integrate", "-i", "-"],
        &["submit", "integrate", "-i", "{\n \"f\": ,\n}"],
        &["run", plugin, "bad.json"],
        &["run", plugin, "-"],
        &["run", plugin, "-i", "-"],
    ] {
        let said = host.says_reading(words, b"{\n \"f\": ,\n}").ended_with(2);
        assert!(said.errors.contains("line 2, column 7") && said.errors.contains("try:"), "{words:?}: {}", said.errors);
        let said = host.says_reading(&[words, &["--json"]].concat(), b"{\n \"f\": ,\n}").ended_with(2);
        let problem: Value = serde_json::from_str(&said.errors).expect("JSON");
        assert_eq!(problem["code"], "invalid_json", "{words:?}");
    }
    for typed in ["bad.json", "@bad.json"] {
        let said = host.says(&["submit", "integrate", "-i", typed]).ended_with(2);
        assert!(said.errors.contains("--file bad.json"), "{}", said.errors);
    }
    let said = host.says(&["submit", "integrate", "{\"f\": 1}"]).ended_with(2);
    assert!(said.errors.contains("try: --input '{\"f\": 1}'"), "{}", said.errors);
    assert_eq!(jobs(&host), 0);
    // This kind reads anything, whatever it is said to be.
    host.says(&["submit", "echo", "bad.json", "--type", "application/json", "--wait"]).ended_with(0);
}

#[test]
fn files_that_are_not_there_are_no_such_file_wherever_they_are_named() {
    let host = host();
    for words in [
        &["run", "plugins/echo.wasm", "--settings", "absent.toml"][..],
        &["run", "plugins/echo.wasm", "--config", "absent.toml"],
        &["check", "plugins/echo.wasm", "--config", "absent.toml"],
        &["serve", "--config", "absent.toml"],
        &["submit", "echo", "absent.toml"],
    ] {
        let said = host.says(words).ended_with(6);
        assert!(said.errors.contains("absent.toml"), "{words:?}: {}", said.errors);
    }
}

#[test]
fn a_setting_that_is_wrong_is_named_with_its_place() {
    let setup = Host::prepare();
    let serve = |variables: &[(&str, &Path)], words: &[&str]| {
        say_with(variables, &[&["serve"], words].concat(), "", b"", setup.folder()).ended_with(1).errors
    };
    std::fs::write(setup.folder().join("host.toml"), "timeoutx = 5").expect("the folder can be written");
    let said = serve(&[], &["--config", "host.toml"]);
    assert!(said.contains("host.toml: unknown key \"timeoutx\"; did you mean \"timeout\"?"), "{said}");
    let said = serve(&[("DROPFORGE_WORKERS", Path::new("many"))], &[]);
    assert!(said.contains("DROPFORGE_WORKERS: found \"many\", expected a whole number"), "{said}");
    let said = serve(&[("DROPFORGE_WORKRES", Path::new("2"))], &[]);
    assert!(said.contains("did you mean DROPFORGE_WORKERS?"), "{said}");
    let said = serve(&[], &["--listen", "here"]);
    assert!(said.contains("--listen: expected the address"), "{said}");
}

#[test]
fn the_address_of_the_api_is_the_address_of_its_host() {
    let host = host();
    for end in ["/v1", "/v1/", "/"] {
        let url = format!("{}{end}", host.process().address());
        let said = say(&["kinds"], &url, b"", host.setup().folder()).ended_with(0);
        assert!(said.text().contains("integrate"), "{url}");
    }
}

#[test]
fn what_to_do_is_said_in_commands() {
    let host = host();
    host.says(&["pause", "echo"]).ended_with(0);
    let id = host.submit("echo", json!(1));
    let said = host.says(&["explain", &id]).ended_with(0).text();
    assert!(said.contains("`dropforge resume echo`") && !said.contains("/v1/"), "{said}");
    let said = host.says(&["kinds", "absent"]).ended_with(6).errors;
    assert!(said.contains("`dropforge kinds`") && !said.contains("/v1/"), "{said}");
    let said = host.says(&["kinds", "eco"]).ended_with(6).errors;
    assert!(said.contains("did you mean echo?"), "{said}");
}

#[test]
fn nothing_and_too_much_are_said() {
    let host = host();
    let said = host.says(&["list"]).ended_with(0);
    assert!(said.output.is_empty() && said.errors.contains("no jobs yet"), "{said:?}");
    let said = host.says(&["list", "--state", "failed"]).ended_with(0);
    assert!(said.output.is_empty() && said.errors.contains("`dropforge list`"), "{said:?}");
    (0..3).for_each(|_| drop(host.submit("echo", json!(1))));
    let said = host.says(&["list", "--limit", "2"]).ended_with(0);
    assert!(said.text().lines().count() == 3 && said.errors.contains("--limit 4"), "{said:?}");
    let said = host.says(&["list", "--limit", "3"]).ended_with(0);
    assert!(said.text().lines().count() == 4 && said.errors.is_empty(), "{said:?}");
    assert!(host.says(&["list", "--limit", "2", "--json"]).ended_with(0).json()["next_cursor"].is_string());
    assert!(host.says(&["list", "--json"]).ended_with(0).json()["next_cursor"].is_null());
    let empty = Host::prepare().start();
    for (words, sentence) in [(["kinds"], "no kind serves"), (["plugins"], "no plugin files")] {
        let said = empty.says(&words).ended_with(0);
        assert!(said.output.is_empty() && said.errors.contains(sentence), "{said:?}");
    }
    let tokens = empty.setup().token_command(&["list"]);
    assert!(tokens.stdout.is_empty() && tokens.stderr.contains("`dropforge token new`"), "{tokens:?}");
}

#[test]
fn a_log_that_is_empty_is_not_recommended() {
    let host = Host::prepare().with_guest("bad", guest::run("(unreachable)")).start();
    let said = host.says(&["submit", "bad", "--wait"]).ended_with(3);
    assert!(!said.errors.contains("dropforge logs") && said.errors.contains("`dropforge status"), "{}", said.errors);
    let id = host.get("/v1/jobs").json()["jobs"][0]["id"].as_str().expect("an id").to_owned();
    let said = host.says(&["result", &id]).ended_with(3);
    assert!(!said.errors.contains("dropforge logs") && said.errors.contains("trap"), "{}", said.errors);
    assert!(!host.says(&["status", &id]).ended_with(0).text().contains("0.0 M fuel"));
}

#[test]
fn several_plugin_files_are_checked_at_once() {
    let setup = Host::prepare().with_guest("echo", guest::echo()).with_guest("text", "no program");
    let check = |words: &[&str]| say(&[&["check"], words].concat(), "", b"", setup.folder());
    let said = check(&["plugins/text.wasm", "plugins/absent.wasm", "plugins/echo.wasm"]).ended_with(1);
    assert!(said.text().contains("echo.wasm: can be used") && said.text().contains("text.wasm: cannot"), "{said:?}");
    assert!(said.errors.contains("absent.wasm"), "{}", said.errors);
    let said = check(&["plugins/absent.wasm", "plugins/echo.wasm", "--json"]).ended_with(6);
    assert_eq!(said.json()["usable"], true);
}

#[test]
fn a_file_that_does_not_serve_yet_says_what_is_being_done() {
    let host = Host::start();
    host.drop_file("late.wasm", guest::large(20_000));
    let line = eventually("it is being compiled", || {
        let files = host.says(&["plugins"]).ended_with(0).text();
        let line = files.lines().find(|line| line.starts_with("late.wasm"))?.to_owned();
        line.contains("is being compiled").then_some(line)
    });
    assert!(line.contains("compiling") && line.contains("MiB"), "{line}");
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let host = host();
    for words in [
        &["status", ""][..],
        &["delete", ".."],
        &["cancel", "."],
        &["kinds", ""],
        &["submit", ".."],
        &["list", "--limit", "many"],
        &["serve", "--grace", "5"],
        &["serve", "--workers", "x"],
        &["token", "revoke", "x"],
    ] {
        let said = host.says(words).ended_with(2);
        assert!(said.errors.contains("try:") && !said.errors.contains("digit found"), "{words:?}: {}", said.errors);
    }
    let id = host.submit("echo", json!(1));
    assert!(host.says(&["status", &format!("/v1/jobs/{id}")]).ended_with(0).text().contains(&id));
}

#[test]
fn an_empty_log_is_said_to_be_empty() {
    let host = host();
    let id = host.submit("echo", json!(1));
    host.wait_for(&id, "succeeded");
    for words in [&["logs", &id][..], &["logs", "--follow", &id]] {
        let said = host.says(words).ended_with(0);
        assert!(said.output.is_empty() && said.errors.contains("has written nothing"), "{said:?}");
    }
    assert_eq!(host.says(&["logs", &id, "--json"]).ended_with(0).errors, "");
}

#[test]
fn data_folders_that_are_not_there_or_not_whole_are_called_so() {
    let setup = Host::prepare();
    let type_ = |words: &[&str]| say(words, "", b"", setup.folder());
    for words in [["verify", "absent"], ["export", "absent"], ["compact", "absent"]] {
        let said = type_(&words).ended_with(6);
        assert!(said.errors.contains("absent") && !said.errors.contains("damaged"), "{}", said.errors);
    }
    std::fs::write(setup.folder().join("cut"), "{\n").expect("the folder can be written");
    let said = type_(&["import", "cut", "new"]).ended_with(1);
    assert!(said.errors.contains("line 1") && said.errors.contains("try: delete new"), "{}", said.errors);
    let said = type_(&["import", "cut", "new"]).ended_with(1);
    assert!(said.errors.contains("not empty") && !said.errors.contains("try:"), "{}", said.errors);
}
