//! What stands around every route: the door, the limits, problems, and what fields and path segments mean wherever they occur.

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::api::access::{Need, need};

/// What every client hears, whatever it asks: the statuses, their names among the components, and what they mean.
const REFUSALS: [(&str, &str, &str); 7] = [
    ("401", "Unauthorized", "No token was sent, or one that is not known"),
    ("403", "Forbidden", "The token is not for this, or a page of another origin asks"),
    ("421", "Misdirected", "No token is asked for, and `Host` is a name that the setting `hosts` does not have"),
    ("429", "TooManyRequests", "This client has asked more often than `rate_limit` allows"),
    ("431", "HeadTooLarge", "The head of the request is larger than `header_bytes_max`"),
    ("500", "Internal", "The host failed; its log says why"),
    (
        "503",
        "Busy",
        "As many jobs of the kind, connections, listeners or uploads are there as may be; or the host is not ready, or stopping",
    ),
];

/// Adds it to the document of what handlers say about themselves.
pub(super) fn complete(document: &mut Value) {
    let components = &mut document["components"];
    components["securitySchemes"] = json!({"bearer": {
        "type": "http", "scheme": "bearer",
        "description": "A token of this host (`dropforge token new`). Asked for as soon as there is one, and always beyond loopback; the names beside it are scopes.",
    }});
    for (status, name, about) in REFUSALS {
        let mut response = json!({"description": about});
        add_body(status, &mut response);
        add_fields(status, true, &mut response);
        components["responses"][name] = response;
    }
    for name in RATE_FIELDS {
        components["headers"][name] = field(name, false);
    }
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap_or(Method::GET);
            add_segments(path, operation);
            let need = need(Some(path), &method);
            complete_operation(operation, need);
        }
    }
}

fn complete_operation(operation: &mut Value, need: Need) {
    leave_bytes(&mut operation["requestBody"]["content"]);
    match &operation["requestBody"]["content"] {
        Value::Null => drop(operation.as_object_mut().map(|members| members.remove("requestBody"))),
        // A file or a batch may be empty, and then nobody can tell it from none.
        content if content.get("application/json").is_none() => operation["requestBody"]["required"] = json!(false),
        _ => {}
    }
    let events = event_schema(&operation["x-events"]);
    let parameters = operation["parameters"].as_array();
    let waits = parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "Prefer"));
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if waits {
            // Whatever comes of the wait, the answer says how long it was and for which job.
            response["headers"]["Location"] = json!({});
            response["headers"]["Preference-Applied"] = json!({});
        }
        leave_bytes(&mut response["content"]);
        if let Some(content) = response["content"].get_mut("text/event-stream") {
            content["schema"] = events.clone();
        }
        if response["content"].is_null() {
            response.as_object_mut().map(|members| members.remove("content"));
        }
        add_body(status, response);
        add_fields(status, need != Need::Nothing, response);
        add_links(response);
    }
    add_refusals(need, operation);
}

/// Each event of a stream: OpenAPI 3.1 has no other place for it.
fn event_schema(data_by_name: &Value) -> Value {
    let names: Vec<&String> = data_by_name.as_object().into_iter().flat_map(Map::keys).collect();
    let data: Vec<&Value> = data_by_name.as_object().into_iter().flat_map(Map::values).collect();
    json!({
        "description": "Each event", "type": "object", "required": ["event", "id", "data"],
        "properties": {
            "event": {"type": "string", "enum": names},
            "id": {"type": "string", "description": "For Last-Event-ID"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"oneOf": data}},
        },
    })
}

/// Octets have no schema: what the macros say of them is what they would be in JSON.
fn leave_bytes(content: &mut Value) {
    for media_type in ["*/*", "application/zip"] {
        if let Some(content) = content.get_mut(media_type) {
            *content = json!({});
        }
    }
}

/// The variable parts of a path; and no parameter is ever null.
fn add_segments(path: &str, operation: &mut Value) {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names.map(segment).collect();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let mut parameter = parameter.clone();
        let types = &mut parameter["schema"]["type"];
        if let Some(only) = types.as_array().and_then(|names| names.iter().find(|name| *name != "null")).cloned() {
            *types = only;
        } else if types.is_null() {
            parameter["schema"].as_object_mut().map(|members| members.remove("type"));
        }
        parameters.push(parameter);
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
}

fn segment(name: &str) -> Value {
    let (about, schema) = match name {
        "id" => ("The job", json!({"type": "string", "format": "uuid"})),
        "kind" => ("The kind", json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"})),
        "sha256" => ("The file's address", json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})),
        _ => ("The file's name", json!({"type": "string", "minLength": 1, "maxLength": 255})),
    };
    json!({"name": name, "in": "path", "required": true, "description": about, "schema": schema})
}

/// What the door and the connection may say before the handler does.
fn add_refusals(need: Need, operation: &mut Value) {
    let scope = match need {
        Need::Nothing => None,
        Need::Token => Some(json!([])),
        Need::Scope(scope) | Need::AllKinds(scope) => Some(json!([scope.as_str()])),
    };
    let is_guarded = scope.is_some();
    operation["security"] = scope.map_or(json!([]), |scope| json!([{"bearer": scope}, {}]));
    for (status, name, _) in REFUSALS {
        let is_possible = is_guarded || matches!(status, "431" | "503");
        if is_possible && operation["responses"].get(status).is_none() {
            operation["responses"][status] = json!({"$ref": format!("#/components/responses/{name}")});
        }
    }
}

