//! A host's OpenAPI document, and answers held against it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::answer::Answer;

/// The document, and which of its operations were seen to answer.
pub(crate) struct Document {
    pub(crate) value: Value,
    seen: RefCell<BTreeSet<(String, String)>>,
}

impl Document {
    /// Takes an answer of `GET /openapi.json`.
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text());
        Self { value: answer.json(), seen: RefCell::default() }
    }

    /// Method and path of every operation.
    pub(crate) fn operations(&self) -> BTreeSet<(String, String)> {
        let items = self.value["paths"].as_object().expect("paths");
        let of = |(path, item): (&String, &Value)| -> Vec<_> {
            item.as_object().expect("an item").keys().map(|method| (method.to_uppercase(), path.clone())).collect()
        };
        items.iter().flat_map(of).collect()
    }

    /// Those of which no answer was seen.
    pub(crate) fn unseen(&self) -> Vec<(String, String)> {
        let seen = self.seen.borrow();
        self.operations().into_iter().filter(|operation| !seen.contains(operation)).collect()
    }

    /// The path of the document that a request's path is of: one without variable parts before one with them.
    fn path_of(&self, path: &str) -> &str {
        let path = path.split('?').next().unwrap_or_default();
        let paths = self.value["paths"].as_object().expect("paths");
        let fits = |template: &str| {
            let (mut ours, mut theirs) = (template.split('/'), path.split('/'));
            let all = ours.by_ref().zip(theirs.by_ref()).all(|(one, other)| one.starts_with('{') || one == other);
            all && template.split('/').count() == path.split('/').count()
        };
        let found = paths.keys().find(|known| *known == path).or_else(|| paths.keys().find(|known| fits(known)));
        found.unwrap_or_else(|| panic!("{path} is not in the document"))
    }

    /// Follows a reference, if it is one.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(target) => self.value.pointer(&target[1..]).unwrap_or_else(|| panic!("{target} leads nowhere")),
            None => value,
        }
    }

    /// Fails unless the answer is one that the document promises for this request.
    #[track_caller]
    pub(crate) fn hold(&self, method: &str, path: &str, answer: &Answer) {
        let place = self.path_of(path);
        let what = format!("{method} {place}: {} {}", answer.status, answer.text());
        let operation = &self.value["paths"][place][method.to_lowercase()];
        assert!(operation.is_object(), "{what}: the method is not documented");
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{what}: the status is not documented");
        let response = self.resolve(response);
        for (name, field) in response["headers"].as_object().into_iter().flatten() {
            let field = self.resolve(field);
            assert!(field["required"] != true || answer.headers.contains_key(name), "{what}: {name} is missing");
        }
        self.hold_fields(answer, response, &what);
        self.hold_body(answer, response["content"].as_object(), &what);
        self.seen.borrow_mut().insert((method.to_owned(), place.to_owned()));
    }

    /// What clients act upon is announced.
    #[track_caller]
    fn hold_fields(&self, answer: &Answer, response: &Value, what: &str) {
        for name in
            ["ETag", "Location", "Retry-After", "Preference-Applied", "Content-Range", "WWW-Authenticate", "RateLimit"]
        {
            let is_there = answer.headers.contains_key(name);
            assert!(!is_there || response["headers"][name].is_object(), "{what}: {name} is not documented");
        }
    }

    #[track_caller]
    fn hold_body(&self, answer: &Answer, content: Option<&Map<String, Value>>, what: &str) {
        let Some(content) = content else {
            assert!(answer.body.is_empty(), "{what}: a body is not documented");
            return;
        };
        let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
        let found = content.get(media_type).or_else(|| content.get("*/*"));
        let found = found.unwrap_or_else(|| panic!("{what}: {media_type} is not documented"));
        if (media_type.ends_with("/json") || media_type.ends_with("+json")) && found["schema"].is_object() {
            self.hold_value(&found["schema"], &answer.json(), what);
        }
    }

    /// Fails unless the value fits the schema, which may refer to others of the document.
    #[track_caller]
    pub(crate) fn hold_value(&self, schema: &Value, value: &Value, what: &str) {
        let whole = json!({"allOf": [schema], "components": self.value["components"]});
        let validator =
            jsonschema::draft202012::options().should_validate_formats(true).build(&whole).expect("a schema");
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert!(errors.is_empty(), "{what}: {errors:?}");
    }
}
