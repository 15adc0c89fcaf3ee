//! The body of `POST /v1/jobs`, taken apart.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use super::options::{JobOptions, Place};
use super::problem::Problem;
use crate::plugins::pointer_segment;
use crate::time::{Span, Time, whole_number};

/// A job as a client asks for it.
#[derive(Deserialize, ToSchema)]
#[schema(as = Submit)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonJob<'a> {
    /// What is to run it; `GET /v1/kinds` lists what there is.
    #[schema(example = "message")]
    kind: String,
    /// What it reads; `null` unless given.
    // Kept as the client wrote it: what the plugin reads is exactly what was sent.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    input: Option<&'a RawValue>,
    /// Parameters of the kind: strings, numbers, booleans, or lists of those.
    #[serde(default)]
    #[schema(value_type = HashMap<String, ParameterValue>)]
    parameters: Map<String, Value>,
    /// Arguments, for a program whose kind allows them.
    #[serde(default)]
    args: Vec<String>,
    /// 9 goes first; 5 unless given.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 9)]
    priority: Option<u64>,
    /// Starts no earlier than so long from now. Not together with `run_at`.
    delay: Option<Span>,
    /// Starts no earlier than at this moment.
    run_at: Option<Time>,
    /// Time limit of an attempt, up to what the kind allows.
    timeout: Option<Span>,
    /// How often it is tried.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u64>,
    /// It fails if it was not started by then.
    expires_in: Option<Span>,
    /// Labels of at most 64 bytes.
    #[serde(default)]
    #[schema(max_items = 16)]
    tags: Vec<String>,
    #[schema(ignore)]
    after: Option<Value>,
    /// Who is told how it ends, signed: an address that the operator allows.
    webhook: Option<String>,
}

/// What [`parameter`] takes.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes a request and is never made")]
enum ParameterValue {
    One(ParameterText),
    Many(Vec<ParameterText>),
}

/// A parameter, which reaches the kind as text.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes a request and is never made")]
enum ParameterText {
    Text(String),
    Number(f64),
    Truth(bool),
}

/// A job as it was asked for.
pub(super) struct ParsedJob {
    pub(super) kind: String,
    pub(super) options: JobOptions,
}

/// Reads the body: the job, and its input exactly as the client wrote it.
pub(super) fn parse(body: &[u8]) -> Result<(ParsedJob, Vec<u8>), Problem> {
    let job: JsonJob<'_> = serde_json::from_slice(body).map_err(|error| mistake(body, &error))?;
    if job.after.is_some() {
        let detail = "after is not supported yet by this version; leave it out";
        return Err(Problem::invalid_option(detail).at("/after", detail));
    }
    let options = JobOptions {
        place: Place::Document,
        parameters: job.parameters.into_iter().map(parameter).collect::<Result<Vec<_>, _>>()?.concat(),
        args: job.args,
        priority: job.priority,
        delay: job.delay.map(|span| span.0),
        run_at: job.run_at,
        timeout: job.timeout.map(|span| span.0),
        max_attempts: job.max_attempts,
        expires_in: job.expires_in.map(|span| span.0),
        tags: job.tags,
        webhook: job.webhook,
        cancel_on_timeout: false,
    };
    let input = job.input.map_or("null", RawValue::get).as_bytes().to_vec();
    Ok((ParsedJob { kind: job.kind, options }, input))
}

/// What is wrong with a body, and where. It is read a second time for that: to keep track of the place costs more than reading it does.
fn mistake(body: &[u8], error: &serde_json::Error) -> Problem {
    let mut json = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, JsonJob<'_>>(&mut json) {
        Ok(_) => Problem::malformed(format!("the body goes on after the JSON: {error}")),
        Err(error) => {
            let cause = error.inner().to_string();
            if error.inner().is_data() {
                let pointer = pointer(error.path());
                Problem::malformed(format!("the body does not describe a job: {cause}")).at(pointer, cause)
            } else {
                Problem::malformed(format!("the body is not JSON: {cause}"))
            }
        }
    }
}

/// A whole number, also one that is written as 5.0.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    let whole = number.as_u64().or_else(|| number.as_f64().and_then(whole_number));
    whole.map(Some).ok_or_else(|| D::Error::custom(format!("{number} is not a whole number from 0 on")))
}

/// A parameter of a JSON submit as text; a list gives the name several times.
fn parameter((name, value): (String, Value)) -> Result<Vec<(String, String)>, Problem> {
    let text = |value: Value| match value {
        Value::String(text) => Ok((name.clone(), text)),
        Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string())),
        _ => {
            let detail = "a parameter is a string, a number, true or false, or a list of those";
            Err(Problem::malformed(format!("parameters.{name}: {detail}"))
                .at(format!("/parameters/{}", pointer_segment(&name)), detail))
        }
    };
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        single => text(single).map(|pair| vec![pair]),
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", pointer_segment(key)),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}
