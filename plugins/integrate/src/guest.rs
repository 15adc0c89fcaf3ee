//! The glue between the contract in `wit/` and the pure part.

#![allow(clippy::too_many_arguments, reason = "the generated bindings flatten records into arguments")]

use std::time::{Duration, Instant};

use crate::grid::{Counted, Grid};
use crate::input;

wit_bindgen::generate!({ path: "../../wit/0.1.0", world: "plugin", generate_all });

use dropforge::job::host::{self, Level};
use dropforge::job::types::{Body, Done, Example, InputDescription, InputError, Limits, OutputDescription, Transient};

/// How much computing a crash may cost. Saving takes a few milliseconds.
const SAVE_EVERY: Duration = Duration::from_millis(500);

struct Integrate;

export!(Integrate);

impl Guest for Integrate {
    fn describe() -> Descriptor {
        Descriptor {
            summary: "Measures the area under a formula inside a rectangle, by counting the cells of a grid.".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            input: InputDescription { media_types: vec!["application/json".into()], schema: Some(INPUT_SCHEMA.into()) },
            parameters: Some(PARAMETERS_SCHEMA.into()),
            output: OutputDescription {
                media_type: "application/json".into(),
                schema: Some(OUTPUT_SCHEMA.into()),
                artifacts: String::new(),
            },
            examples: vec![
                example(
                    "Pi, as a quarter of a circle of radius 2",
                    r#"{"f": "sqrt(4-xs**2)", "a": 0, "b": 2, "c": 0, "d": 2, "size": 100}"#,
                ),
                example(
                    "A hump of the sine on a fine grid",
                    r#"{"f": "np.sin(x)", "a": 0, "b": 3.141592653589793, "c": 0, "d": 1, "size": 10000}"#,
                ),
            ],
            limits: Limits { timeout_ms: None, memory_bytes: None, output_bytes: None },
        }
    }

    fn run(_context: Context, input: Input) -> Result<Outcome, Failure> {
        let json = input.bytes().map_err(unreadable)?;
        let input = input::parse(&json).map_err(Failure::InvalidInput)?;
        let mut saved_at = Instant::now();
        let result = input.grid.area_below(input.f.evaluator(), counted_before(&input.grid), |counted| {
            let Counted { columns, .. } = counted;
            let size = input.grid.size;
            host::progress(f64::from(columns) / f64::from(size), &format!("column {columns} of {size}"));
            if saved_at.elapsed() >= SAVE_EVERY {
                save(counted);
                saved_at = Instant::now();
            }
        });
        let json = serde_json::to_vec(&Output { result }).map_err(|error| Failure::Permanent(error.to_string()))?;
        Ok(Outcome::Done(Done { media_type: "application/json".into(), body: Body::Bytes(json) }))
    }
}

/// What an earlier attempt has counted. Of another version's state, which may mean something else, nothing is taken.
fn counted_before(grid: &Grid) -> Counted {
    let Some(checkpoint) = host::load_checkpoint() else { return Counted::default() };
    match serde_json::from_slice(&checkpoint.data) {
        Ok(counted) if grid.can_have(counted) => {
            host::log(Level::Info, &format!("going on at column {} of {}", counted.columns, grid.size));
            counted
        }
        _ => {
            host::log(Level::Warn, "what an earlier attempt has saved cannot be used; beginning anew");
            Counted::default()
        }
    }
}

/// Without it a later attempt only takes longer, so the counting goes on if it fails.
fn save(counted: Counted) {
    let saved = serde_json::to_vec(&counted).map_err(|error| error.to_string());
    if let Err(reason) = saved.and_then(|data| host::save_checkpoint(&data)) {
        host::log(Level::Warn, &format!("the state was not saved: {reason}"));
    }
}

#[derive(serde::Serialize)]
struct Output {
    result: f64,
}

fn unreadable(error: InputError) -> Failure {
    match error {
        InputError::TooLarge(size) => {
            Failure::InvalidInput(format!("the input has {size} bytes, at most 1 MiB is read"))
        }
        InputError::NotFound => Failure::Permanent("the host does not have the input".into()),
        InputError::Unavailable(reason) => Failure::Transient(Transient {
            message: format!("the host could not read the input: {reason}"),
            retry_after_ms: None,
        }),
    }
}

fn example(title: &str, input: &str) -> Example {
    Example { title: title.into(), input: Some(input.into()), parameters: Vec::new() }
}

const INPUT_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "f": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "A formula in x (or xs), written as for numpy: + - * / // % **, parentheses, pi, e, sqrt exp log log2 log10 sin cos tan arcsin arccos arctan sinh cosh tanh abs floor ceil, and maximum minimum power arctan2 hypot of two arguments; np. before a name is allowed."},
    "a": {"type": "number", "description": "Left side of the rectangle."},
    "b": {"type": "number", "description": "Right side, greater than a."},
    "c": {"type": "number", "description": "Lower side."},
    "d": {"type": "number", "description": "Upper side, greater than c."},
    "size": {"type": "integer", "minimum": 1, "maximum": 1000000000, "description": "The rectangle is cut into size x size cells; those whose centre is at or below the graph count."}
  },
  "required": ["f", "a", "b", "c", "d", "size"],
  "additionalProperties": false
}"#;

const PARAMETERS_SCHEMA: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;

const OUTPUT_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {"result": {"type": "number", "description": "The area."}},
  "required": ["result"],
  "additionalProperties": false
}"#;
