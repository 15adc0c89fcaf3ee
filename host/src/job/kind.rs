//! The names of kinds.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// What a job is for: the stem of the plugin's file name, `[a-z0-9][a-z0-9-]{0,62}`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = KindName, value_type = String, description = "What a job is for: `[a-z0-9][a-z0-9-]{0,62}`.")]
pub struct Kind(Arc<str>);

impl Kind {
    /// Accepts a well-formed name.
    pub fn new(name: &str) -> Option<Self> {
        let letter_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let well_formed = (1..=63).contains(&name.len())
            && name.as_bytes().first().is_some_and(letter_or_digit)
            && name.bytes().all(|byte| letter_or_digit(&byte) || byte == b'-');
        well_formed.then(|| Self(name.into()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Kind {
    type Error = &'static str;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name).ok_or("a kind is 1 to 63 of a-z, 0-9 and -, and does not begin with -")
    }
}

// As the text it is: every record and every answer has one.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
