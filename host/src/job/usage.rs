//! What an attempt used, and which bound ended it.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// The bound that ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The fuel budget.
    Fuel,
    /// The wall clock.
    Deadline,
    /// The memory cap.
    Memory,
    /// The cap on result and artifacts.
    Output,
    /// The guest's stack.
    Stack,
    /// A cancel request.
    Cancelled,
    /// The host is stopping; the job will run again.
    Interrupted,
}

/// What one attempt used. Every attempt that ended leaves one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The bound that ended it, if one did.
    #[schema(required)]
    pub bound: Option<Bound>,
    /// Fuel consumed. A unit is roughly one WebAssembly instruction.
    pub fuel: u64,
    /// Processor time inside the guest and its host calls.
    pub cpu_ms: u64,
    /// Time from start to end.
    pub wall_ms: u64,
    /// Time spent waiting in host calls, off the processor.
    pub parked_ms: u64,
    /// Largest linear memory of all instances together.
    pub memory_bytes_peak: u64,
    /// Size of the input and of the blobs it names, each counted once.
    pub bytes_in: u64,
    /// Size of result and artifacts.
    pub bytes_out: u64,
    /// SHA-256 of the plugin file that ran.
    pub plugin_digest: String,
    /// The guest's call stack where it trapped, innermost first.
    pub backtrace: Vec<String>,
    /// The last lines of the attempt's log.
    pub log: Vec<String>,
    /// How many lines it logged in all.
    #[serde(default)]
    pub log_lines: u64,
    /// Which run of the job left this; the ids of its log lines begin with it.
    #[serde(default)]
    pub run: Run,
}

/// One run of a job: another one each time a worker takes the job, and larger than those before, also when the attempt is made again under
/// its old number because the host was stopped or died. Outside it is a text without a meaning; `0` where nobody has counted. It grows with
/// every run of the whole host: who sees two of them may learn how many jobs of others ran in between, and nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String)]
pub struct Run(pub u64);

impl Run {
    /// The run of that name.
    pub fn parse(name: &str) -> Option<Self> {
        // A sign would be taken for a part of the number.
        let well_formed = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(name, 16).ok().filter(|_| well_formed).map(Self)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

// Text for programs that know no whole numbers of this size, a number for disks.
impl Serialize for Run {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| D::Error::custom("a run is a hexadecimal number"))
    }
}
