//! The kinds in the document: each has a path of its own, made of what its plugin says of itself, which may be anything.

use serde_json::{Value, json};

use super::document;
use crate::support::document::Document;
use crate::support::guest::{self, Guest};
use crate::support::{Host, eventually};

#[test]
fn a_kind_has_a_path_with_its_own_schemas_and_examples() {
    let input = r##"{"$id": "https://example.org/x", "type": "object", "properties": {"size": {"$ref": "#/$defs/size"}},
        "$defs": {"size": {"type": "integer", "minimum": 1}}}"##;
    let parameters = r##"{"type": "object", "additionalProperties": false, "required": ["dpi"],
        "properties": {"dpi": {"$ref": "#/$defs/dpi"}, "priority": {"type": "string"}}, "$defs": {"dpi": {"type": "integer"}}}"##;
    let kind = Guest { reads: &["application/json"], input: Some(input), parameters: Some(parameters), ..Guest::GOOD };
    let host = Host::prepare().with_plugin("integrate").with_guest("sized", kind.component()).start();
    let document = document(&host);
    let operation = &document.value["paths"]["/v1/kinds/sized/jobs"]["post"];
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    document.hold_value(body, &json!({"size": 3}), "a good input");
    let refused = std::panic::catch_unwind(|| document_of_a_bad_input(&document.value, body));
    assert!(refused.is_err(), "a bad input does not fit");
    let parameter = |name: &str| -> Vec<Value> {
        operation["parameters"].as_array().expect("a list").iter().filter(|one| one["name"] == name).cloned().collect()
    };
    let [dpi] = parameter("dpi").try_into().expect("one");
    assert_eq!((&dpi["in"], &dpi["required"]), (&json!("query"), &json!(true)));
    document.hold_value(&dpi["schema"], &json!(200), "a good parameter");
    let [priority] = parameter("priority").try_into().expect("ours alone");
    assert_eq!(priority["schema"]["maximum"], 9);
    let integrate = &document.value["paths"]["/v1/kinds/integrate/jobs"]["post"];
    let examples = integrate["requestBody"]["content"]["application/json"]["examples"].as_object().expect("examples");
    let example = &examples.values().next().expect("one")["value"];
    assert_eq!(host.post("/v1/kinds/integrate/jobs", example.to_string()).status, 202, "{example}");
    let jobs = &document.value["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    assert_eq!(host.post("/v1/jobs", jobs["integrate-1"]["value"].to_string()).status, 202, "{jobs}");
}

fn document_of_a_bad_input(document: &Value, schema: &Value) {
    let whole = json!({"allOf": [schema], "components": document["components"]});
    jsonschema::draft202012::new(&whole).expect("a schema").validate(&json!({"size": 0})).expect("it fits");
}

#[test]
fn it_follows_the_plugins_and_keeps_its_tag_until_they_change() {
    let host = Host::start();
    let ask = || host.get("/openapi.json");
    let before = ask();
    assert_eq!((ask().header("etag"), ask().body == before.body), (before.header("etag"), true));
    host.drop_file("more.wasm", guest::answering("more"));
    host.file("more.wasm");
    let after = ask();
    assert_ne!(after.header("etag"), before.header("etag"));
    assert!(after.json()["paths"]["/v1/kinds/more/jobs"].is_object());
    std::fs::remove_file(host.setup().plugins().join("more.wasm")).expect("it is there");
    eventually("the kind is gone", || (ask().header("etag") == before.header("etag")).then_some(()));
}

#[test]
fn a_token_for_some_kinds_sees_a_document_of_those() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("other", guest::good());
    let (all, some) = (setup.new_token(&["--scope=read"]), setup.new_token(&["--scope=read", "--kind=other"]));
    let submits = setup.new_token(&["--scope=submit"]);
    let host = setup.start();
    let kinds = |token: &str| {
        let document = host.get_as(token, "/openapi.json").json();
        ["good", "other"].map(|kind| document["paths"][format!("/v1/kinds/{kind}/jobs")].is_object())
    };
    assert_eq!((kinds(&all), kinds(&some)), ([true, true], [false, true]));
    host.get("/openapi.json").refused(401, "unauthorized");
    host.get_as(&submits, "/openapi.json").refused(403, "missing_scope");
}

#[test]
fn no_plugin_can_bloat_or_break_it() {
    let wide: Vec<String> = (0..2_000).map(|n| format!(r#""p{n}": {{"type": "string"}}"#)).collect();
    let wide = format!(r#"{{"properties": {{{}}}}}"#, wide.join(", "));
    let long = format!(r#"{{"description": "{}"}}"#, "x".repeat(150_000));
    let odd = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}"#;
    let named = r#"{"$id": "/components/schemas/Job", "$anchor": "here", "properties": {"$id": {"type": "string"}}}"#;
    let with = |input| Guest {
        reads: &["application/json"],
        input: Some(input),
        parameters: Some(input),
        pages: 16,
        ..Guest::GOOD
    };
    let mut setup = Host::prepare().with_guest("good", guest::good());
    for (name, schema) in [("wide", wide.as_str()), ("odd", odd), ("named", named)] {
        setup = setup.with_guest(name, with(schema).component());
    }
    let long = Guest { parameters: None, ..with(&long) };
    let mark = Guest { reads: &["no media type", "text/\u{1f}", "*/*"], ..Guest::GOOD };
    let host = setup.with_guest("long", long.component()).with_guest("mark", mark.component()).start();
    let answer = host.get("/openapi.json");
    let document = Document::of(&answer);
    for kind in ["good", "wide", "odd", "named", "long", "mark"] {
        assert_eq!(host.file(&format!("{kind}.wasm"))["state"], "serving", "{}", host.file(&format!("{kind}.wasm")));
        let operation = &document.value["paths"][format!("/v1/kinds/{kind}/jobs")]["post"];
        assert!(operation["parameters"].as_array().is_some_and(|all| all.len() < 150), "{kind}");
        for content in operation["requestBody"]["content"].as_object().expect("some").keys() {
            assert!(content.contains('/') && !content.contains(|c: char| c.is_control()), "{content:?}");
        }
    }
    let schemas = &document.value["components"]["schemas"];
    assert!(
        schemas["long.input"].is_null() && schemas["odd.input"].is_null() && schemas["named.input"]["$id"].is_null()
    );
    assert!(schemas["named.input"]["properties"]["$id"].is_object(), "a name is not taken for a keyword");
    assert!(answer.body.len() < 1_000_000, "{}", answer.body.len());
    document.hold("GET", "/v1/kinds", &host.get("/v1/kinds"));
    host.still_works();
}
