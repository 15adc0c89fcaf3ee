//! The data folder: opened, checked, locked, and written in durable commits.
//!
//! ```text
//! DIR/lock         held by the one host that uses the folder
//! DIR/journal.0    what each commit wrote, where it was made durable; the two files take turns
//! DIR/journal.1
//! DIR/db/          the sled database: every record, but for the newest ones
//! DIR/commit       the number of the newest durable commit, apart from both
//! DIR/inflight     which jobs are inside a guest right now
//! DIR/blobs/       large payloads, a file each
//! DIR/tmp/         uploads under way, and the folders of programs that run; emptied at open
//! DIR/importing    there while an import fills the folder; until it is done nobody else opens it
//! DIR/db.old/      the database before a compaction, until the new one is in its place
//! DIR/plugins/     the last good version of each kind: `plugins` keeps it there
//! DIR/compiled/    compiled code: `sandbox` keeps it there, and makes anew what is missing
//! DIR/tokens.json  who may come in: `tokens` keeps it there
//! ```

mod reads;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::blobs::{self, Blobs};
use super::commits::CommitFile;
use super::compact;
use super::index::Index;
use super::inflight::{InFlight, Left};
use super::journal::Found;
use super::keys::OPENS_KEY;
use super::log::{Log, Surroundings};
use super::record;
use super::recover::{self, Rebuilt};
use super::space::Space;
use super::table::{self, Table};
use super::untouched::Untouched;
use super::writes::Writes;
use super::{Settings, StoreError};
use crate::job::{Job, Kind};

/// For how long no job runs before it is durable, after a process died while one did. If that was the job's doing, whoever submitted it will
/// have tried again by then, and this time it can be found guilty.
const CAREFUL: Duration = Duration::from_secs(600);
/// Held by the one process that uses a folder.
pub(super) const LOCK: &str = "lock";
/// There while a folder is being filled.
pub(super) const IMPORTING: &str = "importing";

/// Somebody who is told how jobs move.
pub(super) struct Observer(pub(super) Box<dyn Fn(&Job) + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) db: Table,
    pub(super) blobs: Blobs,
    pub(super) space: Space,
    pub(super) in_flight: Arc<InFlight>,
    /// What the last process left in the in-flight file.
    pub(super) left: Left,
    /// How often this folder was opened, this time included.
    pub(super) opens: u64,
    /// Whether the store is being closed: nobody waits for room any longer.
    pub(super) closing: Arc<AtomicBool>,
    /// Since when it is known that the last process died while a job ran that is not on disk.
    lost_early: OnceLock<Instant>,
    /// The reason, once a commit has failed.
    pub(super) failed: watch::Sender<Option<String>>,
    /// Told when webhooks become due.
    pub(super) webhooks_due: Notify,
    /// Who is told how jobs move.
    pub(super) observer: OnceLock<Observer>,
    /// The kinds that are paused, as the last durable commit has it.
    pub(super) paused: RwLock<HashSet<Kind>>,
    index: Mutex<Index>,
    /// Nothing while the folder is only being read.
    log: Mutex<Option<Log>>,
    last_commit: AtomicU64,
    /// Since when a commit is under way, if one is.
    committing: Mutex<Option<Instant>>,
    _lock: File,
}

impl Disk {
    /// Opens the folder, which need not exist yet, and rebuilds what lives in memory. A folder that cannot be opened is left
    /// as it is.
    pub(super) fn open(path: &Path, settings: &Settings) -> Result<Self, StoreError> {
        fs::create_dir_all(path)?;
        let lock = lock(path)?;
        compact::mend(path)?;
        table::read_from_disk(&path.join("db"))?;
        let untouched = Untouched::copy(path)?;
        // Held until the copy is back in its place or gone.
        let read = lock.try_clone().map_err(StoreError::from).and_then(|lock| Self::read(path, settings, lock));
        match (read, untouched) {
            (Err(StoreError::Damaged(what)), Some(untouched)) => {
                untouched.restore()?;
                Err(StoreError::Damaged(what))
            }
            (read, untouched) => {
                // Before the journal goes on: it would not follow on the copy any more.
                drop(untouched);
                let (disk, found, rebuilt) = read?;
                disk.begin(path, found, rebuilt)?;
                Ok(disk)
            }
        }
    }

    /// Opens a folder that this process has locked.
    pub(super) fn open_locked(path: &Path, settings: &Settings, lock: File) -> Result<Self, StoreError> {
        let (disk, found, rebuilt) = Self::read(path, settings, lock)?;
        disk.begin(path, found, rebuilt)?;
        Ok(disk)
    }

