//! Granted folders as places that may never answer: how many threads wait there, and what is still to be closed there.
//!
//! A folder may lie on a disk or a server that is gone. A system call there does not return, and nothing ends the thread that made
//! it. So such calls are made on threads that nobody else waits for, and there is a seat for each: so many for a folder, and so many
//! for all folders together. Who finds none free waits for one, which can be given up, instead of holding one more thread. Whoever has
//! to read any other file of an operator's asks it in the same way, as if it were a folder.

mod caller;
mod closing;
mod seat;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use self::caller::{Caller, Patience};
use self::closing::Closing;

/// How long the folders of a kind may take, together, to show that they are there when its file is checked; and any other file to be
/// looked at, or to get on with being read.
pub const LOOK_MAX: Duration = Duration::from_secs(2);
/// Calls under way in one folder, and with them threads that wait for it.
pub(super) const CALLS_PER_FOLDER_MAX: usize = 16;
/// Calls under way in all granted folders together, but for those that each may have whatever the others do. Each worker has 512 threads
/// for what blocks, and most of them stay for other work even if all folders hang.
const CALLS_MAX: usize = 256;
/// Calls that a folder may have although the others have all there are: one server that is gone may be behind many folders.
const CALLS_OF_ITS_OWN: usize = 2;

/// The granted folders of a host.
pub struct Folders {
    known: Mutex<HashMap<PathBuf, Weak<Folder>>>,
    calls: Arc<Semaphore>,
    /// All the folders `/in`, which lie on the disk of the data folder.
    input: Arc<Folder>,
}

/// One folder of the host, whoever it is granted to, or a file that is asked in the same way.
pub struct Folder {
    path: PathBuf,
    calls: Arc<Semaphore>,
    calls_of_its_own: Arc<Semaphore>,
    calls_of_all: Arc<Semaphore>,
    returned: AtomicU64,
    /// Whether somebody has waited for a seat in vain, and no call has returned since.
    is_awaited: AtomicBool,
    closing: Closing,
}

/// What is wrong with a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// There is no folder.
    Missing,
    /// It did not answer in time.
    Silent,
}

impl Default for Folders {
    fn default() -> Self {
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        // The disk of the data folder answers whoever else does not.
        let input = Arc::new(Folder::new(PathBuf::from("/in"), &Arc::new(Semaphore::new(CALLS_PER_FOLDER_MAX))));
        Self { known: Mutex::default(), calls, input }
    }
}

impl Folders {
    /// The folder or file of this path: the same one for all who ask while any of them holds on to it, or a thread waits there.
    pub fn at(&self, path: &Path) -> Arc<Folder> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = known.get(path).and_then(Weak::upgrade) {
            return folder;
        }
        known.retain(|_, folder| folder.strong_count() > 0);
        let folder = Arc::new(Folder::new(path.to_owned(), &self.calls));
        known.insert(path.to_owned(), Arc::downgrade(&folder));
        folder
    }

    pub(super) fn input(&self) -> &Arc<Folder> {
        &self.input
    }
}

impl Folder {
    fn new(path: PathBuf, calls_of_all: &Arc<Semaphore>) -> Self {
        Self {
            path,
            calls: Arc::new(Semaphore::new(CALLS_PER_FOLDER_MAX)),
            calls_of_its_own: Arc::new(Semaphore::new(CALLS_OF_ITS_OWN)),
            calls_of_all: Arc::clone(calls_of_all),
            returned: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
            closing: Closing::default(),
        }
    }

    /// How many calls have returned from there so far that somebody had waited for in vain, or for the seats of. More than before, and it
    /// may be worth while to ask again. The others are not counted: those who share a place that answers only at times would make each
    /// other ask for ever.
    pub fn returned(&self) -> u64 {
        self.returned.load(Ordering::Acquire)
    }

    fn note_returned(&self) {
        self.returned.fetch_add(1, Ordering::Release);
    }

    /// Makes a call there on a thread that nobody else waits for, and answers what came of it; nothing if it does not return for so long, and
    /// has not said meanwhile that it gets on. For what it spends waiting for a processor it may take longer, by half a minute at most. Blocks.
    pub fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        patience: Duration,
        call: impl FnOnce(&dyn Fn()) -> T + Send + 'static,
    ) -> Option<T> {
        let mut time = Patience::until(Instant::now() + patience);
        let seat = self.seat_or_note(time.end)?;
        let (tell, told) = mpsc::channel();
        // Set by whoever is done first: the call that has returned, or the one who gives up.
        let is_over = Arc::new(AtomicBool::new(false));
        let (place, is_given_up) = (Arc::clone(self), Arc::clone(&is_over));
        let caller = Arc::new(Caller::default());
        let begun = Arc::clone(&caller);
        let work = move || {
            begun.begin();
            // Whoever has asked may have given up.
            let answer = call(&|| drop(tell.send(None)));
            drop(seat);
            let _ = tell.send(Some(answer));
            // After it has told: one who gives up from now on finds the answer.
            if is_given_up.swap(true, Ordering::AcqRel) {
                place.note_returned();
            }
        };
        if thread::Builder::new().name("folder-look".into()).spawn(work).is_err() {
            // It was not asked at all, and is to be asked again.
            self.note_returned();
            return None;
        }
        loop {
            match told.recv_timeout(time.end.saturating_duration_since(Instant::now())) {
                Ok(None) => time.end = Instant::now() + patience,
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if time.extend(&caller) => {}
                Err(_) if is_over.swap(true, Ordering::AcqRel) => return told.try_iter().flatten().next(),
                Err(_) => return None,
            }
        }
    }

    /// Closes a file of this folder, which waits for the folder as any other call may: on a thread of the folder's own.
    pub(super) fn close(self: &Arc<Self>, file: Arc<File>) {
        self.closing.add(file, self);
    }

    /// Waits while too many files are still to be closed there.
    pub(super) async fn until_few_unclosed(&self) {
        self.closing.until_few().await;
    }
}

