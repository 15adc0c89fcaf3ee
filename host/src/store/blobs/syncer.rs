//! Brings files to the disk while the guest that wrote them goes on: one after the other, on a thread of its own.
//!
//! All files of an attempt have to be on the disk when it ends, and each takes a flush, of a tenth of a millisecond or of ten. A guest that
//! writes one file after the other would leave all of that to its end. What has not been begun by then is done by whoever ends the
//! upload: nobody waits for this thread, except for the one file it has in its hands.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};

/// Files that may wait. More are left to whoever ends their uploads.
const WAITING_MAX: usize = 64;

/// The thread, until dropped.
#[derive(Debug)]
pub(super) struct Syncer {
    waiting: Option<SyncSender<Weak<Closed>>>,
    thread: Option<JoinHandle<()>>,
}

/// A file that nothing more is written to.
#[derive(Debug)]
pub(super) struct Closed(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Where it is, until somebody has tried to bring it to the disk. It is tried once: the kernel forgets what a flush could not write.
    to_sync: Option<PathBuf>,
    /// What came of that.
    synced: io::Result<()>,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Self> {
        let (waiting, files) = mpsc::sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("syncer".to_owned()).spawn(move || work(&files))?;
        Ok(Self { waiting: Some(waiting), thread: Some(thread) })
    }

    /// Has a file brought to the disk soon, if it is not dropped before.
    pub(super) fn sync_soon(&self, file: &Arc<Closed>) {
        if let Some(waiting) = &self.waiting {
            // Where too many wait already, the disk has enough to do.
            let _ = waiting.try_send(Arc::downgrade(file));
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.waiting = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that brings files to the disk panicked");
        }
    }
}

fn work(files: &Receiver<Weak<Closed>>) {
    while let Ok(file) = files.recv() {
        if let Some(file) = file.upgrade() {
            file.sync();
        }
    }
}

impl Closed {
    /// The file at this place, which stays there until [`finish`](Self::finish) has returned.
    pub(super) fn new(path: &Path) -> Self {
        Self(Mutex::new(State { to_sync: Some(path.to_owned()), synced: Ok(()) }))
    }

    /// Returns when it is on the disk. Blocks on the disk.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.sync();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.synced, Ok(()))
    }

    /// Brings it to the disk, or waits until somebody else has.
    fn sync(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = state.to_sync.take() {
            state.synced = File::open(path).and_then(|file| file.sync_all());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    impl Closed {
        fn is_tried(&self) -> bool {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).to_sync.is_none()
        }
    }

    fn until_tried(file: &Closed) {
        let started = Instant::now();
        while !file.is_tried() {
            assert!(started.elapsed() < Duration::from_secs(60), "nobody brings it to the disk");
            thread::yield_now();
        }
    }

    #[test]
    fn a_file_is_brought_to_the_disk_although_nobody_waits_for_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        fs::write(&path, "x").expect("it can be written");
        let (syncer, file) = (Syncer::start().expect("a thread"), Arc::new(Closed::new(&path)));
        syncer.sync_soon(&file);
        until_tried(&file);
        // What is done is not done again: by now it may have another name.
        fs::remove_file(&path).expect("it is there");
        file.finish().expect("it is on the disk");
    }

    /// Fault: what failed behind the back of whoever ends the upload counts as done.
    #[test]
    fn a_file_that_could_not_be_brought_to_the_disk_fails_its_upload() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        let (syncer, file) = (Syncer::start().expect("a thread"), Arc::new(Closed::new(&path)));
        syncer.sync_soon(&file);
        until_tried(&file);
        fs::write(&path, "too late").expect("it can be written");
        assert_eq!(file.finish().map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    }

    /// Fault: a guest writes files more quickly than the disk takes them, and those that found no place never come there.
    #[test]
    fn so_many_wait_and_the_others_are_done_by_whoever_ends_their_uploads() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        fs::write(&path, "x").expect("it can be written");
        let (syncer, first) = (Syncer::start().expect("a thread"), Arc::new(Closed::new(&path)));
        let files: Vec<_> = {
            let _held = first.0.lock().expect("nobody panicked");
            syncer.sync_soon(&first);
            let files = (0..3 * WAITING_MAX).map(|_| Arc::new(Closed::new(&path)));
            files.inspect(|file| syncer.sync_soon(file)).collect()
        };
        drop(syncer);
        let tried = files.iter().filter(|file| file.is_tried()).count();
        // The first may have taken a place as well.
        assert!((WAITING_MAX - 1..=WAITING_MAX).contains(&tried), "{tried} were brought to the disk");
        assert!(files.iter().all(|file| file.finish().is_ok() && file.is_tried()));
    }
}
