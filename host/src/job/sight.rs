//! Whose a job is, and which jobs somebody may see: the one decision behind every look at a job.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Job, Kind};

/// Who submitted a job: the public number of a token. A job that was submitted without one is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(u64);

impl Owner {
    /// The owner of that number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Reads what [`Owner`]'s `Display` writes: 16 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        well_formed.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TryFrom<String> for Owner {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("an owner is 16 hexadecimal digits in lower case")
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

/// Which jobs somebody may see. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// Only those of this owner.
    pub owner: Option<Owner>,
    /// Only those of these kinds.
    pub kinds: Option<Arc<[Kind]>>,
}

impl Sight {
    /// Whether a job, given by its owner and kind, may be seen.
    pub fn covers(&self, owner: Option<Owner>, kind: &Kind) -> bool {
        // Nobody's jobs are not everybody's.
        self.owner.is_none_or(|own| owner == Some(own)) && self.covers_kind(kind)
    }

    /// Whether a job may be seen.
    pub fn covers_job(&self, job: &Job) -> bool {
        self.covers(job.owner, &job.kind)
    }

    /// Whether a kind may be seen.
    pub fn covers_kind(&self, kind: &Kind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_seen_by_its_owner_and_by_who_sees_all() {
        let kind = |name| Kind::new(name).expect("well-formed");
        let (one, two) = (Owner::new(1), Owner::new(2));
        let own = Sight { owner: Some(one), kinds: None };
        assert!(own.covers(Some(one), &kind("a")));
        assert!(!own.covers(Some(two), &kind("a")) && !own.covers(None, &kind("a")));
        assert!(Sight::default().covers(None, &kind("a")) && Sight::default().covers(Some(two), &kind("a")));
        let of_kind = Sight { owner: None, kinds: Some([kind("a")].into()) };
        assert!(of_kind.covers(Some(two), &kind("a")) && !of_kind.covers(Some(two), &kind("b")));
    }

    #[test]
    fn owners_are_read_as_they_are_written() {
        let owner = Owner::new(0xab);
        assert_eq!((owner.to_string().as_str(), Owner::parse("00000000000000ab")), ("00000000000000ab", Some(owner)));
        for text in ["", "ab", "00000000000000AB", "+0000000000000ab", "00000000000000abc"] {
            assert_eq!(Owner::parse(text), None, "{text}");
        }
    }
}
