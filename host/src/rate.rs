//! How often something may happen, as it is written in settings: `60/min`.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// So many times in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many times.
    pub count: NonZeroU32,
    /// In how long.
    pub period: Duration,
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("day", 86_400)];

impl Rate {
    /// Reads `5/s`, `60/min`, `1000/h` or `10000/day`.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit.trim())?;
        Some(Self { count: count.trim().parse().ok()?, period: Duration::from_secs(seconds) })
    }

    /// In how long one of them comes back.
    pub fn each(self) -> Duration {
        self.period / self.count.get()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, seconds)| *seconds == self.period.as_secs());
        write!(f, "{}/{}", self.count, unit.map_or("s", |(name, _)| name))
    }
}

/// A rate that may be `off`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit(pub Option<Rate>);

impl TryFrom<String> for RateLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let rate = Rate::parse(&text).map(|rate| Self(Some(rate)));
        rate.ok_or_else(|| format!("{text:?} is no rate such as 60/min, 5/s, 1000/h or 10000/day, nor off"))
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> Self {
        limit.0.map_or_else(|| "off".to_owned(), |rate| rate.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for text in ["off", "5/s", "60/min", "1000/h", "10000/day"] {
            let limit = RateLimit::try_from(text.to_owned()).expect(text);
            assert_eq!(String::from(limit), text);
        }
        assert_eq!(Rate::parse("60/min").map(Rate::each), Some(Duration::from_secs(1)));
        for text in ["", "60", "0/min", "-1/s", "60/minute", "1.5/s", "5000000000/s", "/s"] {
            assert!(RateLimit::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
