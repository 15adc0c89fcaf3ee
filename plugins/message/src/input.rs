//! What a client sends, checked.

use alloc::format;
use alloc::string::{String, ToString};

use serde::Deserialize;

/// A day: long enough for every test, short enough that a typing mistake is refused.
pub(crate) const SECONDS_MAX: f64 = 86_400.0;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    pub(crate) message: String,
    #[serde(default = "seconds_default")]
    pub(crate) seconds: f64,
}

fn seconds_default() -> f64 {
    3.0
}

/// Reads the JSON input. The error is one sentence that names the field and can be shown to the client.
pub(crate) fn parse(json: &[u8]) -> Result<Input, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let input: Input = serde_path_to_error::deserialize(&mut deserializer).map_err(describe)?;
    deserializer.end().map_err(|error| format!("the input is not one JSON object: {error}"))?;
    if !(0.0..=SECONDS_MAX).contains(&input.seconds) {
        return Err(format!("seconds: must be from 0 to {SECONDS_MAX}, found {}", input.seconds));
    }
    Ok(input)
}

/// serde names a missing or unknown field itself; for a wrong type only the path knows which field it was.
fn describe(error: serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    let reason = error.into_inner().to_string();
    if path == "." || reason.contains(&format!("`{path}`")) { reason } else { format!("{path}: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        parse(json.as_bytes()).expect_err("the input is wrong")
    }

    #[test]
    fn seconds_default_to_three() {
        let input = parse(br#"{"message": "hi"}"#).expect("valid");
        assert_eq!(input, Input { message: "hi".into(), seconds: 3.0 });
    }

    #[test]
    fn whole_and_broken_seconds_are_numbers() {
        for (json, seconds) in [
            (r#"{"message": "", "seconds": 0}"#, 0.0),
            (r#"{"message": "", "seconds": 0.25}"#, 0.25),
            (r#"{"message": "", "seconds": 86400}"#, 86_400.0),
        ] {
            assert_eq!(parse(json.as_bytes()).expect("valid").seconds, seconds);
        }
    }

    #[test]
    fn refusals_name_the_field() {
        for (json, expected) in [
            ("{}", "missing field `message`"),
            (r#"{"message": 3}"#, "message: invalid type: integer `3`, expected a string"),
            (r#"{"message": "hi", "seconds": "3"}"#, "seconds: invalid type: string \"3\", expected f64"),
            (r#"{"message": "hi", "seconds": null}"#, "seconds: invalid type: null"),
            (r#"{"message": "hi", "second": 3}"#, "unknown field `second`"),
            (r#"{"message": "hi", "message": "ho"}"#, "duplicate field `message`"),
            (r#"{"message": "hi", "seconds": -1}"#, "seconds: must be from 0 to 86400, found -1"),
            (r#"{"message": "hi", "seconds": 86400.5}"#, "seconds: must be from 0 to 86400, found 86400.5"),
            (r#"{"message": "hi", "seconds": 1e999}"#, "seconds: number out of range"),
            (r#"{"message": "hi"} x"#, "not one JSON object"),
            ("[]", "invalid"),
            ("", "EOF"),
            ("{\"message\": \"\u{1}\"}", "control character"),
        ] {
            let message = refusal(json);
            assert!(message.contains(expected), "{json}: {message}");
        }
    }
}
