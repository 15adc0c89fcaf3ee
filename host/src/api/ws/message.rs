//! What goes over a WebSocket: operations taken apart, answers and events put together.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::jobs::parse_id;
use crate::api::problem::Problem;
use crate::api::view::JobView;
use crate::api::{submit, trace};
use crate::events::Event;
use crate::job::{Job, JobId, Kind};
use crate::store::{Content, Payload};

/// Longest `ref`, in bytes.
const REFERENCE_BYTES_MAX: usize = 128;

/// An operation, and what its answer is to be known by.
pub(super) struct Request {
    /// As the client gave it, or null.
    pub(super) reference: Value,
    pub(super) operation: Result<Operation, Problem>,
}

/// What a client wants.
pub(super) enum Operation {
    Submit(Submit),
    Subscribe(Target),
    Unsubscribe(Target),
    Cancel(JobId),
    Ping,
}

/// A job to be taken in.
pub(super) struct Submit {
    /// The body of a `POST /v1/jobs`.
    pub(super) body: Vec<u8>,
    /// The digest of an idempotency key.
    pub(super) key: Option<[u8; 32]>,
    /// Where the request comes from.
    pub(super) traceparent: Option<String>,
}

/// What can be followed.
#[derive(Clone)]
pub(super) enum Target {
    Job(JobId),
    Kind(Kind),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: Option<String>,
    kind: Option<String>,
}

/// Takes a text frame apart.
pub(super) fn parse(text: &str) -> Request {
    // Values stay as the client wrote them: what a plugin reads is exactly what was sent.
    let mut members = match serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text) {
        Ok(members) => members,
        Err(error) => {
            let problem = Problem::malformed(format!("the message is not a JSON object: {error}"));
            return Request { reference: Value::Null, operation: Err(problem) };
        }
    };
    let reference = members.remove("ref").map_or(Ok(Value::Null), |raw| reference(&raw));
    let operation = members.remove("op");
    match reference {
        Ok(reference) => Request { reference, operation: parse_operation(operation.as_deref(), members) },
        Err(problem) => Request { reference: Value::Null, operation: Err(problem) },
    }
}

fn reference(raw: &RawValue) -> Result<Value, Problem> {
    match serde_json::from_str(raw.get()) {
        Ok(Value::String(text)) if text.len() <= REFERENCE_BYTES_MAX => Ok(Value::String(text)),
        Ok(number @ (Value::Number(_) | Value::Null)) => Ok(number),
        _ => {
            let detail = format!("ref is a number or a string of at most {REFERENCE_BYTES_MAX} bytes");
            Err(Problem::malformed(detail.clone()).at("/ref", detail))
        }
    }
}

fn parse_operation(
    name: Option<&RawValue>,
    mut members: BTreeMap<String, Box<RawValue>>,
) -> Result<Operation, Problem> {
    match name.map(RawValue::get) {
        Some(r#""submit""#) => {
            let key = members.remove("idempotency_key").map(|raw| serde_json::from_str::<String>(raw.get()));
            let key = key.map(|key| submit::digest_of_key(&key.unwrap_or_default())).transpose()?;
            let traceparent = members.remove("traceparent").map(|raw| serde_json::from_str::<String>(raw.get()));
            let traceparent = traceparent.transpose().map_err(|_| wrong("/traceparent", "traceparent is a string"))?;
            let traceparent = traceparent.as_deref().and_then(trace::well_formed);
            let body = serde_json::to_vec(&members).map_err(|error| Problem::malformed(error.to_string()))?;
            Ok(Operation::Submit(Submit { body, key, traceparent }))
        }
        Some(r#""subscribe""#) => target(&members).map(Operation::Subscribe),
        Some(r#""unsubscribe""#) => target(&members).map(Operation::Unsubscribe),
        Some(r#""cancel""#) => match target(&members)? {
            Target::Job(id) => Ok(Operation::Cancel(id)),
            Target::Kind(_) => Err(wrong("/kind", "jobs are cancelled one by one; give the id of one")),
        },
        Some(r#""ping""#) => Ok(Operation::Ping),
        _ => Err(wrong("/op", "op is one of submit, subscribe, unsubscribe, cancel, ping")),
    }
}

fn target(members: &BTreeMap<String, Box<RawValue>>) -> Result<Target, Problem> {
    let text = serde_json::to_string(members).map_err(|error| Problem::malformed(error.to_string()))?;
    let named: Named = serde_json::from_str(&text).map_err(|error| Problem::malformed(error.to_string()))?;
    match (named.id, named.kind) {
        (Some(id), None) => parse_id(&id).map(Target::Job),
        (None, Some(kind)) => Kind::new(&kind).map(Target::Kind).ok_or_else(|| Problem::unknown_kind(&kind)),
        _ => Err(wrong("", "either the id of a job or the name of a kind has to be given")),
    }
}

fn wrong(pointer: &str, detail: &str) -> Problem {
    Problem::malformed(detail).at(pointer, detail)
}

/// The answer to an operation that went well.
pub(super) fn accepted(reference: &Value, operation: &str, job: Option<Job>) -> Value {
    let id = job.as_ref().map(|job| job.id);
    let job = job.map(JobView::without_usage);
    json!({"event": "accepted", "ref": reference, "op": operation, "id": id, "job": job})
}

/// The answer to an operation that did not.
pub(super) fn refused(reference: &Value, problem: Problem) -> Value {
    json!({"event": "problem", "ref": reference, "status": problem.status(), "problem": problem.into_members()})
}

/// The answer to a ping.
pub(super) fn pong(reference: &Value) -> Value {
    json!({"event": "pong", "ref": reference})
}

/// A job as it is now.
pub(super) fn state(job: &Job) -> Value {
    json!({"event": "state", "id": job.id, "kind": job.kind, "job": JobView::without_usage(job.clone())})
}

/// What happened to a job, if that is told here.
pub(super) fn event(event: &Event) -> Option<Value> {
    let (name, mut data) = crate::api::events::describe(event);
    if name != "progress" {
        return None;
    }
    data["event"] = json!(name);
    Some(data)
}

/// What came out of a job: its output if that is small, else where it is.
pub(super) fn result(job: &Job, output: Option<&Payload>) -> Value {
    let mut result = json!({
        "event": "result", "id": job.id, "kind": job.kind, "state": job.state, "failure": job.failure,
        "media_type": output.map(|output| output.media_type.as_str()),
        "size": output.map(|output| output.content.size()),
        "links": {"job": format!("/v1/jobs/{}", job.id), "result": format!("/v1/jobs/{}/result", job.id)},
    });
    if let Some(Payload { media_type, content: Content::Inline(bytes) }) = output {
        let is_json =
            media_type.split(';').next().is_some_and(|bare| bare == "application/json" || bare.ends_with("+json"));
        let value = if is_json { serde_json::from_slice::<Value>(bytes).ok() } else { None };
        match (value, std::str::from_utf8(bytes)) {
            (Some(value), _) => result["output"] = value,
            (None, Ok(text)) => result["text"] = json!(text),
            (None, Err(_)) => result["base64"] = json!(STANDARD.encode(bytes)),
        }
    }
    result
}
