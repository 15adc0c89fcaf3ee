//! `plugins/NAME.toml`: what an operator can say about one kind, and what comes of saying it wrongly.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::guest::Guest;
use crate::support::{Host, Setup, eventually, guest};

/// A host with the plugin `good` and a plugin `kind` that has these settings.
fn host(guest: impl AsRef<[u8]>, toml: &str) -> Host {
    setup(guest, toml).start()
}

fn setup(guest: impl AsRef<[u8]>, toml: &str) -> Setup {
    Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest).with_file("kind.toml", toml)
}

fn limits(host: &Host) -> Value {
    host.get("/v1/kinds/kind").json()["limits"].clone()
}

/// Waits until the host has looked at a changed version of `kind`, and answers what it says about it.
fn reason(host: &Host, contains: &str) -> String {
    eventually(&format!("a reason with {contains:?}"), || {
        let file = host.file("kind.wasm");
        file["reason"].as_str().filter(|reason| reason.contains(contains)).map(str::to_owned)
    })
}

#[test]
fn limits_of_a_kind_are_the_operators() {
    let toml = "timeout = \"300ms\"\ntimeout_max = 2000\nmemory_bytes = 1048576\noutput_bytes = 4\nfuel_per_ms = 7\nmax_attempts = 2";
    let host = host(guest::good(), toml);
    let limits = limits(&host);
    for (name, value) in [
        ("timeout_ms", 300),
        ("timeout_ms_max", 2000),
        ("memory_bytes", 1_048_576),
        ("output_bytes", 4),
        ("fuel_per_ms", 7),
        ("max_attempts", 2),
    ] {
        assert_eq!(limits[name], value, "{name} in {limits}");
    }
    assert_eq!(host.job(&host.submit("kind", Value::Null))["max_attempts"], 2);
    assert_eq!(host.post_job(&json!({"kind": "kind", "timeout": "2s"})).status, 202);
    host.post_job(&json!({"kind": "kind", "timeout": 2001})).refused(422, "invalid_option");
}

