//! The plugin folder as a table of kinds: watched, checked, swapped.
//!
//! A file serves only after its settings were read and it was compiled, linked and asked to describe itself. Jobs hold on to
//! the version they started on; a file that is rejected leaves the version before it serving. All of this happens on threads of its
//! own, at low priority.

mod check;
mod checker;
mod folder;
mod kept;
mod look;
mod looker;
mod pace;
mod schema;
mod settings;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, oneshot, watch};

pub use self::check::{Bench, Verdict, check_at, kind_at};
pub use self::pace::Unusable;
pub use self::schema::{Schema, Violation, pointer_segment};
pub use self::settings::{ATTEMPTS_MAX, KindSettings};
pub(crate) use self::settings::{doubts, mistake_in_text, mistake_in_value, nearest};
use self::table::Table;
pub use self::table::{FileReport, FileState, Step};
use crate::job::Kind;
use crate::queue::Runnable;
use crate::sandbox::{CommandSettings, Description, Grants, LOOK_MAX, Limits, Program, Sandbox, Shape};
use crate::store::{Blobs, Retention};

/// Attempts of a job, unless the job or its kind's settings say otherwise.
const MAX_ATTEMPTS: u32 = 3;

/// Bounds for what plugins may wish.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder.
    pub folder: PathBuf,
    /// Where the last good file of each kind is kept.
    pub kept: PathBuf,
    /// A larger file is rejected.
    pub file_bytes_max: u64,
    /// Files being checked at a time; large ones leave one place to small ones.
    pub checks_max: usize,
    /// Limits of a kind that wishes nothing.
    pub limits: Limits,
    /// No kind gets more.
    pub limits_max: Limits,
    /// Fuel per millisecond of time limit.
    pub fuel_per_ms: u64,
}

/// One version of a kind, ready to run.
pub struct Plugin {
    /// What it serves.
    pub kind: Kind,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The compiled file.
    pub program: Program,
    /// What it says of itself.
    pub description: Description,
    /// Schema of a JSON input.
    pub input_schema: Option<Schema>,
    /// Schema of the parameters.
    pub parameter_schema: Option<Schema>,
    /// Schema of the result, for documentation.
    pub output_schema: Option<Value>,
    /// What a job may use, its own timeout aside.
    pub limits: Limits,
    /// What the operator says about it.
    pub settings: KindSettings,
    grants: RwLock<Arc<Grants>>,
    fuel_per_ms: u64,
    timeout_max: Duration,
}

impl Plugin {
    /// What the queue hands out of it.
    fn runnable(&self) -> Runnable {
        let concurrency_max = self.settings.concurrency.map_or(usize::MAX, |most| most as usize);
        Runnable { kind: self.kind.clone(), concurrency_max }
    }

