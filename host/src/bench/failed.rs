//! What could not be measured, why, and what to try: as the report has it and as the command line tells it.

use std::fmt;

use serde::Serialize;

/// Something that could not be measured. It ends the run, and what was measured before is shown all the same.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    pub(super) what: &'static str,
    detail: String,
    /// What to try.
    #[serde(rename = "try")]
    pub(crate) advice: String,
}

impl Failed {
    /// The causes are told in words only: that a connection within a measurement was closed, say, is not how the whole command ended.
    pub(super) fn new(what: &'static str, error: &anyhow::Error) -> Self {
        Self {
            what,
            detail: format!("{error:#}"),
            advice: format!("`dropforge bench --only '{what}'` measures it alone"),
        }
    }

    /// With something better to try, where there is.
    pub(super) fn with_advice(self, advice: Option<&str>) -> Self {
        Self { advice: advice.map_or(self.advice, str::to_owned), ..self }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.detail)
    }
}

impl std::error::Error for Failed {}