#[test]
fn a_job_is_held_to_its_kinds_limits_and_others_to_their_own() {
    let grow = |pages: u32| {
        guest::run(&format!(r#"(drop (memory.grow (i32.const {pages}))) (return (call $done (text "") (text "ok")))"#))
    };
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("slow", guest::endless());
    let setup = setup.with_file("slow.toml", "timeout = \"200ms\"");
    // The guest of the tests begins with two pages of 64 KiB.
    let setup = setup.with_guest("inside", grow(2)).with_file("inside.toml", "memory_bytes = 262144");
    let setup = setup.with_guest("outside", grow(3)).with_file("outside.toml", "memory_bytes = 262144");
    let setup = setup.with_guest("two", guest::answering("ok")).with_file("two.toml", "output_bytes = 2");
    let setup = setup.with_guest("three", guest::answering("ok!")).with_file("three.toml", "output_bytes = 2");
    let setup = setup.with_guest("starved", guest::endless()).with_file("starved.toml", "fuel_per_ms = 10");
    let host = setup.start();
    for (kind, code) in [
        ("slow", "deadline_exceeded"),
        ("outside", "memory_exceeded"),
        ("three", "output_too_large"),
        ("starved", "out_of_fuel"),
    ] {
        assert_eq!(host.failure(&host.submit(kind, Value::Null))["code"], code, "{kind}");
    }
    for kind in ["inside", "two"] {
        assert_eq!(host.output(&host.submit(kind, Value::Null)), b"ok", "{kind}");
    }
    host.still_works();
}

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

#[test]
fn a_file_of_64_kib_is_read_and_a_larger_one_is_refused() {
    let padded = |bytes: usize| "timeout = \"5s\"\n#".to_owned() + &"x".repeat(bytes - 16);
    let host = host(guest::good(), &padded(65_536));
    assert_eq!(limits(&host)["timeout_ms"], 5_000);
    host.drop_file("kind.toml", padded(65_537));
    let reason = reason(&host, "kind.toml");
    assert!(reason.contains("65537") && reason.contains("65536"), "{reason}");
    assert_eq!(limits(&host)["timeout_ms"], 5_000);
}

#[test]
fn changed_settings_take_over_while_running_jobs_keep_the_old_ones() {
    let host = host(guest::sleeping(Duration::from_secs(2)), "timeout = \"30s\"");
    let old = host.submit("kind", Value::Null);
    host.wait_for(&old, "running");
    host.drop_file("kind.toml", "timeout = \"100ms\"");
    eventually("the new settings serve", || (limits(&host)["timeout_ms"] == 100).then_some(()));
    let new = host.submit("kind", Value::Null);
    assert_eq!(host.failure(&new)["code"], "deadline_exceeded");
    assert_eq!(host.output(&old), b"ok");
    std::fs::remove_file(host.setup().plugins().join("kind.toml")).expect("the file is there");
    eventually("the defaults serve", || (limits(&host)["timeout_ms"] == 60_000).then_some(()));
}

/// Promise 5, for settings: a broken file never interrupts, across restarts too.
#[test]
fn broken_settings_leave_the_old_version_serving_after_a_restart() {
    let mut host = host(guest::answering("one"), "timeout = \"7s\"");
    let answer = |host: &Host| host.output(&host.submit("kind", Value::Null));
    host.drop_file("kind.toml", "timeout = \"never\"");
    reason(&host, "never");
    assert_eq!((answer(&host), limits(&host)["timeout_ms"].as_u64()), (b"one".to_vec(), Some(7_000)));
    host.kill_and_restart();
    assert_eq!(host.file("kind.wasm")["state"], "rejected");
    assert_eq!((answer(&host), limits(&host)["timeout_ms"].as_u64()), (b"one".to_vec(), Some(7_000)));
    // A broken program keeps its good settings as well, and never runs with those beside it.
    host.drop_file("kind.toml", "timeout = \"9s\"");
    eventually("the mended settings serve", || (limits(&host)["timeout_ms"] == 9_000).then_some(()));
    host.drop_file("kind.wasm", "nonsense");
    reason(&host, "WebAssembly");
    host.drop_file("kind.toml", "timeout = \"11s\"");
    host.kill_and_restart();
    assert_eq!((answer(&host), limits(&host)["timeout_ms"].as_u64()), (b"one".to_vec(), Some(9_000)));
}

#[test]
fn settings_are_for_the_file_of_the_same_name_only() {
    let setup = setup(guest::good(), "timeout = \"7s\"")
        .with_file("other.toml", "nonsense")
        .with_file("good.toml.bak", "nonsense");
    let host = setup.with_file(".kind.toml", "nonsense").start();
    assert_eq!(limits(&host)["timeout_ms"], 7_000);
    assert_eq!(host.get("/v1/kinds/good").json()["limits"]["timeout_ms"], 60_000);
    let files = host.get("/v1/plugins").json();
    assert_eq!(files["plugins"].as_array().map(Vec::len), Some(2), "{files}");
    host.still_works();
}

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

fn milliseconds(job: &Value, field: &str) -> i64 {
    let text = job[field].as_str().expect("it has ended");
    text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
}

/// The most of these jobs that ran at one time.
fn most_at_once(jobs: &[Value]) -> usize {
    let running_at = |at: i64| {
        jobs.iter().filter(move |job| milliseconds(job, "started_at") <= at && at < milliseconds(job, "finished_at"))
    };
    jobs.iter().map(|job| running_at(milliseconds(job, "started_at")).count()).max().unwrap_or(0)
}

/// Fault: places are counted per worker, or only for jobs that compute, and a rate limit upstream is broken.
#[test]
fn concurrency_holds_over_all_workers_for_waiting_and_computing_jobs() {
    let waiting = guest::sleeping(Duration::from_millis(150));
    let computing = guest::run(
        r#"(loop $more (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000000))))
           (return (call $done (text "") (text "ok")))"#,
    );
    let setup =
        setup(waiting, "concurrency = 3").with_guest("busy", computing).with_file("busy.toml", "concurrency = 1");
    let host = setup.with_guest("free", guest::sleeping(Duration::from_millis(400))).set("workers", 4).start();
    let submit = |kind: &str, count: usize| (0..count).map(|_| host.submit(kind, Value::Null)).collect::<Vec<_>>();
    let (waiting, busy, free) = (submit("kind", 15), submit("busy", 5), submit("free", 8));
    let ended = |ids: &[String]| ids.iter().map(|id| host.wait_for(id, "succeeded")).collect::<Vec<_>>();
    assert_eq!(most_at_once(&ended(&waiting)), 3);
    assert_eq!(most_at_once(&ended(&busy)), 1);
    assert!(most_at_once(&ended(&free)) > 3, "a kind without a limit is held back by the others'");
    assert_eq!(limits(&host)["concurrency"], 3);
    host.still_works();
}

#[test]
fn a_kinds_queue_is_as_long_as_its_settings_say() {
    let host = host(guest::sleeping(Duration::from_secs(60)), "queue_max = 2\nconcurrency = 1");
    assert_eq!(limits(&host)["queue_max"], 2);
    let ids = [host.submit("kind", Value::Null), host.submit("kind", Value::Null)];
    host.post_job(&json!({"kind": "kind"})).refused(503, "queue_full");
    host.still_works();
    host.cancel(&ids[1]);
    let third = host.submit("kind", Value::Null);
    host.post_job(&json!({"kind": "kind"})).refused(503, "queue_full");
    host.cancel(&ids[0]);
    host.wait_for(&third, "running");
}

#[test]
fn a_kinds_failures_are_retried_as_its_settings_say() {
    let trap = || guest::run("(unreachable)");
    let toml = "retry_on = [\"trap\", \"invalid_input\"]\nmax_attempts = 3\nretry_pause = \"20ms\"\nretry_pause_max = \"30ms\"";
    let setup = setup(trap(), toml).with_guest("plain", trap()).with_guest("slow", trap());
    let host = setup.with_file("slow.toml", "retry_on = [\"trap\"]\nretry_pause = \"1h\"").start();
    let (retried, plain) = (host.submit("kind", Value::Null), host.submit("plain", Value::Null));
    let job = host.wait_for(&retried, "failed");
    assert_eq!((&job["attempts"], &job["failure"]["retryable"]), (&json!(3), &json!(true)), "{job}");
    // Two pauses of at least half of 20 and 30 ms.
    assert!(milliseconds(&job, "finished_at") - milliseconds(&job, "created_at") >= 25, "{job}");
    let job = host.wait_for(&plain, "failed");
    assert_eq!((&job["attempts"], &job["failure"]["retryable"]), (&json!(1), &json!(false)), "{job}");
    let slow = host.submit("slow", Value::Null);
    let job = host.wait_for(&slow, "scheduled");
    let due = milliseconds(&job, "run_at") - milliseconds(&job, "created_at");
    assert!(due >= 1_800_000, "tried again after {due} ms");
    let shown = limits(&host);
    assert_eq!(
        (&shown["retry_on"], &shown["retry_pause_ms_max"]),
        (&json!(["trap", "invalid_input"]), &json!(30)),
        "{shown}"
    );
    host.still_works();
}

/// Runs a job that prepares something and then makes these calls over and over, and expects it to end at its deadline
/// without holding up a neighbour on the same thread.
///
/// Fault: the clock is looked at after so much fuel, and a host call costs no fuel however long it takes.
#[track_caller]
fn stops_in_time(toml: &str, prepare: &str, calls: &str) {
    // An allocator that gives the same place again and again, so that nothing else ends it.
    let run = format!("{prepare} (loop $forever {calls} (br $forever))");
    let attack = Guest { run: &run, realloc: "(return (i32.const 65536))", pages: 64, ..Guest::GOOD }.component();
    let neighbour = guest::sleeping(Duration::from_millis(200));
    let host = setup(attack, toml).with_guest("neighbour", neighbour).set("workers", 1).start();
    let waiting = host.submit("neighbour", Value::Null);
    host.wait_for(&waiting, "running");
    let id = host.submit_job(json!({"kind": "kind", "timeout": "1s"}));
    let job = host.wait_for(&id, "failed");
    assert_eq!(job["failure"]["code"], "deadline_exceeded", "{job}");
    let wall_ms = job["usage"][0]["wall_ms"].as_u64().expect("a number");
    // 100 ms by the promise; the rest is for a machine that does other things meanwhile.
    assert!(wall_ms < 1_300, "stopped after {wall_ms} ms instead of 1000");
    let neighbour = host.wait_for(&waiting, "succeeded");
    let wall_ms = neighbour["usage"][0]["wall_ms"].as_u64().expect("a number");
    assert!(wall_ms < 500, "a neighbour had to wait {wall_ms} ms for its 200");
    host.still_works();
}

#[test]
fn a_job_that_does_nothing_but_read_its_environment_is_stopped_in_time() {
    let toml = format!("[environment]\nLARGE = \"{}\"", "x".repeat(60_000));
    stops_in_time(&toml, "", "(call $environment (i32.const 832))");
}

#[test]
fn a_job_that_does_nothing_but_make_sockets_is_stopped_in_time() {
    stops_in_time(
        "",
        "",
        "(call $create_socket (i32.const 0) (i32.const 832)) (call $drop_socket (i32.load (i32.const 836)))",
    );
}

#[test]
fn a_job_that_does_nothing_but_copy_fields_is_stopped_in_time() {
    let prepare = r#"(local.set $i (call $new_fields))
        (drop (call $done (text "") (text "")))
        (call $append (local.get $i) (text "name") (i32.const 8192) (i32.const 60000) (i32.const 832))"#;
    stops_in_time(
        "",
        prepare,
        "(call $entries (local.get $i) (i32.const 832)) (call $drop_fields (call $clone_fields (local.get $i)))",
    );
}
