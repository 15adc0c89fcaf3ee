//! What lies in `/out`, held against its quota.
//!
//! Each file counts with its length, holes included: that is what the artifact made of it would have. A file that was deleted counts as
//! long as the guest holds it open, since the disk holds it as long.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::store::RoomForOutput;

/// Files in `/out` at a time.
const FILES_MAX: usize = 10_000;
/// Folders in `/out` at a time. On some disks each takes milliseconds to remove.
const FOLDERS_MAX: usize = 1_000;
/// What a file or folder takes on the disk when there is nothing in it.
const EMPTY_BYTES: u64 = 4_096;
/// Handles remembered of one file before those that are closed are forgotten.
const HANDLES_KEPT: usize = 16;

/// More was to be left in `/out` than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Full {
    /// So many bytes may.
    Bytes(u64),
    /// Too many files.
    Files,
    /// Too many folders.
    Folders,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Full::Bytes(max) => {
                write!(f, "the files in /out would be larger than {max} bytes together (scratch_bytes)")
            }
            Full::Files => write!(f, "there would be more than {FILES_MAX} files in /out"),
            Full::Folders => write!(f, "there would be more than {FOLDERS_MAX} folders in /out"),
        }
    }
}

impl std::error::Error for Full {}

/// Why something may not be written.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The guest has used up its quota.
    Full(Full),
    /// The host has no room.
    NoRoom(io::Error),
}

/// The folder `/out` of one attempt. Clones are the same folder.
#[derive(Clone)]
pub(in crate::sandbox) struct Out {
    held: Arc<Mutex<Held>>,
}

struct Held {
    bytes_max: u64,
    room: RoomForOutput,
    bytes: u64,
    files: HashMap<u64, Counted>,
    folders: usize,
}

struct Counted {
    bytes: u64,
    has_name: bool,
    handles: Vec<Weak<File>>,
}

impl Counted {
    fn is_gone(&self) -> bool {
        !self.has_name && self.handles.iter().all(|handle| handle.strong_count() == 0)
    }
}

impl Out {
    /// An empty folder that may hold so much.
    pub(in crate::sandbox) fn new(bytes_max: u64, room: RoomForOutput) -> Self {
        let held = Held { bytes_max, room, bytes: 0, files: HashMap::new(), folders: 0 };
        Self { held: Arc::new(Mutex::new(held)) }
    }

    // Each change is a single step, so that a panic elsewhere leaves nothing half done.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether one more file may be made.
    pub(super) fn check_one_more(&self) -> Result<(), Refusal> {
        let mut held = self.held();
        if held.files.len() >= FILES_MAX {
            held.sweep();
        }
        if held.files.len() >= FILES_MAX {
            return Err(Refusal::Full(Full::Files));
        }
        held.room.check(EMPTY_BYTES).map_err(Refusal::NoRoom)
    }

    /// Says whether one more folder may be made.
    pub(super) fn check_one_more_folder(&self) -> Result<(), Refusal> {
        let held = self.held();
        if held.folders >= FOLDERS_MAX {
            return Err(Refusal::Full(Full::Folders));
        }
        held.room.check(EMPTY_BYTES).map_err(Refusal::NoRoom)
    }

    /// Counts a file that may grow to this length, and says whether it may, and whether so many bytes may be written to it. Those take
    /// room on the disk also where the file does not grow: it may have been made long first.
    pub(super) fn check_write(&self, key: u64, bytes: u64, written: u64) -> Result<(), Refusal> {
        let mut held = self.held();
        held.room.check(written).map_err(Refusal::NoRoom)?;
        let before = held.files.get(&key).map_or(0, |file| file.bytes);
        let Some(grown) = bytes.checked_sub(before).filter(|grown| *grown > 0) else { return Ok(()) };
        if held.bytes.saturating_add(grown) > held.bytes_max {
            held.sweep();
        }
        if held.bytes.saturating_add(grown) > held.bytes_max {
            return Err(Refusal::Full(Full::Bytes(held.bytes_max)));
        }
        held.set(key, bytes);
        Ok(())
    }

    /// Counts an open file with the length it has.
    pub(super) fn is_now(&self, key: u64, file: &File) {
        if let Ok(metadata) = file.metadata() {
            self.held().set(key, metadata.len());
        }
    }

    /// Takes note of an open file.
    pub(super) fn opened(&self, key: u64, bytes: u64, file: &Arc<File>) {
        let mut held = self.held();
        // The number of a file that is gone may be given to a new one.
        if held.files.get(&key).is_some_and(Counted::is_gone) {
            held.forget(key);
        }
        held.set(key, bytes);
        if let Some(counted) = held.files.get_mut(&key) {
            if counted.handles.len() >= HANDLES_KEPT {
                counted.handles.retain(|handle| handle.strong_count() > 0);
            }
            counted.handles.push(Arc::downgrade(file));
        }
    }

    /// The file of this number was deleted, or another one has taken its name.
    pub(super) fn has_no_name(&self, key: u64) {
        let mut held = self.held();
        if let Some(file) = held.files.get_mut(&key) {
            file.has_name = false;
            if file.is_gone() {
                held.forget(key);
            }
        }
    }

    /// The file or folder of this number was replaced by another one.
    pub(super) fn was_replaced(&self, key: u64) {
        let is_file = self.held().files.contains_key(&key);
        if is_file { self.has_no_name(key) } else { self.folder_gone() }
    }

    pub(super) fn folder_made(&self) {
        self.held().folders += 1;
    }

    pub(super) fn folder_gone(&self) {
        let mut held = self.held();
        held.folders = held.folders.saturating_sub(1);
    }
}

impl Held {
    fn set(&mut self, key: u64, bytes: u64) {
        let file = self.files.entry(key).or_insert_with(|| Counted { bytes: 0, has_name: true, handles: Vec::new() });
        self.bytes = self.bytes.saturating_sub(file.bytes).saturating_add(bytes);
        file.bytes = bytes;
    }

    fn forget(&mut self, key: u64) {
        if let Some(file) = self.files.remove(&key) {
            self.bytes = self.bytes.saturating_sub(file.bytes);
        }
    }

    /// Forgets the deleted files that have been closed meanwhile.
    fn sweep(&mut self) {
        self.files.retain(|_, file| !file.is_gone());
        self.bytes = self.files.values().map(|file| file.bytes).sum();
    }
}

/// What identifies an open file, whatever its name.
pub(super) fn key_of(file: &File) -> io::Result<u64> {
    file.metadata().map(|metadata| metadata.ino())
}
