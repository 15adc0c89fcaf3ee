//! Each kind as a path of its own, with its schemas and examples, within bounds: a plugin says what it likes about itself.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::embed::embed;
use crate::api::view::ExampleView;
use crate::plugins::{Plugin, Schema};

/// Bytes of one kind in the document. Of one that has more to say, only its name and limits are shown.
const KIND_BYTES_MAX: usize = 256 * 1024;
/// Bytes of all kinds together. Further ones are left out, and the document says so.
const KINDS_BYTES_MAX: usize = 8 << 20;
/// Parameters of a kind that are listed.
const PARAMETERS_MAX: usize = 100;

/// What a kind adds to the document.
#[derive(Default)]
struct Part {
    /// The operation at `/v1/kinds/NAME/jobs`.
    operation: Value,
    /// Its schemas, by their names among all.
    schemas: Map<String, Value>,
    /// Bodies for `POST /v1/jobs`.
    examples: Map<String, Value>,
}

impl Part {
    fn size(&self) -> usize {
        let of = |members: &Map<String, Value>| {
            members.iter().map(|(name, value)| name.len() + value.to_string().len()).sum::<usize>()
        };
        self.operation.to_string().len() + of(&self.schemas) + of(&self.examples)
    }
}

/// Adds the kinds, in the order of their names.
pub(super) fn add(document: &mut Value, plugins: &[Arc<Plugin>]) {
    let general = document["paths"]["/v1/kinds/{kind}/jobs"]["post"].clone();
    let (mut room, mut left_out) = (KINDS_BYTES_MAX, 0);
    for plugin in plugins {
        let mut part = Part::of(plugin, &general);
        if part.size() > KIND_BYTES_MAX {
            part = Part { operation: nameless(plugin, &general), ..Part::default() };
        }
        let Some(left) = room.checked_sub(part.size()) else {
            left_out += 1;
            continue;
        };
        room = left;
        document["paths"][format!("/v1/kinds/{}/jobs", plugin.kind)] = json!({"post": part.operation});
        extend(&mut document["components"]["schemas"], part.schemas);
        extend(
            &mut document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"],
            part.examples,
        );
    }
    if left_out > 0 {
        let about = document["info"]["description"].as_str().unwrap_or_default();
        let about = format!("{about} {left_out} more kinds have no room here; `GET /v1/kinds` lists them.");
        document["info"]["description"] = json!(about);
    }
}

fn extend(members: &mut Value, more: Map<String, Value>) {
    if !more.is_empty() && members.is_null() {
        *members = json!({});
    }
    members.as_object_mut().into_iter().for_each(|members| members.extend(more.clone()));
}

/// The operation that every kind has, under this one's name.
fn nameless(plugin: &Plugin, general: &Value) -> Value {
    let mut operation = general.clone();
    operation["operationId"] = json!(format!("submit-{}", plugin.kind));
    operation["summary"] = json!(format!("Submit a job of the kind {}.", plugin.kind));
    operation["description"] = json!(format!("`GET /v1/kinds/{}` says more.", plugin.kind));
    operation["x-kind"] = json!(plugin.kind);
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        let takes_arguments = !plugin.is_command() || plugin.settings.job_args;
        parameters.retain(|one| one["in"] != "path" && (one["name"] != "arg" || takes_arguments));
        for one in parameters.iter_mut().filter(|one| one["name"] == "timeout") {
            one["description"] =
                json!(format!("Time limit of an attempt, at most {} ms.", plugin.timeout_max().as_millis()));
        }
    }
    operation
}

impl Part {
    fn of(plugin: &Plugin, general: &Value) -> Self {
        let (about, kind) = (&plugin.description, &plugin.kind);
        let mut part = Self { operation: nameless(plugin, general), ..Self::default() };
        let input = part.embed(plugin, "input", plugin.input_schema.as_ref().map(|schema| &schema.source));
        let output = part.embed(plugin, "output", plugin.output_schema.as_ref());
        let parameters =
            part.embed(plugin, "parameters", plugin.parameter_schema.as_ref().map(|schema| &schema.source));
        let examples: Vec<ExampleView> = about.examples.iter().map(ExampleView::of).collect();
        let operation = &mut part.operation;
        operation["description"] = json!(format!("{}\n\n{}", about.summary, about.artifacts));
        operation["requestBody"]["description"] = json!("The input");
        operation["requestBody"]["required"] = json!(plugin.reads_json());
        operation["requestBody"]["content"] = body(plugin, input, &examples);
        if is_media_type(&about.output_media_type) {
            let result = &mut operation["responses"]["200"]["content"];
            result[&about.output_media_type] = output.map_or(json!({}), |schema| json!({"schema": schema}));
        }
        if let (Some(_), Some(schema)) = (parameters, &plugin.parameter_schema) {
            add_parameters(operation, schema, &format!("/components/schemas/{kind}.parameters"));
        }
        for (number, example) in (1..).zip(&examples).filter(|_| plugin.reads_json()) {
            let mut job = json!({"kind": kind, "input": example.input});
            if !example.parameters.is_empty() {
                job["parameters"] = json!(example.parameters);
            }
            part.examples.insert(format!("{kind}-{number}"), json!({"summary": example.title, "value": job}));
        }
        part.operation["x-examples"] = json!(examples);
        part
    }

    /// Takes a schema up among all, and answers the reference to it.
    fn embed(&mut self, plugin: &Plugin, what: &str, schema: Option<&Value>) -> Option<Value> {
        let name = format!("{}.{what}", plugin.kind);
        let place = format!("/components/schemas/{name}");
        self.schemas.insert(name, embed(schema?, &place)?);
        Some(json!({"$ref": format!("#{place}")}))
    }
}

/// What a job of the kind reads.
fn body(plugin: &Plugin, schema: Option<Value>, examples: &[ExampleView]) -> Value {
    let mut content = Map::new();
    for media_type in plugin.description.input_media_types.iter().filter(|one| is_media_type(one)) {
        content.insert(media_type.clone(), json!({}));
    }
    if content.is_empty() {
        content.insert("*/*".to_owned(), json!({}));
    }
    if plugin.reads_json() {
        let named = (1..).zip(examples).filter_map(|(number, example)| {
            let value = example.input.as_ref()?;
            Some((format!("{}-{number}", plugin.kind), json!({"summary": example.title, "value": value})))
        });
        let named: Map<String, Value> = named.collect();
        let json = &mut content["application/json"];
        *json = schema.map_or(json!({}), |schema| json!({"schema": schema}));
        if !named.is_empty() {
            json["examples"] = Value::Object(named);
        }
    }
    Value::Object(content)
}

/// The members of the schema of the parameters, each as a parameter of the query.
fn add_parameters(operation: &mut Value, schema: &Schema, place: &str) {
    let Some(parameters) = operation["parameters"].as_array_mut() else { return };
    let source = &schema.source;
    let required = |name: &str| source["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    for (name, schema) in source["properties"].as_object().into_iter().flatten().take(PARAMETERS_MAX) {
        // Ours comes first, and the plugin never sees it.
        if parameters.iter().any(|one| one["in"] == "query" && one["name"] == *name) {
            continue;
        }
        let Some(schema) = embed(schema, place) else { continue };
        let about = schema["description"].as_str().unwrap_or_default().to_owned();
        parameters.push(
            json!({"name": name, "in": "query", "required": required(name), "description": about, "schema": schema}),
        );
    }
}

/// Whether a plugin's word can stand where a media type must.
fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&byte))
    };
    let bare = text.split(';').next().unwrap_or_default().trim();
    text.len() <= 255
        && text.is_ascii()
        && bare.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}
