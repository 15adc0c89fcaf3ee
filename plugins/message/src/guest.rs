//! The glue between the contract in `wit/` and the pure part.

#![allow(clippy::too_many_arguments, reason = "the generated bindings flatten records into arguments")]

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{input, work};

wit_bindgen::generate!({
    path: "../../wit/0.1.0",
    inline: "
        package dropforge:message;
        world message {
            include dropforge:job/plugin@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.6;
        }
        package wasi:clocks@0.2.6 {
            interface monotonic-clock {
                use wasi:io/poll@0.2.6.{pollable};
                type instant = u64;
                type duration = u64;
                now: func() -> instant;
                resolution: func() -> duration;
                subscribe-instant: func(when: instant) -> pollable;
                subscribe-duration: func(when: duration) -> pollable;
            }
        }
    ",
    world: "dropforge:message/message",
    generate_all,
});

use dropforge::job::host;
use dropforge::job::types::{Body, Done, Example, InputDescription, InputError, Limits, OutputDescription, Transient};
use wasi::clocks::monotonic_clock;

struct Message;

export!(Message);

impl Guest for Message {
    fn describe() -> Descriptor {
        Descriptor {
            summary: "Returns your message after computing for some seconds: a job to try things out with.".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            input: InputDescription { media_types: vec!["application/json".into()], schema: Some(INPUT_SCHEMA.into()) },
            parameters: Some(PARAMETERS_SCHEMA.into()),
            output: OutputDescription {
                media_type: "application/json".into(),
                schema: Some(OUTPUT_SCHEMA.into()),
                artifacts: String::new(),
            },
            examples: vec![
                example("Three seconds of work", r#"{"message": "hi"}"#),
                example("No work at all", r#"{"message": "hi", "seconds": 0}"#),
            ],
            limits: Limits { timeout_ms: None, memory_bytes: None, output_bytes: None },
        }
    }

    fn run(_context: Context, input: Input) -> Result<Outcome, Failure> {
        let json = input.bytes().map_err(unreadable)?;
        let input = input::parse(&json).map_err(Failure::InvalidInput)?;
        let clock = || Duration::from_nanos(monotonic_clock::now());
        work::compute_for(input.seconds, clock, |done| {
            let (done_s, asked_s) = (tenths(done), tenths(input.seconds));
            host::progress(done / input.seconds, &format!("{done_s} of {asked_s} s"));
        });
        let output = Output { message: &input.message };
        let json = serde_json::to_vec(&output).map_err(|error| Failure::Permanent(error.to_string()))?;
        Ok(Outcome::Done(Done { media_type: "application/json".into(), body: Body::Bytes(json) }))
    }
}

#[derive(serde::Serialize)]
struct Output<'a> {
    message: &'a str,
}

/// Seconds with one decimal. Whole numbers print with far less code than floating-point ones, and the size of this
/// plugin is what every start of a job pays for.
fn tenths(seconds: f64) -> String {
    // Rounded, of what is never negative.
    let tenths = (seconds * 10.0 + 0.5) as u64;
    format!("{}.{}", tenths / 10, tenths % 10)
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
    "message": {"type": "string", "description": "What comes back."},
    "seconds": {"type": "number", "minimum": 0, "maximum": 86400, "default": 3,
      "description": "How long to compute. Give the job a longer `timeout` than this."}
  },
  "required": ["message"],
  "additionalProperties": false
}"#;

const PARAMETERS_SCHEMA: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;

const OUTPUT_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {"message": {"type": "string"}},
  "required": ["message"],
  "additionalProperties": false
}"#;
