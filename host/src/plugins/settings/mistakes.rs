//! Mistakes in a `NAME.toml`, as sentences for its author.

use figment::error::{Actual, Kind};

/// Sections whose values are nobody's business: they may have become public by mistake already, but not through us.
const CONFIDENTIAL: [&str; 3] = ["config", "environment", "secrets"];
/// A name further off is not meant.
const NEAR: f64 = 0.6;

/// What is wrong with the text as such. Without the line itself, which may hold a secret.
pub(crate) fn of_text(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    // Some of its messages go over several lines.
    let reason = error.message().lines().collect::<Vec<_>>().join("; ");
    format!("line {line} is not TOML: {reason}")
}

/// What is wrong with the values, all of it: whoever has to mend the file wants to do it once.
pub(super) fn of_values(errors: figment::Error) -> String {
    errors.into_iter().map(|error| of_value(&error)).collect::<Vec<_>>().join("; ")
}

/// What is wrong with one value, after its key.
pub(crate) fn of_value(error: &figment::Error) -> String {
    let path = error.path.join(".");
    let confidential = error.path.first().is_some_and(|first| CONFIDENTIAL.contains(&first.as_str()));
    let describe = |actual: &Actual| match actual {
        Actual::Str(_) if confidential => "a text".to_owned(),
        Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) if confidential => {
            "a number or truth value".to_owned()
        }
        Actual::Str(text) => format!("{text:?}"),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    };
    match &error.kind {
        Kind::UnknownField(name, known) => unknown(&within(&error.path, name), name, known),
        Kind::UnknownVariant(name, known) => {
            format!("{path}: found {name:?}, expected one of {}{}", known.join(", "), meant(name, known))
        }
        Kind::MissingField(name) => format!("{path}: the key {name:?} is missing"),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("{path}: found {}, expected {}", describe(actual), plain(expected))
        }
        Kind::Message(message) => format!("{path}: {message}"),
        // Numbers that do not fit, mostly.
        other => format!("{path}: {other}"),
    }
}

/// The key itself may or may not stand at the end of the path.
fn within(path: &[String], name: &str) -> String {
    let section = match path.split_last() {
        Some((last, section)) if last == name => section,
        _ => path,
    };
    section.join(".")
}

fn unknown(section: &str, name: &str, known: &[&str]) -> String {
    let place = if section.is_empty() { String::new() } else { format!("{section}: ") };
    match meant(name, known) {
        meant if meant.is_empty() => format!("{place}unknown key {name:?}; known are {}", known.join(", ")),
        meant => format!("{place}unknown key {name:?}{meant}"),
    }
}

fn meant(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied(), NEAR) {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None => String::new(),
    }
}

/// The known name that is most like this one, if it is at least so much like it; 1 is the same.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>, at_least: f64) -> Option<&'a str> {
    let likeness = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let near = likeness.filter(|(likeness, _)| *likeness >= at_least);
    near.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

/// The types of this program in the words of TOML.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, not below zero",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}
