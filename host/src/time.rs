//! Instants and durations as they travel: milliseconds inside and on disk, RFC 3339 and `"2s"` outside.
//!
//! [`Time::now`] is the only reader of the wall clock. Deadlines are measured with `std::time::Instant`, which no
//! clock change can move; `Time` is for what people and disks see.

use std::fmt;
use std::time::Duration;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The largest whole number up to which every one has a floating point number of its own.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// A floating point number that is whole, not negative, and exact.
pub fn whole_number(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number)).then_some(number as u64)
}

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub i64);

impl Time {
    /// What the wall clock says. It may jump; nothing that must not be lost depends on it.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond() + test_offset_ms())
    }

    /// This moment moved by `duration`, kept within range.
    pub fn after(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// How long after `earlier` this moment is, zero if it is not.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// How far tests have set this process's clock: milliseconds, as text, in the file that `DROPFORGE_TEST_CLOCK` names.
#[cfg(debug_assertions)]
fn test_offset_ms() -> i64 {
    static FILE: std::sync::OnceLock<Option<std::path::PathBuf>> = std::sync::OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("DROPFORGE_TEST_CLOCK").map(Into::into));
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(not(debug_assertions))]
fn test_offset_ms() -> i64 {
    0
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            // Beyond the year 9999 there is no RFC 3339 text.
            Err(_) => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

// Text for people (JSON), eight bytes for disks.
impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        parse_time(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"an RFC 3339 time"))
    }
}

/// Reads an RFC 3339 time such as `2026-11-21T09:30:00Z`.
pub fn parse_time(text: &str) -> Option<Time> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    Some(Time(timestamp.as_millisecond()))
}

/// Reads `"2s"`, `"500ms"`, `"1h"`, `"1m30s"` or a whole number of milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(ms) = text.parse::<u64>() {
        return Some(Duration::from_millis(ms));
    }
    let signed: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(signed).ok()
}

/// Text such as `2s`, `500ms`, `1h` or `1m30s`, or a whole number of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// As it can be written: `90s`, `30ms`, `1h`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let whole = units.into_iter().find(|(of, _)| ms >= *of && ms.is_multiple_of(*of));
        let (of, unit) = whole.unwrap_or((1, "ms"));
        write!(f, "{}{unit}", ms / of)
    }
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$"));
        let number = ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer)).minimum(Some(0));
        let either = OneOfBuilder::new().item(text.min_length(Some(2))).item(number);
        let about = "Text such as `2s`, `500ms`, `1h` or `1m30s`, or a whole number of milliseconds.";
        either.description(Some(about)).into()
    }
}

impl ToSchema for Span {
    fn name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMilliseconds;
        impl Visitor<'_> for TextOrMilliseconds {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"2s\", \"500ms\", \"1h\" or a whole number of milliseconds")
            }
            fn visit_u64<E: serde::de::Error>(self, ms: u64) -> Result<Span, E> {
                Ok(Span(Duration::from_millis(ms)))
            }
            fn visit_i64<E: serde::de::Error>(self, ms: i64) -> Result<Span, E> {
                u64::try_from(ms)
                    .map(|ms| Span(Duration::from_millis(ms)))
                    .map_err(|_| E::invalid_value(Unexpected::Signed(ms), &self))
            }
            // In JSON 2000.0 is as whole as 2000.
            fn visit_f64<E: serde::de::Error>(self, ms: f64) -> Result<Span, E> {
                let whole = whole_number(ms).ok_or_else(|| E::invalid_value(Unexpected::Float(ms), &self))?;
                Ok(Span(Duration::from_millis(whole)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                parse_duration(text).map(Span).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(TextOrMilliseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_for_people_and_numbers_for_disks() {
        let time = Time(1_795_253_400_123);
        assert_eq!(serde_json::to_string(&time).ok().as_deref(), Some("\"2026-11-21T09:30:00.123Z\""));
        assert_eq!(parse_time("2026-11-21T09:30:00.123Z"), Some(time));
        let bytes = postcard::to_stdvec(&time).expect("a number encodes");
        assert!(bytes.len() < 10);
        assert_eq!(postcard::from_bytes::<Time>(&bytes), Ok(time));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["30ms", "1500ms", "90s", "1m", "1h", "168h", "0ms"] {
            assert_eq!(parse_duration(text).map(|duration| Span(duration).to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [("2s", 2_000), ("500ms", 500), ("1h", 3_600_000), ("250", 250), ("1m30s", 90_000)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "soon", "-2s", "-5", "2 parsecs"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