/// Looks whether these folders are there; answers the number of the first that is not known to be. Blocks for two seconds, unless other
/// programs want every processor.
pub fn find_absent(folders: &[Arc<Folder>]) -> Result<(), (usize, Absence)> {
    let deadline = Instant::now() + LOOK_MAX;
    for (number, folder) in folders.iter().enumerate() {
        let path = folder.path.clone();
        match folder.ask(deadline.saturating_duration_since(Instant::now()), move |_| path.is_dir()) {
            Some(true) => {}
            Some(false) => return Err((number, Absence::Missing)),
            None => return Err((number, Absence::Silent)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::seat::Seat;
    use super::*;

    /// As many seats as there are now.
    fn all_seats(folder: &Arc<Folder>) -> Vec<Seat> {
        std::iter::from_fn(|| folder.seat_until(Instant::now())).collect()
    }

    #[test]
    fn a_folder_has_so_many_seats_and_all_folders_together_have_so_many() {
        let folders = Folders::default();
        let one = folders.at(Path::new("/one"));
        let seats = all_seats(&one);
        assert_eq!(seats.len(), CALLS_PER_FOLDER_MAX);
        assert!(all_seats(&folders.at(Path::new("/one"))).is_empty(), "it is the same folder");
        let others = (0..).map(|number| all_seats(&folders.at(Path::new(&format!("/{number}")))));
        // Those of a folder's own are always there: a server that is gone takes no other folder with it.
        let others: Vec<Vec<Seat>> = others.take_while(|seats| seats.len() > CALLS_OF_ITS_OWN).collect();
        let of_all = |seats: &Vec<Seat>| seats.len() - CALLS_OF_ITS_OWN;
        assert_eq!(of_all(&seats) + others.iter().map(of_all).sum::<usize>(), CALLS_MAX);
        assert_eq!(all_seats(&folders.at(Path::new("/healthy"))).len(), CALLS_OF_ITS_OWN);
        assert_eq!(all_seats(folders.input()).len(), CALLS_PER_FOLDER_MAX);
        assert_eq!(one.ask(Duration::ZERO, |_| ()), None);
        drop(seats);
        assert_eq!(one.returned(), 1, "whoever waited for a seat in vain may ask again");
        drop(all_seats(&one));
        assert_eq!((one.ask(LOOK_MAX, |_| ()), one.returned()), (Some(()), 1));
    }

    /// Fault: a folder that many read from is taken for one that does not answer.
    #[test]
    fn a_folder_that_is_only_busy_is_there() {
        let there = tempfile::tempdir().expect("a temporary folder can be made");
        let busy = Folders::default().at(there.path());
        let mut seats = all_seats(&busy);
        let look = thread::spawn({
            let busy = Arc::clone(&busy);
            move || find_absent(&[busy])
        });
        // One call returns, once the look waits for it or before.
        seats.pop();
        assert_eq!(look.join().expect("it does not panic"), Ok(()));
    }

    /// Fault: a large file on a slow disk is taken for one that does not answer.
    #[test]
    fn a_call_may_take_long_while_it_gets_on() {
        let place = Folders::default().at(Path::new("/file"));
        let patience = Duration::from_millis(500);
        let (let_go, held) = mpsc::channel::<()>();
        let answer = place.ask(patience, move |gets_on| {
            for _ in 0..8 {
                // As slow as a disk can be.
                thread::sleep(patience / 4);
                gets_on();
            }
            "read"
        });
        assert_eq!((answer, place.returned()), (Some("read"), 0));
        assert_eq!(place.ask(patience / 8, move |_| held.recv().is_ok()), None);
        // What others ask there meanwhile, with an answer, says nothing about that one.
        assert_eq!((place.ask(LOOK_MAX, |_| ()), place.returned()), (Some(()), 0));
        drop(let_go);
        let started = Instant::now();
        while place.returned() == 0 {
            assert!(started.elapsed() < Duration::from_secs(10), "it has not returned");
            thread::yield_now();
        }
    }

    /// Fault: where other programs want every processor, files that are there are taken for ones that do not answer.
    #[test]
    fn a_call_that_wants_a_processor_is_waited_for() {
        let place = Folders::default().at(Path::new("/file"));
        let answer = place.ask(Duration::from_millis(10), |_| {
            let started = Instant::now();
            // Whether it has a processor or waits for one looks the same from outside.
            while started.elapsed() < Duration::from_millis(200) {
                std::hint::spin_loop();
            }
        });
        assert_eq!((answer, place.returned()), (Some(()), 0));
    }

    #[test]
    fn folders_that_are_not_there_are_found() {
        let folders = Folders::default();
        let there = tempfile::tempdir().expect("a temporary folder can be made");
        let (there, gone) = (folders.at(there.path()), folders.at(&there.path().join("gone")));
        assert_eq!(find_absent(&[Arc::clone(&there)]), Ok(()));
        assert_eq!(find_absent(&[Arc::clone(&there), gone]), Err((1, Absence::Missing)));
        let _all = all_seats(&there);
        assert_eq!(find_absent(&[there]), Err((0, Absence::Silent)));
    }
}