    /// Reads all that says whether the folder is whole.
    fn read(path: &Path, settings: &Settings, lock: File) -> Result<(Self, Found, Rebuilt), StoreError> {
        let (database, commit) = (path.join("db"), path.join("commit"));
        let acknowledged = CommitFile::acknowledged_in(&commit)?;
        if acknowledged > 0 && !database.exists() {
            return Err(StoreError::damaged(format!(
                "there is no database in {}, but commit {acknowledged} was acknowledged; restore it from a backup",
                path.display()
            )));
        }
        let mut found = Found::read(path)?;
        let db = Table::open(&database)?;
        db.lay_over(&mut found)?;
        let last_commit = db.newest_commit()?;
        if last_commit < acknowledged {
            return Err(StoreError::damaged(format!(
                "the database ends at commit {last_commit}, but commit {acknowledged} was acknowledged; restore {} from a backup",
                path.display()
            )));
        }
        let space = Space::new(path, settings.reserve_bytes);
        let blobs = Blobs::open_with(path, space.clone())?;
        let opens = record::read::<u64>(&db, OPENS_KEY)?.unwrap_or(0) + 1;
        let (in_flight, left) = InFlight::open(&path.join("inflight"), settings.claims_max)?;
        let disk = Self {
            space,
            in_flight: Arc::new(in_flight),
            left,
            opens,
            db,
            blobs,
            closing: Arc::default(),
            lost_early: OnceLock::new(),
            failed: watch::Sender::new(None),
            webhooks_due: Notify::new(),
            observer: OnceLock::new(),
            paused: RwLock::default(),
            index: Mutex::new(Index::new(opens)),
            log: Mutex::default(),
            last_commit: AtomicU64::new(last_commit),
            committing: Mutex::default(),
            _lock: lock,
        };
        let rebuilt = recover::rebuild(&disk)?;
        Ok((disk, found, rebuilt))
    }

    /// Has commits begin.
    fn begin(&self, path: &Path, found: Found, rebuilt: Rebuilt) -> Result<(), StoreError> {
        let space = self.space.clone();
        let around = Surroundings {
            has_room: Box::new(move |bytes| space.has_free(bytes)),
            closing: Arc::clone(&self.closing),
            failed: self.failed.clone(),
        };
        *self.log() = Some(Log::begin(path, self.db.clone(), found, around)?);
        // The names of the files that were just made must survive a power cut as well.
        blobs::sync_folder(&path.join("db"))?;
        blobs::sync_folder(path)?;
        let mut writes = rebuilt.writes;
        writes.record(OPENS_KEY, &self.opens)?;
        self.commit(writes)?;
        if rebuilt.is_whole {
            let swept = self.blobs.sweep()?;
            tracing::debug!(swept, "deleted blobs that nothing refers to");
        }
        Ok(())
    }

    fn log(&self) -> MutexGuard<'_, Option<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lives in memory. Its changes are single steps, so it stays usable if a thread panicked.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the observer how a job is now. To be called while the index is held, so that what is told is told in order.
    pub(super) fn tell(&self, job: &Job) {
        if let Some(Observer(tell)) = self.observer.get() {
            tell(job);
        }
    }

    /// Takes note that the last process died while a job ran that is not on disk.
    pub(super) fn note_lost_early(&self) {
        // Known once is enough.
        let _ = self.lost_early.set(Instant::now());
    }

    /// Whether jobs run only once they are durable, for now.
    pub(super) fn is_careful(&self) -> bool {
        self.lost_early.get().is_some_and(|since| since.elapsed() < CAREFUL)
    }

    /// The number of the newest durable commit.
    pub(super) fn commits(&self) -> u64 {
        self.last_commit.load(Ordering::Relaxed)
    }

    /// For how long the commit that is under way has been.
    pub(super) fn committing_for(&self) -> Duration {
        self.committing().map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn committing(&self) -> MutexGuard<'_, Option<Instant>> {
        self.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of each change or nothing of it, and returns when a power cut could not take any of it back.
    pub(super) fn commit(&self, writes: Writes) -> Result<(), StoreError> {
        *self.committing() = Some(Instant::now());
        let committed = self.write_durably(writes);
        *self.committing() = None;
        committed
    }

    fn write_durably(&self, writes: Writes) -> Result<(), StoreError> {
        let number = self.last_commit.load(Ordering::Relaxed) + 1;
        self.log().as_mut().ok_or(StoreError::Closed)?.commit(number, writes)?;
        self.last_commit.store(number, Ordering::Relaxed);
        Ok(())
    }

    /// Brings to the database all that it lacks, so that the next open finds it there.
    pub(super) fn bring_all(&self) -> Result<(), StoreError> {
        self.log().as_mut().map_or(Ok(()), Log::bring_all)
    }
}

/// Locks a folder that is whole, or that an import is to fill.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = lock_for_import(path)?;
    if path.join(IMPORTING).exists() {
        return Err(StoreError::damaged(format!(
            "an import into {} was cut short; delete the folder and import again",
            path.display()
        )));
    }
    Ok(lock)
}

/// Locks a folder that an import is to fill.
pub(super) fn lock_for_import(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
