//! Looks at the plugin folder again and again, has files checked once they have come to rest, and swaps in what is good.
//!
//! Looking is a few system calls per file. Notifications of the kernel would not spare it: they do not come from
//! network folders and container mounts, and a file has to be looked at twice anyway to know that it is complete.

mod checks;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use super::checker::{Checker, Silent, TOLD_MAX, Task, Told};
use super::kept::Kept;
use super::look::{Found, Identity, Look, Stamps};
use super::looker::{Looker, Sight};
use super::{Plugins, Settings};
use crate::job::Kind;
use crate::priority;
use crate::sandbox::Sandbox;
use crate::store::Blobs;

/// Time between two looks. A file is complete when two looks find it the same.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A file that was written in place may be half of a copy that has stalled: it has to stay as it is for so long. One that was moved here,
/// or had its mode or times set after its last byte, is complete.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// How long the first scan waits for files that are still being written.
const FIRST_SCAN_MAX: Duration = Duration::from_secs(5);

struct Seen {
    stamps: Stamps,
    /// When it was first seen like this.
    since: Instant,
    checked: bool,
    /// What did not answer when it was checked.
    silent: Silent,
    /// The latest check of this name; what an earlier one finds is of no interest any more.
    ticket: u64,
}

impl Seen {
    /// Whether something has come back from what did not answer: then it is asked again.
    fn may_be_answered(&self) -> bool {
        self.silent.iter().any(|(folder, returned)| folder.returned() != *returned)
    }
}

/// The thread behind [`Plugins`].
pub(super) struct Watcher {
    checker: Arc<Checker>,
    plugins: Weak<Plugins>,
    runtime: Runtime,
    looker: Looker,
    seen: BTreeMap<String, Seen>,
    waiting: Vec<Task>,
    under_way: Vec<Task>,
    results: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
    tickets: u64,
    has_changed: bool,
    started: Instant,
    /// The folder in which everything was found that was seen.
    identity: Option<Identity>,
}

impl Watcher {
    pub(super) fn new(
        settings: Settings,
        sandbox: Arc<Sandbox>,
        blobs: Blobs,
        plugins: Weak<Plugins>,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let kept = Kept::open(settings.kept.clone())?;
        let results = mpsc::channel(settings.checks_max.max(1) * TOLD_MAX);
        let looker = Looker::new(settings.folder.clone());
        Ok(Self {
            checker: Arc::new(Checker { settings, sandbox, blobs, kept, toml: None }),
            plugins,
            runtime,
            looker,
            seen: BTreeMap::new(),
            waiting: Vec::new(),
            under_way: Vec::new(),
            results,
            tickets: 0,
            has_changed: true,
            started: Instant::now(),
            identity: None,
        })
    }

