//! The document for programs: OpenAPI 3.1, JSON Schema 2020-12, and whether the host does as it says there.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::Check;
use crate::support::answer::Answer;
use crate::support::document::Document;
use crate::target::Target;

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check {
            clause: "OpenAPI 3.1.0, 4.8.1, 4.8.8, 4.8.10",
            claim: "the document is OpenAPI 3.1: operations have names of their own, answers, and all their path's parameters",
            check: operations,
        },
        Check {
            clause: "OpenAPI 3.1.0, 4.8.23; RFC 6901",
            claim: "every reference in the document leads to something in it",
            check: references,
        },
        Check {
            clause: "JSON Schema 2020-12",
            claim: "every schema in the document is one, those of kinds too",
            check: schemas,
        },
        Check {
            clause: "RFC 9110, 8.8.3 and 13.1.2",
            claim: "the document has a strong entity tag, and who has it already gets 304",
            check: tag,
        },
        Check {
            clause: "OpenAPI 3.1.0, 4.8.16 and 4.8.17",
            claim: "answers have the statuses, fields, media types and bodies that the document promises",
            check: answers,
        },
    ]
}

fn document(target: &Target) -> Document {
    Document::of(&target.get("/openapi.json"))
}

/// Every place in a value, the value itself included.
fn visit(value: &Value, look: &mut dyn FnMut(&Value)) {
    look(value);
    match value {
        Value::Object(members) => members.values().for_each(|value| visit(value, look)),
        Value::Array(values) => values.iter().for_each(|value| visit(value, look)),
        _ => {}
    }
}

fn operations(target: &Target) {
    let Document { value, .. } = &document(target);
    assert!(value["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")), "{}", value["openapi"]);
    assert!(value["info"]["title"].is_string() && value["info"]["version"].is_string(), "{}", value["info"]);
    let mut names = BTreeSet::new();
    for (path, item) in value["paths"].as_object().expect("paths") {
        assert!(path.starts_with('/'), "{path}");
        for (method, operation) in item.as_object().expect("an item") {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name), "{name} is there twice");
            let responses = operation["responses"].as_object().expect("answers");
            assert!(!responses.is_empty() && responses.keys().all(|status| status.len() == 3), "{method} {path}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let given: BTreeSet<&str> =
                parameters.filter(|one| one["in"] == "path").filter_map(|one| one["name"].as_str()).collect();
            let wanted: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(given, wanted, "{method} {path}");
        }
    }
}

fn references(target: &Target) {
    let Document { value, .. } = &document(target);
    visit(value, &mut |place| {
        if let Some(reference) = place["$ref"].as_str() {
            let found = reference.strip_prefix('#').and_then(|pointer| value.pointer(pointer));
            assert!(found.is_some(), "{reference} leads nowhere");
        }
    });
}

fn schemas(target: &Target) {
    let Document { value, .. } = &document(target);
    let named = value["components"]["schemas"].as_object().expect("schemas");
    assert!(named.len() > 10, "{:?}", named.keys());
    for (name, schema) in named {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name} is no schema");
    }
    visit(&value["paths"], &mut |place| {
        let schema = &place["schema"];
        assert!(schema.is_null() || jsonschema::draft202012::meta::is_valid(schema), "{schema} is no schema");
    });
}

fn tag(target: &Target) {
    let first = target.get("/openapi.json");
    let tag = first.header("etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
    let known = target.request(Method::GET, "/openapi.json").header("if-none-match", tag);
    let answer = Answer::of(known);
    assert_eq!((answer.status, answer.body.len()), (304, 0));
}

fn answers(target: &Target) {
    let document = document(target);
    let get = |path: &str| document.hold("GET", path, &target.get(path));
    for path in
        ["/v1/kinds", "/v1/plugins", "/v1/jobs?limit=3", "/v1/jobs?limit=none", "/healthz", "/readyz", "/v1/blobs/none"]
    {
        get(path);
    }
    for body in [target.job(&json!({})), json!({"kind": 1}), target.job(&json!({"priority": 10}))] {
        document.hold("POST", "/v1/jobs", &target.post("/v1/jobs", &body));
    }
    let finished = target.finished();
    for rest in ["", "/result", "/artifacts", "/artifacts/none", "/artifacts.zip", "/logs", "/explain", "/events"] {
        get(&format!("{finished}{rest}"));
    }
    let pending = target.pending();
    get(&format!("{}/result", pending.path));
    let path = format!("{}/cancel", pending.path);
    document.hold("POST", &path, &target.post(&path, &json!(null)));
    document.hold("DELETE", &finished, &Answer::of(target.request(Method::DELETE, &finished)));
    get(&finished);
}
