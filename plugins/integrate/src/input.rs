//! What a client sends, checked.

use serde::Deserialize;

use crate::expression::Expression;
use crate::grid::Grid;

/// Minutes of computing; all cells can still be counted in 64 bits.
pub(crate) const SIZE_MAX: u32 = 1_000_000_000;

/// A job that can be computed.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) f: Expression,
    pub(crate) grid: Grid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    f: String,
    a: f64,
    b: f64,
    c: f64,
    d: f64,
    // To JSON Schema 100.0 is an integer too, so it is read as any number and checked below.
    size: f64,
}

/// Reads the JSON input. The error names the field and can be shown to the client.
pub(crate) fn parse(json: &[u8]) -> Result<Input, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let fields: Fields = serde_path_to_error::deserialize(&mut deserializer).map_err(describe)?;
    deserializer.end().map_err(|error| format!("the input is not one JSON object: {error}"))?;
    let grid = grid(&fields)?;
    let f = Expression::parse(&fields.f).map_err(|error| format!("f: {error}"))?;
    Ok(Input { f, grid })
}

fn grid(&Fields { a, b, c, d, size, .. }: &Fields) -> Result<Grid, String> {
    if a >= b {
        return Err(format!("b: must be greater than a, found a = {a} and b = {b}"));
    }
    if c >= d {
        return Err(format!("d: must be greater than c, found c = {c} and d = {d}"));
    }
    // JSON has no infinity, but numbers near the largest one can still add up to it.
    if !((b - a) * (d - c)).is_finite() || !(b - a).is_finite() || !(d - c).is_finite() {
        return Err("a, b, c, d: the rectangle is too large for floating-point numbers".into());
    }
    if size.fract() != 0.0 || !(1.0..=f64::from(SIZE_MAX)).contains(&size) {
        return Err(format!("size: must be a whole number from 1 to {SIZE_MAX}, found {size}"));
    }
    Ok(Grid { a, b, c, d, size: size as u32 })
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
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({"f": "sqrt(4-xs**2)", "a": 0, "b": 2, "c": 0, "d": 2, "size": 100})
    }

    fn refusal_with(field: &str, value: Value) -> String {
        let mut input = good();
        input[field] = value;
        parse(input.to_string().as_bytes()).expect_err("the input is wrong")
    }

    #[test]
    fn a_good_input_is_read() {
        let input = parse(good().to_string().as_bytes()).expect("valid");
        assert_eq!(input.grid, Grid { a: 0.0, b: 2.0, c: 0.0, d: 2.0, size: 100 });
        assert_eq!(input.f.evaluator()(0.0), 2.0);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        let mut input = good();
        input["size"] = json!(100_000.0);
        assert_eq!(parse(input.to_string().as_bytes()).expect("valid").grid.size, 100_000);
    }

    #[test]
    fn refusals_name_the_field() {
        for (field, value, expected) in [
            ("f", json!(3), "f: invalid type: integer `3`, expected a string"),
            ("f", json!(""), "f: the expression is empty"),
            ("f", json!("sqrt(4+*xs)"), "f: unexpected \"*\" at position 8"),
            ("a", json!("0"), "a: invalid type: string"),
            ("b", json!(0), "b: must be greater than a, found a = 0 and b = 0"),
            ("d", json!(-1), "d: must be greater than c, found c = 0 and d = -1"),
            ("b", json!(f64::MAX), "b: the rectangle is too large"),
            ("size", json!(0), "size: must be a whole number from 1 to 1000000000, found 0"),
            ("size", json!(1_000_000_001), "size: must be a whole number"),
            ("size", json!(1.5), "size: must be a whole number"),
            ("size", json!(-3), "size: must be a whole number"),
            ("size", json!(null), "size: invalid type: null"),
            ("sise", json!(100), "unknown field `sise`"),
        ] {
            let message = refusal_with(field, value.clone());
            let expected =
                if expected.starts_with("b: the") { "a, b, c, d: the rectangle is too large" } else { expected };
            assert!(message.starts_with(expected), "{field} = {value}: {message}");
        }
    }

    #[test]
    fn a_missing_field_is_named() {
        for field in ["f", "a", "b", "c", "d", "size"] {
            let mut input = good();
            input.as_object_mut().expect("an object").remove(field);
            let message = parse(input.to_string().as_bytes()).expect_err("incomplete");
            assert!(message.starts_with(&format!("missing field `{field}`")), "{message}");
        }
    }
}
