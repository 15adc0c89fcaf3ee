//! Looks at the plugin folder on a thread that nobody waits for: the folder, a file in it and a secret may each lie on a disk or a server
//! that is gone, where a system call does not return.
//!
//! The thread says what it is about to look at. If that is a file, and takes too long, the thread is left there, and another one goes on
//! without that file until the first one is back; so a file costs one thread at most. Without the folder there is nothing to go on with.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::look::{Look, Turn};
use crate::priority;
use crate::sandbox::LOOK_MAX;

/// A file that takes longer to be looked at holds up no other any more.
const PATIENCE: Duration = Duration::from_millis(300);

/// Who looks at the folder. Dropped, it is waited for by nobody, wherever it is.
pub(super) struct Looker {
    folder: PathBuf,
    thread: Option<Thread>,
    is_looking: bool,
    /// Whether it was told of the look under way that the folder does not answer.
    is_told: bool,
    left: HashMap<PathBuf, Left>,
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
    left: HashMap<PathBuf, Turn>,
}

struct Thread {
    errands: blocking::Sender<Errand>,
    looks: mpsc::UnboundedReceiver<io::Result<Look>>,
    at: Arc<Mutex<At>>,
}

/// Where a thread is: at a file, or at the folder itself.
struct At {
    file: Option<PathBuf>,
    since: Instant,
}

/// A thread that was left at a file. It is back once it is gone.
struct Left {
    since: Instant,
    at: Weak<Mutex<At>>,
}

impl Looker {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, thread: None, is_looking: false, is_told: false, left: HashMap::new() }
    }

    /// Whether a look is under way.
    pub(super) fn is_looking(&self) -> bool {
        self.is_looking
    }

    /// Begins to look at the folder, and at the secrets that the files in it are known to have. One look at a time.
    pub(super) fn begin(&mut self, secrets: HashMap<String, Vec<PathBuf>>) -> io::Result<()> {
        self.left.retain(|_, left| left.at.strong_count() > 0);
        let turn = |left: &Left| if left.since.elapsed() < LOOK_MAX { Turn::Later } else { Turn::Never };
        let left = self.left.iter().map(|(path, left)| (path.clone(), turn(left))).collect();
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => Thread::start(self.folder.clone())?,
        };
        // Before it begins, and is somewhere else.
        *lock(&thread.at) = At { file: None, since: Instant::now() };
        // One that has panicked is noticed when it is listened to.
        let _ = thread.errands.send(Errand { secrets, left });
        self.thread = Some(thread);
        (self.is_looking, self.is_told) = (true, false);
        Ok(())
    }

    /// Waits for something to come of the look under way; without one, for ever. May be given up and called again.
    pub(super) async fn sight(&mut self) -> Sight {
        loop {
            let Some(thread) = self.thread.as_mut().filter(|_| self.is_looking) else {
                return std::future::pending().await;
            };
            tokio::select! {
                biased;
                look = thread.looks.recv() => {
                    self.is_looking = false;
                    if look.is_none() {
                        self.thread = None;
                    }
                    let panicked = || Err(io::Error::other("the host panicked while it looked at it"));
                    return Sight::Look(look.unwrap_or_else(panicked));
                }
                () = tokio::time::sleep(PATIENCE) => {}
            }
            if let Some(sight) = self.lose_patience() {
                return sight;
            }
        }
    }

    /// Leaves the thread where it is if it has been there for too long.
    fn lose_patience(&mut self) -> Option<Sight> {
        let thread = self.thread.as_ref()?;
        let at = lock(&thread.at);
        let (waited, file) = (at.since.elapsed(), at.file.clone());
        drop(at);
        match file {
            Some(file) if waited >= PATIENCE => {
                let at = Arc::downgrade(&thread.at);
                self.left.insert(file, Left { since: Instant::now(), at });
                (self.thread, self.is_looking) = (None, false);
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
        let at = Arc::new(Mutex::new(At { file: None, since: Instant::now() }));
        let here = Arc::clone(&at);
        let work = move || {
            priority::lower();
            for errand in to_do {
                let turns = |file: Option<&Path>| {
                    // Left behind: nobody wants to know any more, and the rest is another one's to look at.
                    if tell.is_closed() {
                        return Turn::Later;
                    }
                    let turn = file.and_then(|file| errand.left.get(file)).copied().unwrap_or(Turn::Now);
                    let file = file.filter(|_| turn == Turn::Now).map(Path::to_owned);
                    *lock(&here) = At { file, since: Instant::now() };
                    turn
                };
                let look = Look::at(&folder, &errand.secrets, &turns);
                if tell.send(look).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("plugin-look".into()).spawn(work)?;
        Ok(Self { errands, looks, at })
    }
}

// Stays usable if a thread panicked: each change is a single step.
fn lock(at: &Mutex<At>) -> std::sync::MutexGuard<'_, At> {
    at.lock().unwrap_or_else(PoisonError::into_inner)
}
