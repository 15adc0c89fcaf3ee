//! A plugin's schema as a part of the document: its references lead to where it stands now, and nothing in it can be taken for
//! something of the document.

use serde_json::Value;

/// A longer schema is not shown here; `GET /v1/kinds/{kind}` has it whole.
const SCHEMA_BYTES_MAX: usize = 64 * 1024;

/// The schema as it is to stand at `place`, a JSON Pointer; nothing if it is too long, or means something else in the dialect of
/// OpenAPI 3.1, JSON Schema 2020-12.
pub(super) fn embed(schema: &Value, place: &str) -> Option<Value> {
    let mut schema = schema.clone();
    relocate(&mut schema, place);
    let fits = schema.to_string().len() <= SCHEMA_BYTES_MAX;
    (fits && jsonschema::draft202012::meta::is_valid(&schema)).then_some(schema)
}

/// Plugins are accepted only if each reference is a pointer into the schema itself and none leads in a circle, so a new beginning is
/// all that a reference needs. Identifiers would make it be resolved from elsewhere, and could be those of another kind.
fn relocate(schema: &mut Value, place: &str) {
    let Value::Object(members) = schema else { return };
    for name in ["$id", "$schema", "$anchor", "$dynamicAnchor", "$vocabulary"] {
        members.remove(name);
    }
    if let Some(Value::String(target)) = members.get_mut("$ref")
        && let Some(pointer) = target.strip_prefix('#')
    {
        *target = format!("#{place}{pointer}");
    }
    for (name, value) in members {
        match name.as_str() {
            // Values, not schemas.
            "const" | "enum" | "default" | "example" | "examples" => {}
            // Names are the plugin's own, and may be those of keywords.
            "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => {
                value.as_object_mut().into_iter().flatten().for_each(|(_, schema)| relocate(schema, place));
            }
            _ => match value {
                Value::Array(schemas) => schemas.iter_mut().for_each(|schema| relocate(schema, place)),
                other => relocate(other, place),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_lead_to_where_the_schema_stands_now() {
        let schema = json!({
            "$id": "https://example.org/other", "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": {"size": {"type": "integer", "$anchor": "here"}},
            "properties": {"$ref": {"$ref": "#/$defs/size"}, "list": {"items": {"$ref": "#/$defs/size"}}, "all": {"anyOf": [{"$ref": "#/$defs/size"}]}},
            "const": {"$ref": "#/$defs/size"},
        });
        let there = json!({"$ref": "#/components/schemas/a/$defs/size"});
        let expected = json!({
            "$defs": {"size": {"type": "integer"}},
            "properties": {"$ref": there, "list": {"items": there}, "all": {"anyOf": [there]}},
            "const": {"$ref": "#/$defs/size"},
        });
        assert_eq!(embed(&schema, "/components/schemas/a"), Some(expected));
    }

    #[test]
    fn what_is_too_long_or_of_another_dialect_is_left_out() {
        let text_of = |length: usize| json!({"description": "x".repeat(length)});
        let frame = text_of(0).to_string().len();
        assert!(embed(&text_of(SCHEMA_BYTES_MAX - frame), "").is_some());
        assert!(embed(&text_of(SCHEMA_BYTES_MAX - frame + 1), "").is_none());
        assert!(embed(&json!({"items": [{"type": "string"}]}), "").is_none(), "a list of items is of older dialects");
    }
}
