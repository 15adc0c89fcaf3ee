//! Takes one file through its checks: read, hash, compile, link, describe.
//!
//! Each check is a thread of its own, behind those that serve clients, so that a file that takes long holds up
//! neither other files nor the end of the host. How many there are at a time is the business of `folder/checks.rs`.

mod prepare;
mod read;

use std::collections::BTreeMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

pub(super) use self::read::Silent;
use super::kept::{Kept, Version};
use super::look::{Found, Mark};
use super::{Plugin, Settings};
use crate::job::Kind;
use crate::priority;
use crate::sandbox::Sandbox;
use crate::store::Blobs;

/// What every check needs.
pub(super) struct Checker {
    pub(super) settings: Settings,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) blobs: Blobs,
    pub(super) kept: Kept,
    /// The file of settings, where it is not that of the plugin folder.
    pub(super) toml: Option<PathBuf>,
}

/// A file to check.
#[derive(Clone)]
pub(super) struct Task {
    /// Its name in the plugin folder.
    pub(super) name: String,
    /// The kind it is for.
    pub(super) kind: Kind,
    /// What it and its settings were recognised by when they came to rest.
    pub(super) found: Found,
    /// What serves the kind now and goes on serving it if this one is not usable; without, the last good version is wanted.
    pub(super) serving: Option<Arc<Plugin>>,
    /// Tells this check from an earlier one of the same name.
    pub(super) ticket: u64,
}

/// How many things a check tells at most.
pub(super) const TOLD_MAX: usize = 2;

/// What a check tells.
pub(super) enum Told {
    /// The compiler is done with a file of so many bytes; code that was kept from an earlier time needs no compiler.
    Compiled { name: String, ticket: u64, bytes: u64, took: Duration },
    /// It is over.
    Checked(Box<Checked>),
}

/// What came of a check.
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) ticket: u64,
    pub(super) learnt: Learnt,
    /// The plugin, or why there is none.
    pub(super) result: Result<Arc<Plugin>, Rejection>,
    /// The last good version, if it was wanted and is there.
    pub(super) fall_back: Option<Arc<Plugin>>,
    pub(super) took_ms: u64,
}

/// What a check has learnt on its way, wherever that ended.
#[derive(Default)]
pub(super) struct Learnt {
    /// SHA-256 of the file, if it was read.
    pub(super) digest: Option<String>,
    /// The files of the secrets that its settings name, and those of what serves in its stead, as they were before they were read.
    pub(super) secrets: BTreeMap<PathBuf, Mark>,
    /// What did not answer: granted folders, and files.
    pub(super) silent: Silent,
}

/// Why a file is not used.
#[derive(Debug)]
pub(super) enum Rejection {
    /// It is not usable; the sentence is for whoever dropped it.
    NotUsable(String),
    /// It changed while it was read and has to be looked at again.
    Changed,
}

impl From<String> for Rejection {
    fn from(reason: String) -> Self {
        Self::NotUsable(reason)
    }
}

impl Checker {
    /// Checks a file on a thread of its own, and sends what came of it. A receiver that is gone does not mind.
    pub(super) fn start(self: &Arc<Self>, task: Task, results: mpsc::Sender<Told>) -> io::Result<()> {
        let checker = Arc::clone(self);
        let check = move || {
            // As jobs, and not behind them: compiling is put there by itself, and the rest takes a hundredth of its time.
            priority::lower();
            // Told from within a runtime, where nothing may wait; there is room for all that the checks at a time tell.
            let tell = |told| drop(results.try_send(told));
            let checked = checker.check(task, &tell);
            // Without a receiver the host is stopping, and nobody wants to know.
            let _ = results.blocking_send(Told::Checked(Box::new(checked)));
        };
        thread::Builder::new().name("plugin-check".into()).spawn(check).map(drop)
    }

    fn check(&self, task: Task, tell: &dyn Fn(Told)) -> Checked {
        let started = Instant::now();
        let mut learnt = Learnt::default();
        // A bug in the compiler, or anywhere on the way, costs this file only.
        let guarded = AssertUnwindSafe(|| self.take_through(&task, &mut learnt, tell));
        let result = panic::catch_unwind(guarded)
            .unwrap_or_else(|_| Err("the host panicked while it checked this file".to_owned().into()));
        let fall_back = match (&result, &task.serving) {
            (Err(Rejection::NotUsable(_)), Some(serving)) => {
                self.read_secrets_again(serving, &mut learnt);
                None
            }
            (Err(Rejection::NotUsable(_)), None) => self.fall_back(&task, &mut learnt),
            _ => None,
        };
        let Task { name, ticket, .. } = task;
        Checked {
            name,
            ticket,
            learnt,
            result,
            fall_back,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// A version that is not usable must not keep a new secret from the one that goes on serving.
    fn read_secrets_again(&self, serving: &Plugin, learnt: &mut Learnt) {
        self.note_secrets(&serving.settings, learnt);
        match self.grants(&serving.settings, &serving.kind, &mut learnt.silent) {
            Ok(grants) => serving.grant(grants),
            Err(error) => {
                let kind = &serving.kind;
                tracing::warn!(%kind, error, "the version that goes on serving keeps the secrets it has");
            }
        }
    }

    fn take_through(&self, task: &Task, learnt: &mut Learnt, tell: &dyn Fn(Told)) -> Result<Arc<Plugin>, Rejection> {
        let toml = format!("{}.toml", task.kind);
        let toml = self.read_toml(&toml, task.found.toml.as_ref(), &mut learnt.silent);
        if let Ok(settings) = toml.as_deref().map_err(drop).and_then(|toml| self.parse(&task.kind, toml).map_err(drop))
        {
            self.note_secrets(&settings, learnt);
        }
        let wasm = self.read(&task.name, &task.found.wasm, &mut learnt.silent)?;
        let digest = &*learnt.digest.insert(hex::encode(Sha256::digest(&wasm)));
        let version = Version { wasm, toml: toml? };
        let (ticket, bytes) = (task.ticket, version.wasm.len() as u64);
        let compiled = |took| tell(Told::Compiled { name: task.name.clone(), ticket, bytes, took });
        let plugin = self.prepare(task.kind.clone(), &version, digest, &mut learnt.silent, &compiled)?;
        if let Err(error) = self.kept.keep(&task.name, &version) {
            tracing::warn!(plugin.file = task.name, %error, "a good version could not be kept for a bad day");
        }
        Ok(plugin)
    }

    /// The version that served before this host was started.
    fn fall_back(&self, task: &Task, learnt: &mut Learnt) -> Option<Arc<Plugin>> {
        let version = self.kept.get(&task.name).ok()?;
        if let Ok(settings) = self.parse(&task.kind, &version.toml) {
            self.note_secrets(&settings, learnt);
        }
        let digest = hex::encode(Sha256::digest(&version.wasm));
        let prepare = || self.prepare(task.kind.clone(), &version, &digest, &mut learnt.silent, &|_| ());
        let guarded = AssertUnwindSafe(prepare);
        match panic::catch_unwind(guarded).unwrap_or_else(|_| Err("the host panicked".to_owned())) {
            Ok(plugin) => {
                tracing::warn!(plugin.file = task.name, plugin.digest = digest, "the last good version serves instead");
                Some(plugin)
            }
            Err(reason) => {
                tracing::error!(plugin.file = task.name, reason, "the last good version cannot be used either");
                None
            }
        }
    }
}