/// Refusals are problems. Only a head that is too large is refused before anything can say more.
fn add_body(status: &str, response: &mut Value) {
    if status >= "400" && status != "431" {
        response["content"] = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    }
}

/// Fields of answers, what they say, and in which answers they always are.
const FIELDS: [(&str, &str, &[&str]); 10] = [
    ("Accept-Ranges", "Whether parts can be asked for: `bytes` or `none`", &["206"]),
    ("Content-Disposition", "The file's name, for whoever saves it", &[]),
    ("Content-Range", "Which bytes of how many these are", &["206", "416"]),
    ("ETag", "Strong: equal tags mean equal bytes", &["206", "304"]),
    ("Location", "Where the job or the file is", &["201", "202"]),
    ("Preference-Applied", "For how many seconds the host was ready to wait: `wait=N`", &[]),
    ("RateLimit", "What is left to this client, if the host limits that: `\"default\";r=9;t=60`", &[]),
    ("RateLimit-Policy", "How often a client may ask, if the host limits that: `\"default\";q=60;w=60`", &[]),
    (
        "Retry-After",
        "Seconds after which it is worth asking again; not there where waiting does not help",
        &["202", "429"],
    ),
    ("WWW-Authenticate", "How to say who one is", &["401"]),
];

/// Those that stand in every answer of a host that limits rates.
const RATE_FIELDS: [&str; 2] = ["RateLimit", "RateLimit-Policy"];

fn field(name: &str, is_always_there: bool) -> Value {
    let about = FIELDS.iter().find(|(known, ..)| *known == name).map(|(_, about, _)| about);
    let schema =
        if name == "Retry-After" { json!({"type": "integer", "minimum": 1}) } else { json!({"type": "string"}) };
    let mut field = json!({"description": about, "schema": schema});
    if is_always_there {
        field["required"] = json!(true);
    }
    field
}

/// Says what each field of an answer means, and adds those that handlers do not set themselves.
fn add_fields(status: &str, is_guarded: bool, response: &mut Value) {
    let mut names: Vec<&str> = FIELDS.iter().map(|(name, ..)| *name).collect();
    let told = response["headers"].as_object().cloned().unwrap_or_default();
    names.retain(|name| told.contains_key(*name));
    match status {
        "401" | "403" => names.push("WWW-Authenticate"),
        "429" | "503" | "507" => names.push("Retry-After"),
        _ => {}
    }
    let always = |name: &str| FIELDS.iter().any(|(known, _, always)| *known == name && always.contains(&status));
    let mut fields: Map<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), field(name, always(name)))).collect();
    if is_guarded && status != "431" {
        let shared = |name: &str| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
        fields.extend(RATE_FIELDS.map(shared));
    }
    match response.as_object_mut() {
        Some(members) if fields.is_empty() => drop(members.remove("headers")),
        _ => response["headers"] = Value::Object(fields),
    }
}

/// What an operation needs, and where in an answer that stands.
type Places = &'static [(&'static str, &'static str)];

/// Where to go from an answer: the schema it has, and an operation with the places of what that needs.
const LINKS: [(&str, &str, Places); 18] = [
    ("Job", "getJob", &[("id", "$response.body#/id")]),
    ("Job", "getResult", &[("id", "$response.body#/id")]),
    ("Job", "cancelJob", &[("id", "$response.body#/id")]),
    ("Job", "retryJob", &[("id", "$response.body#/id")]),
    ("Job", "deleteJob", &[("id", "$response.body#/id")]),
    ("Job", "explainJob", &[("id", "$response.body#/id")]),
    ("Job", "listArtifacts", &[("id", "$response.body#/id")]),
    ("Job", "getArtifacts", &[("id", "$response.body#/id")]),
    ("Job", "getLogs", &[("id", "$response.body#/id")]),
    ("Job", "followJob", &[("id", "$response.body#/id")]),
    ("ArtifactList", "getArtifact", &[("id", "$request.path.id"), ("name", "$response.body#/artifacts/0/name")]),
    ("Blob", "getBlob", &[("sha256", "$response.body#/sha256")]),
    ("JobList", "getJob", &[("id", "$response.body#/jobs/0/id")]),
    ("JobList", "listJobs", &[("cursor", "$response.body#/next_cursor")]),
    ("KindList", "getKind", &[("kind", "$response.body#/kinds/0/kind")]),
    ("Kind", "submitInput", &[("kind", "$response.body#/kind")]),
    ("Kind", "pauseKind", &[("kind", "$response.body#/kind")]),
    ("AnyKind", "resumeKind", &[("kind", "$response.body#/kind")]),
];

fn add_links(response: &mut Value) {
    let schema = response["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default().to_owned();
    let links = LINKS.iter().filter(|(name, ..)| schema.strip_prefix("#/components/schemas/") == Some(name));
    for (_, operation, places) in links {
        let places: Map<String, Value> =
            places.iter().map(|(name, place)| ((*name).to_owned(), json!(place))).collect();
        response["links"][operation] = json!({"operationId": operation, "parameters": places});
    }
}
