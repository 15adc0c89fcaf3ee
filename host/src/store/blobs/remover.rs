//! Removes folders that guests have filled: one after the other, on a thread of its own.
//!
//! A guest chooses how many folders there are and how deep, and on some disks each takes milliseconds to remove. So no end of an attempt
//! waits for that, unless so many folders wait already that whoever brings more has to help.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use crate::priority;

/// Folders that may wait to be removed.
const WAITING_MAX: usize = 64;

/// The thread, until dropped. What it has not removed then is removed at the next open, with all other temporary files.
#[derive(Debug)]
pub(super) struct Remover {
    temporary: PathBuf,
    waiting: Option<SyncSender<PathBuf>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    /// For folders in this folder of temporary files.
    pub(super) fn start(temporary: &Path) -> io::Result<Self> {
        let (waiting, folders) = mpsc::sync_channel(WAITING_MAX);
        let (stop, beside) = (Arc::new(AtomicBool::new(false)), temporary.to_owned());
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("remover".to_owned()).spawn(move || {
            priority::lower();
            work(&folders, &beside, &stopped);
        })?;
        Ok(Self { temporary: temporary.to_owned(), waiting: Some(waiting), stop, thread: Some(thread) })
    }

    /// Has a folder removed that nobody uses any more.
    pub(super) fn remove(&self, folder: PathBuf) {
        let sent = self.waiting.as_ref().map(|waiting| waiting.try_send(folder));
        if let Some(Err(TrySendError::Full(folder) | TrySendError::Disconnected(folder))) = sent {
            remove_now(&folder, &self.temporary, &self.stop);
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waiting = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that removes folders panicked");
        }
    }
}

fn work(folders: &Receiver<PathBuf>, beside: &Path, stop: &AtomicBool) {
    while let Ok(folder) = folders.recv() {
        remove_now(&folder, beside, stop);
    }
}

/// Removes it on this thread, or says that it could not.
pub(super) fn remove_now(folder: &Path, beside: &Path, stop: &AtomicBool) {
    if let Err(error) = remove(folder, beside, stop) {
        // The next start removes it.
        tracing::warn!(folder = %folder.display(), %error, "a scratch folder could not be removed");
    }
}

/// Removes all that a folder of temporary files holds.
pub(super) fn clear(temporary: &Path) -> io::Result<()> {
    // Listed first: while folders are removed, others come and go beside them.
    for entry in fs::read_dir(temporary)?.collect::<Result<Vec<_>, _>>()? {
        if entry.file_type()?.is_dir() {
            remove(&entry.path(), temporary, &AtomicBool::new(false))?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes a folder of any depth. Each folder in it is moved to `beside` before its turn comes: following them down would need as many
/// open folders, and as long a path, as a guest likes.
fn remove(folder: &Path, beside: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let entry = entry?;
            // Most folders hold no others: an empty one goes at once.
            if entry.file_type()?.is_dir() {
                if fs::remove_dir(entry.path()).is_ok() {
                    continue;
                }
                let moved = tempfile::Builder::new().prefix("gone-").tempdir_in(beside)?.keep();
                fs::rename(entry.path(), &moved)?;
                folders.push(moved);
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir(&folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn wait_until_gone(folder: &Path) -> Duration {
        let started = Instant::now();
        while folder.exists() {
            assert!(started.elapsed() < Duration::from_secs(60), "{} is still there", folder.display());
            thread::yield_now();
        }
        started.elapsed()
    }

    /// Fault: the end of an attempt waits until thousands of folders are removed.
    #[test]
    fn whoever_has_a_folder_removed_does_not_wait_for_it() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let remover = Remover::start(temporary.path()).expect("a thread can be started");
        let folder = temporary.path().join("many");
        for number in 0..20_000 {
            fs::create_dir_all(folder.join(number.to_string())).expect("it can be made");
        }
        let started = Instant::now();
        remover.remove(folder.clone());
        let waited = started.elapsed();
        assert!(waited * 5 < wait_until_gone(&folder), "{waited:?}");
    }

    #[test]
    fn no_more_than_so_many_wait_and_all_are_removed() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let remover = Remover::start(temporary.path()).expect("a thread can be started");
        let folders: Vec<PathBuf> = (0..5 * WAITING_MAX).map(|n| temporary.path().join(n.to_string())).collect();
        folders.iter().for_each(|folder| fs::create_dir_all(folder.join("a/b/c")).expect("it can be made"));
        folders.iter().for_each(|folder| remover.remove(folder.clone()));
        for folder in &folders {
            wait_until_gone(folder);
        }
    }
}
