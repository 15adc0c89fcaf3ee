//! `dropforge token`: what operators are shown when they make, list and revoke tokens, and what is kept of them.

use serde_json::{Value, json};

use super::id_of;
use crate::support::Host;

#[test]
fn a_token_is_printed_once_listed_without_its_secret_and_revoked() {
    let setup = Host::prepare();
    let token = setup.new_token(&["--scope", "submit,read", "--kind", "pdf-to-png", "--name", "the laptop"]);
    assert!(token.starts_with("dfk_") && token.len() == 85, "{token}");
    let list = setup.token_command(&["list"]);
    assert_eq!(list.stdout.len(), 1);
    for part in [id_of(&token), "submit", "read", "pdf-to-png", "the laptop"] {
        assert!(list.stdout[0].contains(part), "{part} is not in {:?}", list.stdout);
    }
    let secret = &token[21..];
    assert!(!list.stdout[0].contains(secret));
    let kept = std::fs::read_to_string(setup.data().join("tokens.json")).expect("it is there");
    assert!(!kept.contains(secret), "only a hash is kept");
    let made: Value = serde_json::from_str(&setup.new_token(&["--json"])).expect("JSON");
    assert_eq!((&made["scopes"], &made["kinds"]), (&json!(["read", "submit"]), &Value::Null), "the default");
    let listed = setup.token_command(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout[0]).expect("JSON");
    assert_eq!((&listed["tokens"][1]["id"], listed["tokens"][1].get("token")), (&made["id"], None));
    assert!(setup.token_command(&["revoke", id_of(&token)]).status.success());
    assert_eq!(setup.token_command(&["list"]).stdout.len(), 1);
    for (arguments, hint) in [
        (["revoke", id_of(&token)], "token list"),
        (["revoke", "all"], "16 digits"),
        (["new", "--scope=write"], "admin"),
        (["new", "--kind=No Kind"], "a-z"),
    ] {
        let exit = setup.token_command(&arguments);
        assert!(!exit.status.success() && exit.stderr.contains(hint), "{arguments:?}: {}", exit.stderr);
    }
}

/// Fault: the first token locks out everybody who has used the host without one, and nothing says so.
#[test]
fn the_first_token_says_what_changes_with_it() {
    let setup = Host::prepare();
    let first = setup.token_command(&["new"]).stderr;
    for part in ["from now on every client needs one", "401", "DROPFORGE_TOKEN", "--scope admin", "tokens.json"] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
    assert!(!setup.token_command(&["new"]).stderr.contains("every client"), "only once");
    let setup = Host::prepare();
    let admin = setup.token_command(&["new", "--scope", "admin"]).stderr;
    assert!(admin.contains("every client") && !admin.contains("Pausing kinds"), "{admin}");
    let setup = Host::prepare();
    assert_eq!(setup.token_command(&["new", "--json"]).stderr, "", "programs read one document");
}
