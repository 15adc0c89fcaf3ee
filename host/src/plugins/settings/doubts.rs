//! What is valid and hardly meant, in the settings of a kind and of a host alike: a time has the same name and the same sense in both.

use std::time::Duration;

use figment::Figment;

/// Times of which hardly anybody wants less than a tenth of a second.
const SHORT_TIMES: [&str; 12] = [
    "header_timeout",
    "idle_timeout",
    "wait_max",
    "grace",
    "keep_alive",
    "timeout",
    "timeout_max",
    "retry_pause",
    "retry_pause_max",
    "webhook_timeout",
    "webhook_pause",
    "webhook_pause_max",
];
/// Times of which hardly anybody wants less than a minute.
const LONG_TIMES: [&str; 4] = ["keep", "keep_keys", "keep_uploads", "webhook_keep_trying"];

/// Times without a unit that seem to be meant in seconds.
pub(crate) fn doubts(figment: &Figment) -> Vec<String> {
    let short = SHORT_TIMES.iter().map(|key| (key, Duration::from_millis(100)));
    let long = LONG_TIMES.iter().map(|key| (key, Duration::from_secs(60)));
    let doubted = short.chain(long).filter_map(|(key, usual)| {
        let value = figment.find_value(key).ok()?;
        // Numbers of a file have a sign, and those of variables none.
        let signed = || value.to_i128().and_then(|ms| u64::try_from(ms).ok());
        let ms = value.to_u128().and_then(|ms| u64::try_from(ms).ok()).or_else(signed);
        doubt(key, ms.or_else(|| value.as_str()?.trim().parse().ok())?, usual)
    });
    doubted.collect()
}

/// What is said of a time that was written as a bare number, if it is less than `usual` and seconds may have been meant.
fn doubt(key: &str, ms: u64, usual: Duration) -> Option<String> {
    // Nothing is nothing in every unit.
    let is_short = ms > 0 && Duration::from_millis(ms) < usual;
    let sentence = || {
        format!(
            "{key}: {ms} means {ms} milliseconds; give a unit, such as \"{ms}s\" for seconds, or \"{ms}ms\" if it is meant so"
        )
    };
    is_short.then(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_bare_number_is_doubted() {
        let usual = Duration::from_millis(100);
        assert!(
            doubt("timeout", 99, usual)
                .is_some_and(|doubt| doubt.contains("99 milliseconds") && doubt.contains("\"99s\""))
        );
        assert_eq!((doubt("timeout", 100, usual), doubt("timeout", 0, usual)), (None, None));
    }
}