    /// Looks and has files checked until told to stop. Does not wait for looks and checks that are under way: they can take long,
    /// and leave nothing half done when the process ends.
    pub(super) fn run(mut self, mut stop: watch::Receiver<bool>) {
        priority::lower();
        // Nothing while it follows from what comes of the look under way.
        let mut next_look = Some(Instant::now());
        loop {
            let (results, looker) = (&mut self.results.1, &mut self.looker);
            let (is_looking, begin) = (looker.is_looking(), next_look.unwrap_or_else(Instant::now));
            let next = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => Next::Stop,
                    told = results.recv() => told.map_or(Next::Stop, Next::Hear),
                    sight = looker.sight() => Next::See(sight),
                    () = tokio::time::sleep_until(begin.into()), if !is_looking => Next::Look,
                }
            });
            match next {
                Next::Stop => return,
                Next::Look => {
                    next_look = None;
                    if let Err(error) = self.begin_look() {
                        next_look = Some(Instant::now() + LOOK_EVERY);
                        self.note_sight(Sight::Look(Err(error)));
                    }
                }
                Next::See(Sight::Left) => next_look = Some(Instant::now()),
                Next::See(sight) => {
                    next_look.get_or_insert_with(|| Instant::now() + LOOK_EVERY);
                    self.note_sight(sight);
                }
                // There is room for the next check.
                Next::Hear(told) => {
                    next_look = Some(Instant::now());
                    self.hear(told);
                }
            }
        }
    }

    fn begin_look(&mut self) -> io::Result<()> {
        let secrets_of = |seen: &Seen| seen.stamps.secrets.keys().cloned().collect();
        let with_secrets = self.seen.iter().filter(|(_, seen)| !seen.stamps.secrets.is_empty());
        let secrets: HashMap<String, Vec<PathBuf>> =
            with_secrets.map(|(name, seen)| (name.clone(), secrets_of(seen))).collect();
        self.looker.begin(secrets)
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Compiled { name, ticket, bytes, took } => self.note_compiled(&name, ticket, bytes, took),
            Told::Checked(checked) => self.take(*checked),
        }
    }

    fn note_sight(&mut self, sight: Sight) {
        let Some(plugins) = self.plugins.upgrade() else { return };
        let look = match sight {
            Sight::Look(look) => self.believe(look),
            Sight::Silent => Err("the plugin folder does not answer, as on a disk or server that is gone".to_owned()),
            Sight::Left => return,
        };
        match look {
            Ok(look) => {
                plugins.complain(look.reason.clone());
                self.compare(&plugins, &look);
            }
            Err(reason) => plugins.complain(Some(reason)),
        }
    }

    /// What the folder holds, or why that is not known.
    fn believe(&mut self, look: io::Result<Look>) -> Result<Look, String> {
        let look = look.map_err(|error| format!("the plugin folder cannot be read: {error}"))?;
        // Where a disk was unmounted there is an empty folder: it does not say that anybody removed the files.
        let is_another = self.identity.is_some_and(|before| before != look.identity);
        if is_another && look.is_empty() && !self.seen.is_empty() {
            return Err("another folder that is empty has come in place of the plugin folder, which may have been \
                        unmounted; put a file into it, or start the host again, if that is meant"
                .to_owned());
        }
        self.identity = Some(look.identity);
        Ok(look)
    }

    /// Holds what is there against what was there before.
    fn compare(&mut self, plugins: &Plugins, look: &Look) {
        plugins.note_present(look.names().filter_map(|name| kind_of(name).ok()).collect());
        let gone: Vec<String> = self.seen.keys().filter(|name| !look.has(name)).cloned().collect();
        for name in gone {
            self.seen.remove(&name);
            self.waiting.retain(|task| task.name != name);
            self.checker.kept.forget(&name);
            plugins.retire(&name);
            self.has_changed = true;
        }
        let mut unsettled = look.is_partial;
        for (name, found) in &look.files {
            let stamps = found.stamps(self.seen.get(name).map(|seen| &seen.stamps));
            let first_scan = !plugins.is_scanned();
            let now = Instant::now();
            let (settled, since, ticket) = match self.seen.get(name) {
                Some(seen) if seen.stamps == stamps && seen.checked && !seen.may_be_answered() => continue,
                Some(seen) if seen.stamps == stamps => {
                    (found.were_moved_here() || seen.since.elapsed() >= QUIET, seen.since, seen.ticket)
                }
                Some(seen) => (false, now, seen.ticket),
                None => (first_scan && found.have_rested(), now, 0),
            };
            self.seen.insert(name.clone(), Seen { stamps, since, checked: settled, silent: Silent::new(), ticket });
            if settled {
                self.enqueue(plugins, name, found);
            } else {
                unsettled = true;
                self.note_settling(plugins, name, found);
            }
        }
        self.start_waiting(plugins);
        if !self.waiting.is_empty() || !self.under_way.is_empty() {
            return;
        }
        if !plugins.is_scanned() && (!unsettled || self.started.elapsed() > FIRST_SCAN_MAX) {
            self.checker.kept.forget_others(|name| look.has(name));
            plugins.change(|table| table.scanned = true);
        }
        if plugins.is_scanned() && std::mem::take(&mut self.has_changed) {
            self.sweep(plugins);
        }
    }

    /// Lists a file that may not be complete, unless an earlier version of it is still being checked.
    fn note_settling(&self, plugins: &Plugins, name: &str, found: &Found) {
        if let Ok(kind) = kind_of(name)
            && !self.waiting.iter().chain(&self.under_way).any(|task| task.name == name)
        {
            plugins.note_settling(name, kind, found.wasm.len());
        }
    }

    /// Compiled code is kept only of files that are there or serve.
    fn sweep(&self, plugins: &Plugins) {
        let serving = plugins.all_serving();
        let mut used: HashSet<String> = serving.iter().map(|plugin| plugin.digest.clone()).collect();
        used.extend(plugins.files().into_iter().filter_map(|report| report.digest));
        self.checker.sandbox.forget_compiled(|digest| used.contains(digest));
    }
}

/// The kind that a file of this name is for.
pub(super) fn kind_of(name: &str) -> Result<Kind, String> {
    name.strip_suffix(".wasm").and_then(Kind::new).ok_or_else(|| {
        "the name is not allowed: before .wasm it has 1 to 63 of a-z, 0-9 and -, and does not begin with -; rename the \
         file"
            .to_owned()
    })
}

enum Next {
    Stop,
    Look,
    See(Sight),
    Hear(Told),
}
