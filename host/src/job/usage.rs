//! What an attempt used, and which bound ended it.

use serde::{Deserialize, Serialize};
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
}
