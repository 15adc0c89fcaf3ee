//! What shows only when a plugin is started and asked to describe itself: traps, what it wrote before, and how much it may take.

use serde_json::json;

use super::{check, rejected};
use crate::support::guest::Guest;
use crate::support::{Host, guest};

#[test]
fn what_shows_only_when_a_plugin_runs_is_said_alike() {
    let schema = Guest { parameters: Some("{not json"), ..Guest::GOOD };
    let files: [(Vec<u8>, &[&str]); 3] = [
        (guest::with_describe("(unreachable)"), &["describe", "trapped"]),
        (guest::with_start("(unreachable)"), &["started", "trapped"]),
        (schema.component(), &["parameter schema", "JSON"]),
    ];
    rejected(Host::prepare(), &files);
}

/// Fault: a panic in `describe` is listed as a trap, and what the panic said is nowhere.
#[test]
fn what_a_plugin_wrote_before_it_trapped_while_it_was_asked_is_told() {
    let words = r#"(call $log (i32.const 2) (text "reading the model"))
        (call $log (i32.const 4) (text "no model ESC[2J")) (call $log (i32.const 4) (text "good.wasm: can be used")) (unreachable)"#.replace("ESC", "\u{1b}");
    let told = "; it wrote last:\nno model \u{fffd}[2J\ngood.wasm: can be used";
    let flood = r#"(local $n i32) (loop $more (call $log (i32.const 4) (text "a line of forty bytes, again and again and so on"))
        (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5000)))) (unreachable)"#;
    let setup = Host::prepare().with_guest("talks", guest::with_describe(&words));
    let setup = setup.with_guest("begins", guest::with_start("(unreachable)"));
    let host = setup.with_guest("floods", guest::with_describe(flood)).start();
    let reason = |file: &str| host.file(file)["reason"].as_str().expect("a rejected file has a reason").to_owned();
    let talks = reason("talks.wasm");
    assert!(talks.contains("asked to describe itself") && talks.ends_with(told), "{talks}");
    assert_eq!(check(host.setup(), "talks.wasm")["reason"], talks);
    assert!(!reason("begins.wasm").contains("it wrote last"), "it wrote nothing");
    let floods = reason("floods.wasm");
    assert!(floods.contains("it wrote last:\na line of") && floods.len() < 1_200, "{floods}");

    let shown = host.setup().check("talks.wasm", &[]).stdout.join("\n");
    assert!(
        shown.contains("\n      no model \u{fffd}[2J\n      good.wasm: can be used"),
        "never at the margin: {shown}"
    );
    let listed = host.says(&["plugins"]).ended_with(0).text();
    assert!(listed.lines().all(|line| !line.starts_with("good.wasm: ")) && listed.contains("no model"), "{listed}");
}

/// What `describe` may take and return, just inside and just outside.
#[test]
fn a_plugin_describes_itself_within_48_mib_and_256_kib() {
    let grow =
        |pages: u32| guest::with_start(&format!("(drop (memory.grow (i32.sub (i32.const {pages}) (memory.size))))"));
    let long = |bytes: u32| {
        guest::with_describe(&format!(
            "(drop (memory.grow (i32.const 16))) (i32.store (i32.const 16) (i32.const 131072))
             (memory.fill (i32.const 131072) (i32.const 120) (i32.const {bytes}))
             (i32.store (i32.const 20) (i32.const {bytes})) (return (i32.const 16))"
        ))
    };
    let within = Host::prepare().with_guest("grown", grow(768)).with_guest("long", long(261_000)).start();
    for file in ["grown.wasm", "long.wasm"] {
        assert_eq!(within.file(file)["state"], "serving", "{}", within.file(file));
    }
    rejected(Host::prepare(), &[(grow(769), &["memory", "50331648"]), (long(263_000), &["describe", "262144"])]);
}

/// Fault: a plugin that is asked what it is has the host hold far more than it may have of memory itself, as empty texts by the million.
#[test]
fn what_describe_passes_in_one_call_is_limited_before_it_is_held() {
    // Each empty text is 24 bytes to the host. So many are too long to be shown, or too many to be looked at.
    let media_types = |count: u32| {
        guest::with_describe(&format!(
            "(drop (memory.grow (i32.const 16))) (i32.store (i32.const 32) (i32.const 131072))
             (i32.store (i32.const 36) (i32.const {count})) (return (i32.const 16))"
        ))
    };
    let (shown, held) = (media_types(87_300), media_types(87_382));
    rejected(Host::prepare(), &[(shown, &["describe", "262144 is the most"]), (held, &["describe", "2097152"])]);
}

#[test]
fn a_plugin_of_many_parts_is_checked_like_any_other() {
    // As plugins in Python are; a host has room for many of them.
    let setup = Host::prepare().with_guest("many", guest::crowded(guest::echo(), 7));
    assert_eq!(check(&setup, "many.wasm")["reason"], json!(null));
}

/// Fault: a check makes room for a small plugin, and says no to one of many parts, such as those of Python, that a host serves.
#[test]
fn a_check_has_as_much_room_as_a_host_for_plugins_of_many_parts() {
    let host = Host::prepare().with_guest("parts", guest::crowded(guest::good(), 7)).start();
    assert_eq!(host.file("parts.wasm")["state"], "serving", "{}", host.file("parts.wasm"));
    assert_eq!(check(host.setup(), "parts.wasm")["problems"], json!([]));
}
