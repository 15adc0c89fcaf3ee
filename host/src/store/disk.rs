//! The data folder: opened, checked, locked, and written in durable commits.
//!
//! ```text
//! DIR/lock         held by the one host that uses the folder
//! DIR/db/          the sled database: every record
//! DIR/commit       the number of the newest durable commit, outside of sled
//! DIR/inflight     which jobs are inside a guest right now
//! DIR/blobs/       large payloads, a file each
//! DIR/tmp/         uploads under way, and the folders of programs that run; emptied at open
//! DIR/importing    there while an import fills the folder; until it is done nobody else opens it
//! DIR/db.old/      the database before a compaction, until the new one is in its place
//! DIR/plugins/     the last good version of each kind: `plugins` keeps it there
//! DIR/compiled/    compiled code: `sandbox` keeps it there, and makes anew what is missing
//! DIR/tokens.json  who may come in: `tokens` keeps it there
//! ```

mod ahead;
mod reads;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use self::ahead::Ahead;
use super::blobs::{self, Blobs};
use super::commits::CommitFile;
use super::compact;
use super::index::Index;
use super::inflight::{InFlight, Left};
use super::keys::{COMMIT_KEY, OPENS_KEY};
use super::record;
use super::recover;
use super::space::{Room, Space};
use super::untouched::Untouched;
use super::writes::Writes;
use super::{Settings, StoreError};
use crate::job::{Job, Kind};

/// How long sled may take to let go of a database that this process has just closed.
const STILL_CLOSING_MAX: Duration = Duration::from_secs(10);
/// For how long no job runs before it is durable, after a process died while one did. If that was the job's doing, whoever submitted it will
/// have tried again by then, and this time it can be found guilty.
const CAREFUL: Duration = Duration::from_secs(600);
/// Held by the one process that uses a folder.
pub(super) const LOCK: &str = "lock";
/// There while a folder is being filled.
pub(super) const IMPORTING: &str = "importing";
/// Memory sled may use for pages it could read again.
const CACHE_BYTES: u64 = 64 << 20;

/// Somebody who is told how jobs move.
pub(super) struct Observer(pub(super) Box<dyn Fn(&Job) + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) db: sled::Db,
    pub(super) blobs: Blobs,
    pub(super) space: Space,
    pub(super) in_flight: Arc<InFlight>,
    /// What the last process left in the in-flight file.
    pub(super) left: Left,
    /// How often this folder was opened, this time included.
    pub(super) opens: u64,
    /// Whether the store is being closed: nobody waits for room any longer.
    pub(super) closing: AtomicBool,
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
    db_file: File,
    ahead: Ahead,
    commits: CommitFile,
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
        let untouched = Untouched::copy(path)?;
        // Held until the copy is back in its place or gone.
        let opened =
            lock.try_clone().map_err(StoreError::from).and_then(|lock| Self::open_locked(path, settings, lock));
        match (opened, untouched) {
            (Err(StoreError::Damaged(what)), Some(untouched)) => {
                untouched.restore()?;
                Err(StoreError::Damaged(what))
            }
            (opened, _) => opened,
        }
    }

    /// Opens a folder that this process has locked.
    pub(super) fn open_locked(path: &Path, settings: &Settings, lock: File) -> Result<Self, StoreError> {
        let (database, commit) = (path.join("db"), path.join("commit"));
        let acknowledged = CommitFile::acknowledged_in(&commit)?;
        if acknowledged > 0 && !database.exists() {
            return Err(StoreError::damaged(format!(
                "there is no database in {}, but commit {acknowledged} was acknowledged; restore it from a backup",
                path.display()
            )));
        }
        let db = open_sled(&database)?;
        let commits = CommitFile::open(&commit)?;
        let last_commit: u64 = record::read(&db, COMMIT_KEY)?.unwrap_or(0);
        if last_commit < commits.acknowledged {
            return Err(StoreError::damaged(format!(
                "the database ends at commit {last_commit}, but commit {} was acknowledged; restore {} from a backup",
                commits.acknowledged,
                path.display()
            )));
        }
        let space = Space::new(path, settings.reserve_bytes);
        let blobs = Blobs::open_with(path, space.clone())?;
        let opens = record::read::<u64>(&db, OPENS_KEY)?.unwrap_or(0) + 1;
        let db_file = OpenOptions::new().read(true).write(true).open(database.join("db"))?;
        let (in_flight, left) = InFlight::open(&path.join("inflight"), settings.claims_max)?;
        let disk = Self {
            space,
            in_flight: Arc::new(in_flight),
            left,
            opens,
            ahead: Ahead::of(&db_file)?,
            db_file,
            db,
            blobs,
            closing: AtomicBool::new(false),
            lost_early: OnceLock::new(),
            failed: watch::Sender::new(None),
            webhooks_due: Notify::new(),
            observer: OnceLock::new(),
            paused: RwLock::default(),
            index: Mutex::new(Index::new(opens)),
            commits,
            last_commit: AtomicU64::new(last_commit),
            committing: Mutex::default(),
            _lock: lock,
        };
        let mut writes = Writes::default();
        writes.record(OPENS_KEY, &opens)?;
        disk.commit(writes)?;
        // The names of the files sled has just made must survive a power cut as well.
        blobs::sync_folder(&database)?;
        blobs::sync_folder(path)?;
        recover::rebuild(&disk)?;
        Ok(disk)
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
        writes.apply(&self.db, (COMMIT_KEY, record::encode(&number)?))?;
        self.db.flush()?;
        // What is left of little room is for those who make room.
        if self.space.room_lately() == Room::Ample {
            self.ahead.keep(&self.db_file)?;
        }
        // sled 0.34 only asks the kernel to start writing; this waits until the device has it.
        self.db_file.sync_data()?;
        self.commits.acknowledge(number)?;
        self.last_commit.store(number, Ordering::Relaxed);
        Ok(())
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

pub(super) fn open_sled(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let end = Instant::now() + STILL_CLOSING_MAX;
    // sled 0.34 panics on some kinds of damage; for us that is one more way of saying that it cannot be opened.
    match panic::catch_unwind(AssertUnwindSafe(|| open_when_closed(&config, end))) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(StoreError::damaged(format!("{} cannot be opened: {error}", path.display()))),
        Err(_) => Err(StoreError::damaged(format!("{} cannot be opened: sled panicked", path.display()))),
    }
}

/// sled's threads may hold a database for a moment after it was dropped. Our own lock says that no other process has it.
fn open_when_closed(config: &sled::Config, end: Instant) -> sled::Result<sled::Db> {
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") && Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}
