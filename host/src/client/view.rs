//! What people are shown of an answer. Everything else in it is ignored, so that a newer host is understood too.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::time::Time;

/// A job.
#[derive(Debug, Clone, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Where in its life it is.
    pub state: String,
    /// 0 to 9; 9 goes first.
    pub priority: u8,
    /// Attempts that ended on their own.
    pub attempts: u32,
    /// How many there may be.
    pub max_attempts: u32,
    /// How often the host died of it.
    pub crashes: u32,
    /// How often the host was stopped under it.
    pub interruptions: u32,
    /// How far it is.
    pub progress: ProgressView,
    /// Why it failed.
    pub failure: Option<FailureView>,
    /// One report for each attempt.
    #[serde(default)]
    pub usage: Vec<UsageView>,
    /// Labels.
    pub tags: Vec<String>,
    /// When it was submitted.
    pub created_at: Time,
    /// When it may start at the earliest.
    pub run_at: Option<Time>,
    /// When its last attempt started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Who is told how it ended.
    #[serde(default)]
    pub webhook: Option<WebhookView>,
}

impl JobView {
    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }
}

/// Who is told how a job ended, and how far that is.
#[derive(Debug, Clone, Deserialize)]
pub struct WebhookView {
    /// Where to.
    pub url: String,
    /// `waiting`, `due`, `delivered` or `given_up`.
    pub state: String,
    /// Tries so far.
    pub tries: u32,
    /// What went wrong with the last one.
    pub last_error: Option<String>,
}

/// How far a job is.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ProgressView {
    /// 0 to 1.
    pub fraction: f64,
    /// In the plugin's words.
    pub message: String,
}

/// Why a job failed.
#[derive(Debug, Clone, Deserialize)]
pub struct FailureView {
    /// Stable word for programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whose doing it was: `job`, `plugin` or `host`.
    pub fault: String,
}

/// What an attempt used.
#[derive(Debug, Clone, Deserialize)]
pub struct UsageView {
    /// Which, from 1.
    pub attempt: u32,
    /// The bound that ended it.
    pub bound: Option<String>,
    /// About one a WebAssembly instruction.
    pub fuel: u64,
    /// Processor time.
    pub cpu_ms: u64,
    /// From start to end.
    pub wall_ms: u64,
    /// Time spent waiting.
    pub parked_ms: u64,
    /// Largest memory.
    pub memory_bytes_peak: u64,
    /// Size of the input.
    pub bytes_in: u64,
    /// Size of result and artifacts.
    pub bytes_out: u64,
    /// The guest's call stack where it trapped.
    pub backtrace: Vec<String>,
    /// The last lines it logged.
    #[serde(default)]
    pub log: Vec<String>,
}

/// A page of jobs.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// Newest first.
    pub jobs: Vec<JobView>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// The files a job wrote.
#[derive(Debug, Deserialize)]
pub struct Artifacts {
    /// In the order they were made.
    pub artifacts: Vec<ArtifactView>,
}

/// A file a job wrote.
#[derive(Debug, Deserialize)]
pub struct ArtifactView {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The kinds a host serves.
#[derive(Debug, Deserialize)]
pub struct Kinds {
    /// By name.
    pub kinds: Vec<KindView>,
}

/// A kind.
#[derive(Debug, Deserialize)]
pub struct KindView {
    /// Its name.
    pub kind: String,
    /// What a job of it does.
    #[serde(default)]
    pub summary: String,
    /// The plugin's own version.
    #[serde(default)]
    pub version: String,
    /// Jobs by state.
    pub counts: BTreeMap<String, u64>,
    /// Whether its jobs wait until it is resumed.
    #[serde(default)]
    pub paused: bool,
}

/// The plugin files of a host.
#[derive(Debug, Deserialize)]
pub struct PluginFiles {
    /// By name.
    pub plugins: Vec<PluginFileView>,
    /// Why it is not known what lies in the folder, while it is not.
    pub reason: Option<String>,
}

/// A plugin file.
#[derive(Debug, Deserialize)]
pub struct PluginFileView {
    /// Its name.
    pub file: String,
    /// `compiling`, `serving` or `rejected`.
    pub state: String,
    /// What is being done with it, while it is compiling.
    #[serde(default)]
    pub step: Option<String>,
    /// Since when it stands there.
    #[serde(default)]
    pub since: Option<Time>,
    /// Its size in bytes.
    #[serde(default)]
    pub size: u64,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// The version that serves although this one does not.
    #[serde(default)]
    pub serves_instead: Option<String>,
    /// Other files with the same content.
    #[serde(default)]
    pub same_as: Vec<String>,
}

/// Why a job is not running.
#[derive(Debug, Deserialize)]
pub struct ExplanationView {
    /// A word for the rule.
    pub rule: String,
    /// The same for people.
    pub sentence: String,
    /// How many go before it, and one.
    pub position: Option<u64>,
    /// When it may start and end.
    pub estimate: Option<EstimateView>,
}

/// A guess from measured run times.
#[derive(Debug, Deserialize)]
pub struct EstimateView {
    /// From now.
    pub starts_in_ms: u64,
    /// From now.
    pub ends_in_ms: u64,
}
