//! Looks at the plugin folder on a thread that nobody waits for: the folder, a file in it and a secret may each lie on a disk or a server
//! that is gone, where a system call does not return.
//!
//! The thread says what it is about to look at. If that is a file, and takes too long, the thread is left there, and another one goes on
//! without that file. What the first one finds there in the end is what a later look takes for it, so that a slow disk is only slow. And
//! as the call of the first one may never return although there is something new in that place, another one looks there from time to time.
//! Without the folder there is nothing to go on with.

mod left;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::left::{Known, Left};
use super::look::{Look, Turn};
use crate::priority;
use crate::sandbox::LOOK_MAX;

/// A file that takes longer to be looked at holds up no other any more.
const PATIENCE: Duration = Duration::from_millis(300);
/// How little that becomes while a look meets one such file after another.
const PATIENCE_MIN: Duration = Duration::from_millis(10);

/// Who looks at the folder. Dropped, it is waited for by nobody, wherever it is.
pub(super) struct Looker {
    folder: PathBuf,
    thread: Option<Thread>,
    is_looking: bool,
    /// Whether it was told of the look under way that the folder does not answer.
    is_told: bool,
    patience: Duration,
    left: Left,
}

/// What has come of a look.
pub(super) enum Sight {
    /// What the folder holds.
    Look(io::Result<Look>),
    /// It was given up for a file that takes too long; the next one goes on without that.
    Left,
    /// The folder does not answer. The look goes on.
    Silent,
}

/// What a look has to know: the secrets of each file, and what is not to be looked at.
struct Errand {
    secrets: HashMap<String, Vec<PathBuf>>,
    known: HashMap<PathBuf, Known>,
}

struct Thread {
    errands: blocking::Sender<Errand>,
    looks: mpsc::UnboundedReceiver<Looked>,
    at: Arc<Mutex<At>>,
}

/// A look, and the files that it has had an answer of.
struct Looked {
    look: io::Result<Look>,
    answered: Vec<PathBuf>,
}

/// Where a thread is: at a file, or at the folder itself.
struct At {
    file: Option<PathBuf>,
    since: Instant,
    /// Whether it was left at that file. Then it looks at no other.
    is_left: bool,
    /// What it has found there after it was left.
    answer: Option<io::Result<Metadata>>,
}

impl Looker {
    pub(super) fn new(folder: PathBuf) -> Self {
        let left = Left::default();
        Self { folder, thread: None, is_looking: false, is_told: false, patience: PATIENCE, left }
    }

    /// Whether a look is under way.
    pub(super) fn is_looking(&self) -> bool {
        self.is_looking
    }

    /// Begins to look at the folder, and at the secrets that the files in it are known to have. One look at a time.
    pub(super) fn begin(&mut self, secrets: HashMap<String, Vec<PathBuf>>) -> io::Result<()> {
        let known = self.left.known(Instant::now());
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => Thread::start(self.folder.clone())?,
        };
        // Before it begins, and is somewhere else.
        *lock(&thread.at) = At::folder();
        // One that has panicked is noticed when it is listened to.
        let _ = thread.errands.send(Errand { secrets, known });
        self.thread = Some(thread);
        (self.is_looking, self.is_told) = (true, false);
        Ok(())
    }

    /// Waits for something to come of the look under way; without one, for ever. May be given up and called again.
    pub(super) async fn sight(&mut self) -> Sight {
        loop {
            // A folder that does not answer is not asked about a hundred times a second.
            let patience = if self.is_told { PATIENCE } else { self.patience };
            let Some(thread) = self.thread.as_mut().filter(|_| self.is_looking) else {
                return std::future::pending().await;
            };
            tokio::select! {
                biased;
                looked = thread.looks.recv() => return Sight::Look(self.note_looked(looked)),
                () = tokio::time::sleep(patience) => {}
            }
            if let Some(sight) = self.lose_patience() {
                return sight;
            }
        }
    }

    /// Takes note that the look under way is over, with nothing if its thread panicked.
    fn note_looked(&mut self, looked: Option<Looked>) -> io::Result<Look> {
        (self.is_looking, self.patience) = (false, PATIENCE);
        let Some(Looked { look, answered }) = looked else {
            self.thread = None;
            return Err(io::Error::other("the host panicked while it looked at it"));
        };
        self.left.forget(&answered);
        look
    }

    /// Leaves the thread where it is if it has been there for too long.
    fn lose_patience(&mut self) -> Option<Sight> {
        let thread = self.thread.as_ref()?;
        let mut at = lock(&thread.at);
        let waited = at.since.elapsed();
        match at.file.clone() {
            Some(file) if waited >= self.patience => {
                // While it cannot get on: what it finds from now on is what the next look is told.
                at.is_left = true;
                drop(at);
                self.left.add(file, Arc::clone(&thread.at));
                (self.thread, self.is_looking) = (None, false);
                self.patience = (self.patience / 2).max(PATIENCE_MIN);
                Some(Sight::Left)
            }
            None if waited >= LOOK_MAX && !self.is_told => {
                self.is_told = true;
                Some(Sight::Silent)
            }
            _ => None,
        }
    }
}

impl Thread {
    fn start(folder: PathBuf) -> io::Result<Self> {
        let (errands, to_do) = blocking::channel::<Errand>();
        let (tell, looks) = mpsc::unbounded_channel();
        let at = Arc::new(Mutex::new(At::folder()));
        let here = Arc::clone(&at);
        let work = move || {
            priority::lower();
            for errand in to_do {
                let answered = RefCell::default();
                let turns = |file: &Path| look_at(file, &errand.known, &here, &answered);
                let look = Look::at(&folder, &errand.secrets, &turns);
                if tell.send(Looked { look, answered: answered.into_inner() }).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("plugin-look".into()).spawn(work)?;
        Ok(Self { errands, looks, at })
    }
}

impl At {
    fn folder() -> Self {
        Self { file: None, since: Instant::now(), is_left: false, answer: None }
    }
}

/// Looks at a file, unless it is known what comes of that. Says so before and after.
fn look_at(file: &Path, known: &HashMap<PathBuf, Known>, here: &Mutex<At>, answered: &RefCell<Vec<PathBuf>>) -> Turn {
    let mut at = lock(here);
    // Nobody wants to know any more, and the rest is another one's to look at.
    if at.is_left {
        return Turn::Later;
    }
    at.since = Instant::now();
    match known.get(file) {
        Some(Known::Answer(answer)) => {
            answered.borrow_mut().push(file.to_owned());
            return Turn::Now(left::copy_of(answer));
        }
        Some(Known::Later) => return Turn::Later,
        Some(Known::Never) => return Turn::Never,
        None => {}
    }
    at.file = Some(file.to_owned());
    drop(at);
    let found = fs::metadata(file);
    let mut at = lock(here);
    let file = at.file.take();
    if at.is_left {
        at.answer = Some(found);
        return Turn::Later;
    }
    at.since = Instant::now();
    answered.borrow_mut().extend(file);
    Turn::Now(found)
}

// Stays usable if a thread panicked: each change is a single step.
fn lock(at: &Mutex<At>) -> std::sync::MutexGuard<'_, At> {
    at.lock().unwrap_or_else(PoisonError::into_inner)
}
