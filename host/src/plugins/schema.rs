//! JSON Schemas of a plugin, and requests held against them.

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

/// Mistakes named per request; more would not help anybody.
const VIOLATIONS_MAX: usize = 20;
/// Parts of a schema, each counted as often as references lead to it: what checking a single value may cost.
const PARTS_MAX: usize = 10_000;

/// One mistake in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON Pointer into the checked value.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

/// A schema, compiled.
#[derive(Debug)]
pub struct Schema {
    /// As the plugin gave it.
    pub source: Value,
    validator: Validator,
}

impl Schema {
    /// Compiles a schema's text. A plugin must not be able to make the host's checks slow: references to other documents or in
    /// circles are refused, those within count with all they lead to, and patterns use an engine that is linear in the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let source: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        Expansion { root: &source, parts: 0, path: Vec::new() }.walk(&source)?;
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&source)
            .map_err(|error| mistake(&source, &error.instance_path().to_string(), &error.to_string()))?;
        Ok(Self { source, validator })
    }

    /// Holds a value against the schema.
    pub fn check(&self, value: &Value) -> Result<(), Vec<Violation>> {
        // To find out whether there is a mistake takes far less than to describe it.
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let describe = |error: jsonschema::ValidationError<'_>| Violation {
            pointer: error.instance_path().to_string(),
            // Without the value itself, which may be megabytes.
            detail: crate::job::shorten(error.masked().to_string(), 300),
        };
        let violations: Vec<Violation> = self.validator.iter_errors(value).take(VIOLATIONS_MAX).map(describe).collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Parameters as the object the schema speaks of: numbers and booleans typed where it wants them so.
    pub fn parameters_as_object(&self, parameters: &[(String, String)]) -> Value {
        let mut object = Map::new();
        for (name, text) in parameters {
            let value = typed(text, self.source.pointer(&format!("/properties/{}/type", pointer_segment(name))));
            match object.get_mut(name) {
                None => drop(object.insert(name.clone(), value)),
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Value::Object(object)
    }
}

/// What is wrong with a schema. Of a type without a meaning, which is the most common mistake, it says what has one.
fn mistake(source: &Value, pointer: &str, error: &str) -> String {
    let keyword = pointer.strip_suffix("/type").filter(|parent| !parent.ends_with("/properties"));
    match source.pointer(pointer).filter(|_| keyword.is_some()) {
        Some(found) => format!(
            "at {pointer}: found {}, expected array, boolean, integer, null, number, object or string, or a list of them",
            crate::job::shorten(found.to_string(), 100)
        ),
        None => format!("at {pointer}: {error}"),
    }
}

/// Follows a schema through all its references.
struct Expansion<'a> {
    root: &'a Value,
    parts: usize,
    /// References being followed.
    path: Vec<&'a str>,
}

impl<'a> Expansion<'a> {
    fn walk(&mut self, part: &'a Value) -> Result<(), String> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(format!("with its references it has more than {PARTS_MAX} parts; make it simpler"));
        }
        match part {
            Value::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), value) {
                        ("$ref", Value::String(target)) => self.follow(target)?,
                        ("$dynamicRef" | "$recursiveRef", _) => {
                            return Err(format!("{name} is not supported; use $ref to a place within the schema"));
                        }
                        _ => self.walk(value)?,
                    }
                }
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item)),
            _ => Ok(()),
        }
    }

    fn follow(&mut self, target: &'a str) -> Result<(), String> {
        let pointer = target.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let found = pointer.and_then(|pointer| self.root.pointer(pointer));
        let found = found
            .ok_or_else(|| format!("$ref {target:?} does not name a place within the schema, such as #/$defs/name"))?;
        if self.path.contains(&target) {
            return Err(format!("$ref {target:?} leads to itself; a schema of a job's input cannot be recursive"));
        }
        self.path.push(target);
        let walked = self.walk(found);
        self.path.pop();
        walked
    }
}

fn typed(text: &str, wanted: Option<&Value>) -> Value {
    let wants = |name: &str| match wanted {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(any)) => any.iter().any(|one| one == name),
        _ => false,
    };
    let parsed = serde_json::from_str(text).ok().filter(|value| match value {
        Value::Number(_) => wants("number") || wants("integer"),
        Value::Bool(_) => wants("boolean"),
        _ => false,
    });
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A name as a segment of a JSON Pointer (RFC 6901).
pub fn pointer_segment(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: &str = r#"{"type": "object", "additionalProperties": false,
        "properties": {"dpi": {"type": "number", "minimum": 1}, "name": {"type": "string"}}}"#;

    fn check(parameters: &[(&str, &str)]) -> Result<(), Vec<Violation>> {
        let schema = Schema::parse(PAGES).expect("a good schema");
        let owned: Vec<_> = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        schema.check(&schema.parameters_as_object(&owned))
    }

    #[test]
    fn parameters_are_compared_as_what_the_schema_wants() {
        assert_eq!(check(&[("dpi", "200"), ("name", "200")]), Ok(()));
        for (wrong, pointer) in [(("dpi", "0"), "/dpi"), (("dpi", "many"), "/dpi"), (("dpy", "200"), "")] {
            let violations = check(&[wrong]).expect_err("against the schema");
            assert_eq!(violations[0].pointer, pointer, "{violations:?}");
        }
        assert!(check(&[("name", "a"), ("name", "b")]).is_err(), "a list is not a string");
    }

    #[test]
    fn a_mistake_in_a_schema_is_told_with_its_place() {
        let reason = |text: &str| Schema::parse(text).expect_err("it is wrong");
        let told = reason(r#"{"type": "object", "properties": {"n": {"type": "intger"}}}"#);
        assert!(told.starts_with("at /properties/n/type: found \"intger\", expected array, boolean"), "{told}");
        // A property may be called so.
        let told = reason(r#"{"properties": {"type": 5}}"#);
        assert!(told.starts_with("at /properties/type: 5 is not"), "{told}");
    }

    #[test]
    fn a_schema_cannot_reach_out_or_hang() {
        assert!(Schema::parse("{").is_err());
        assert!(Schema::parse(r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#).is_err());
        assert!(Schema::parse(r#"{"$ref": "file:///etc/passwd"}"#).is_err());
        assert!(Schema::parse(r##"{"allOf": [{"$ref": "#"}]}"##).is_err());
        let doubling = |n: usize| {
            format!(r##""d{n}": {{"allOf": [{{"$ref": "#/$defs/d{0}"}}, {{"$ref": "#/$defs/d{0}"}}]}}"##, n + 1)
        };
        let levels: Vec<String> = (0..40).map(doubling).collect();
        let bomb =
            format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{}, "d40": {{"type": "string"}}}}}}"##, levels.join(","));
        assert!(Schema::parse(&bomb).is_err());
        let slow = Schema::parse(r#"{"type": "string", "pattern": "^(a+)+$"}"#).expect("a legal pattern");
        assert!(slow.check(&Value::String("a".repeat(5_000) + "!")).is_err());
    }
}
