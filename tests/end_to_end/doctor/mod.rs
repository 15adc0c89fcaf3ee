//! Why a file cannot be used: said alike by `dropforge check` and by the host that rejects it.

mod describe;
mod files;
mod interface;

use serde_json::{Value, json};

use crate::support::{Host, Setup, eventually, guest};

/// What `dropforge check --json` says, which also has to be what its exit code says.
fn check(setup: &Setup, file: &str) -> Value {
    let exit = setup.check(file, &["--json"]);
    let verdict: Value = serde_json::from_str(&exit.stdout.join("\n")).expect("JSON on standard output");
    assert_eq!(exit.status.code(), Some(if verdict["usable"] == true { 0 } else { 1 }), "{verdict}");
    verdict
}

/// Each file is rejected by a host and by `check`, for the same reason, which has all of these words.
#[track_caller]
fn rejected(setup: Setup, files: &[(Vec<u8>, &[&str])]) {
    let name = |number: usize| format!("file-{number}");
    let setup = files
        .iter()
        .enumerate()
        .fold(setup, |setup, (number, (bytes, _))| setup.with_guest(&name(number), bytes))
        .with_guest("good", guest::good());
    let host = setup.start();
    for (number, (_, hints)) in files.iter().enumerate() {
        let file = host.file(&format!("{}.wasm", name(number)));
        assert_eq!(file["state"], "rejected", "{hints:?}: {file}");
        let reason = file["reason"].as_str().expect("a rejected file has a reason");
        for hint in *hints {
            assert!(reason.contains(hint), "no {hint:?} in: {reason}");
        }
        let verdict = check(host.setup(), &format!("{}.wasm", name(number)));
        assert_eq!((&verdict["usable"], &verdict["reason"]), (&json!(false), &json!(reason)));
    }
    host.still_works();
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn names_sizes_and_settings_are_checked_as_well() {
    let setup = Host::prepare().with_guest("Bad Name", guest::good()).with_guest("good", guest::good());
    let setup = setup.with_guest("set", guest::good()).with_file("set.toml", "timout = 1");
    let setup = setup.with_guest("large", guest::echo()).set("plugin_file_bytes_max", guest::good().len());
    for (file, hint) in [
        ("Bad Name.wasm", "the name is not allowed"),
        ("set.wasm", "did you mean \"timeout\"?"),
        ("large.wasm", "is the most"),
    ] {
        let verdict = check(&setup, file);
        assert!(verdict["reason"].as_str().is_some_and(|reason| reason.contains(hint)), "{verdict}");
    }
    assert_eq!(check(&setup, "good.wasm")["usable"], true);
    let missing = setup.check("nowhere.wasm", &[]);
    assert!(missing.status.code() == Some(6) && missing.stderr.contains("nowhere.wasm"), "{missing:?}");
}

#[test]
fn a_good_file_is_described_with_what_it_may_need() {
    let setup = Host::prepare().with_plugin("message").with_guest("good", guest::good());
    let verdict = check(&setup, "message.wasm");
    assert_eq!((&verdict["usable"], &verdict["kind"]), (&json!(true), &json!("message")));
    assert_eq!((&verdict["shape"], &verdict["problems"]), (&json!("job_component"), &json!([])));
    assert_eq!(verdict["digest"].as_str().map(str::len), Some(64));
    let bare = check(&setup, "good.wasm");
    assert_eq!(bare["may_need"], json!({"network": [], "files": [], "environment": []}));
    let exit = setup.check("message.wasm", &[]);
    let text = exit.stdout.join("\n");
    assert!(exit.status.success() && text.contains("can be used, as kind message"), "{text}");
    assert!(text.contains("shape: job component (dropforge:job@0.1.0)"), "{text}");
}

#[test]
fn what_a_file_may_need_is_said_with_what_grants_it() {
    let program = crate::support::program::module("(drop (call $open (i32.const 3) (text \"x\") (i32.const 0)))");
    let setup = Host::prepare().with_guest("tool", program);
    let setup = setup.with_guest("probe", crate::support::shipped("tests/guests/probe.wasm"));
    assert_eq!(check(&setup, "tool.wasm")["may_need"]["files"], json!(["path_open"]));
    let text = setup.check("tool.wasm", &[]).stdout.join("\n");
    assert!(text.contains("may need files") && text.contains("scratch = true"), "{text}");
    let network = check(&setup, "probe.wasm")["may_need"]["network"].clone();
    let names: Vec<&str> = network.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(names.iter().any(|name| name.starts_with("wasi:http/outgoing-handler@0.2.")), "{names:?}");
    let text = setup.check("probe.wasm", &[]).stdout.join("\n");
    assert!(text.contains("may need network") && text.contains("[[http]]"), "{text}");
}

/// One file under two names is two kinds, which may be meant; whoever did not mean it should hear of it.
#[test]
fn a_duplicate_is_named() {
    let setup = Host::prepare().with_guest("one", guest::good()).with_guest("two", guest::good());
    let setup = setup.with_guest("other", guest::answering("other"));
    assert_eq!(check(&setup, "one.wasm")["same_as"], json!(["two.wasm"]));
    assert_eq!(check(&setup, "other.wasm")["same_as"], json!([]));
    let text = setup.check("two.wasm", &[]).stdout.join("\n");
    assert!(text.contains("the same file as: one.wasm"), "{text}");
    let host = setup.start();
    assert!(host.process().stderr().contains("the same file serves as another kind as well"));
    assert_eq!(
        (&host.file("one.wasm")["state"], &host.file("two.wasm")["state"]),
        (&json!("serving"), &json!("serving"))
    );
    let twins = |host: &Host| ["one", "two", "other"].map(|name| host.file(&format!("{name}.wasm"))["same_as"].clone());
    assert_eq!(twins(&host), [json!(["two.wasm"]), json!(["one.wasm"]), json!([])]);
    let listed = host.says(&["plugins"]).ended_with(0).text();
    let line = |file: &str| listed.lines().find(|line| line.starts_with(file)).unwrap_or_default().to_owned();
    assert!(line("one.wasm").contains("the same file as: two.wasm"), "{listed}");
    assert!(!line("other.wasm").contains("the same"), "{listed}");
    // Also where neither can be used.
    host.drop_file("one.wasm", "nonsense");
    host.drop_file("other.wasm", "nonsense");
    let expected = [json!(["other.wasm"]), json!([]), json!(["one.wasm"])];
    eventually("the new twins are named", || (twins(&host) == expected).then_some(()));
}