    /// What the guests of an attempt that begins now may reach, and the secrets they get.
    pub fn grants(&self) -> Arc<Grants> {
        Arc::clone(&self.grants.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what guests may reach from the next attempt on.
    fn grant(&self, grants: Grants) {
        *self.grants.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(grants);
    }

    /// Whether the plugin reads JSON first of all; then its input is checked before a job is accepted.
    pub fn reads_json(&self) -> bool {
        self.description.input_media_types.first().is_some_and(|first| first == "application/json")
    }

    /// The longest a job may ask to run.
    pub fn timeout_max(&self) -> Duration {
        self.timeout_max
    }

    /// Whether it is a program, which may be given arguments.
    pub fn is_command(&self) -> bool {
        self.program.shape() != Shape::JobComponent
    }

    /// What a command is told besides its input and what the job says.
    pub fn command_settings(&self) -> CommandSettings {
        CommandSettings { arguments: self.settings.args.clone(), media_type: self.settings.media_type.clone() }
    }

    /// Fuel per millisecond of a job's time limit.
    pub fn fuel_per_ms(&self) -> u64 {
        self.fuel_per_ms
    }

    /// Attempts of a job that does not say how many.
    pub fn max_attempts(&self) -> u32 {
        self.settings.max_attempts.unwrap_or(MAX_ATTEMPTS)
    }

    /// What a job that asks for this timeout may use.
    pub fn limits_for(&self, timeout: Option<Duration>) -> Limits {
        let timeout = timeout.unwrap_or(self.limits.timeout).min(self.timeout_max);
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Limits { timeout, fuel: ms.saturating_mul(self.fuel_per_ms), ..self.limits }
    }

    /// Holds an input against the plugin's schema.
    pub fn check_input(&self, input: &Value) -> Result<(), Vec<Violation>> {
        self.input_schema.as_ref().map_or(Ok(()), |schema| schema.check(input))
    }

    /// Holds parameters against the plugin's schema.
    pub fn check_parameters(&self, parameters: &[(String, String)]) -> Result<(), Vec<Violation>> {
        self.parameter_schema.as_ref().map_or(Ok(()), |schema| schema.check(&schema.parameters_as_object(parameters)))
    }
}

/// The table, kept up to date until dropped.
pub struct Plugins {
    folder: PathBuf,
    looks: Arc<Semaphore>,
    table: RwLock<Table>,
    kinds: watch::Sender<Arc<[Runnable]>>,
    stop: watch::Sender<bool>,
    watcher: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Looks into the folder on behalf of those who ask for a kind that is not known, at a time: it may be on a disk that does not answer.
const LOOKS_MAX: usize = 4;
/// How long such a look may take.
const LOOK_TIME_MAX: Duration = Duration::from_millis(200);

impl Plugins {
    /// Whether a file for a kind that is not known lies in the folder: it was dropped a moment ago, and the next look of the watcher
    /// finds it.
    pub async fn lies_there(&self, kind: &Kind) -> bool {
        let Ok(seat) = Arc::clone(&self.looks).try_acquire_owned() else { return false };
        let path = self.folder.join(format!("{kind}.wasm"));
        let (tell, told) = oneshot::channel();
        let look = move || {
            let is_there = path.is_file();
            // Kept for as long as the thread, also where nobody waits for it any more.
            drop(seat);
            let _ = tell.send(is_there);
        };
        // No thread of the runtime's, which waits for its own when the host ends.
        let is_looking = thread::Builder::new().name("plugin-look".into()).spawn(look).is_ok();
        is_looking && matches!(tokio::time::timeout(LOOK_TIME_MAX, told).await, Ok(Ok(true)))
    }

    /// Starts to watch a folder, which is created if it is not there. One that does not answer is waited for by nobody else.
    pub fn watch(settings: Settings, sandbox: Arc<Sandbox>, blobs: Blobs) -> std::io::Result<Arc<Self>> {
        let folder = settings.folder.clone();
        let made = sandbox.folders().at(&folder).ask(LOOK_MAX, move |_| std::fs::create_dir_all(folder));
        made.unwrap_or(Ok(()))?;
        let plugins = Arc::new(Self {
            folder: settings.folder.clone(),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            table: RwLock::new(Table::new()),
            kinds: watch::Sender::new(Arc::default()),
            stop: watch::Sender::new(false),
            watcher: Mutex::default(),
        });
        let watcher = folder::Watcher::new(settings, sandbox, blobs, Arc::downgrade(&plugins))?;
        let stop = plugins.stop.subscribe();
        let thread = thread::Builder::new().name("plugins".into()).spawn(move || watcher.run(stop))?;
        *plugins.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(plugins)
    }

    /// The plugin serving a kind.
    pub fn serving(&self, kind: &Kind) -> Option<Arc<Plugin>> {
        self.read(|table| table.serving.get(kind).cloned())
    }

    /// Every plugin that serves, by kind.
    pub fn all_serving(&self) -> Vec<Arc<Plugin>> {
        self.read(|table| table.serving.values().cloned().collect())
    }

    /// Every file of the folder.
    pub fn files(&self) -> Vec<FileReport> {
        self.read(Table::listed)
    }

    /// Why it is not known what lies in the folder, while it is not. What serves goes on serving then.
    pub fn folder_reason(&self) -> Option<String> {
        self.read(|table| table.folder_reason.clone())
    }

    /// The kinds that can run now.
    pub fn kinds(&self) -> watch::Receiver<Arc<[Runnable]>> {
        self.kinds.subscribe()
    }

    /// The kinds whose finished jobs are kept in a way of their own; nothing before every file has been looked at once.
    /// Those of a kind that has a file but does not serve are all kept: how long they should be is not known.
    pub fn retention(&self, host: Retention) -> Option<HashMap<Kind, Retention>> {
        self.read(|table| table.scanned.then(|| table.retention(host)))
    }

    /// Whether every file has been looked at once.
    pub fn is_scanned(&self) -> bool {
        self.read(|table| table.scanned)
    }

    /// Stops watching. What serves goes on serving. A check that is under way is not waited for, and comes to nothing.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if watcher.is_some_and(|watcher| watcher.join().is_err()) {
            tracing::error!("the plugin watcher panicked");
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes which kinds have a file. It is no change of what serves, so nobody is woken.
    fn note_present(&self, present: BTreeSet<Kind>) {
        if self.read(|table| table.present != present) {
            self.note(|table| table.present = present);
        }
    }

    /// Changes what is known, but not what serves.
    fn note(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut table);
        let kinds: Arc<[Runnable]> = table.serving.values().map(|plugin| plugin.runnable()).collect();
        // Told under the lock, so that two changes cannot be told in the wrong order.
        self.kinds.send_if_modified(|known| {
            // Workers are woken also when a kind only got a new version: its jobs may wait for just that.
            let changed = !known.is_empty() || !kinds.is_empty();
            *known = kinds;
            changed
        });
    }
}

impl Drop for Plugins {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
