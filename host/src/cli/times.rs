//! Times as they are typed.

use std::time::Duration;

use anyhow::bail;

use crate::time::parse_duration;

/// A time that says its unit. Programs send bare milliseconds, and people who type a bare number mean seconds.
pub(super) fn duration(text: &str) -> anyhow::Result<Duration> {
    if text.parse::<f64>().is_ok() {
        bail!("{text} of what? Write {text}s for seconds, {text}ms for milliseconds, {text}m for minutes");
    }
    match parse_duration(text) {
        Some(duration) => Ok(duration),
        None => bail!("a time is like 5s, 500ms, 1h or 1m30s"),
    }
}

/// The same for what is handed on as it was typed.
pub(super) fn checked(text: &str) -> anyhow::Result<String> {
    duration(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, ms) in [("5s", 5_000), ("500ms", 500), ("1m30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["5", "0", "1.5", "-5", "", "soon", "5 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("5").is_err_and(|error| error.to_string().contains("5s for seconds")));
    }
}
