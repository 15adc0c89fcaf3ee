//! Files of a granted folder that guests have let go of. To close one is a system call as well, which a server that is gone may never
//! answer; so a thread of the folder's own does it, and there is one for all of them.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use super::Folder;

/// Files of a folder that are to be closed. While there are more, nothing is opened there.
const UNCLOSED_MAX: usize = 1_024;
/// How long the thread stays when there is nothing to do.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Closing {
    queue: Mutex<Queue>,
    more: Condvar,
    fewer: Notify,
}

#[derive(Default)]
struct Queue {
    files: Vec<Arc<File>>,
    /// Those in the list and the one that is being closed.
    unclosed: usize,
    has_thread: bool,
}

impl Closing {
    /// Has a file of `folder`, whose list this is, closed.
    pub(super) fn add(&self, file: Arc<File>, folder: &Arc<Folder>) {
        let mut queue = self.queue();
        queue.files.push(file);
        queue.unclosed += 1;
        if queue.has_thread {
            return self.more.notify_one();
        }
        let folder = Arc::clone(folder);
        let thread = thread::Builder::new().name("folder-close".into()).spawn(move || folder.closing.keep_closing());
        // Without a thread it stays open until the next file is closed.
        queue.has_thread = thread.is_ok();
    }

    pub(super) async fn until_few(&self) {
        loop {
            let fewer = self.fewer.notified();
            if self.queue().unclosed <= UNCLOSED_MAX {
                return;
            }
            fewer.await;
        }
    }

    fn keep_closing(&self) {
        let mut queue = self.queue();
        loop {
            while let Some(file) = queue.files.pop() {
                drop(queue);
                drop(file);
                queue = self.queue();
                queue.unclosed -= 1;
                self.fewer.notify_waiters();
            }
            let (after, waited) = self.more.wait_timeout(queue, LINGER).unwrap_or_else(PoisonError::into_inner);
            queue = after;
            if waited.timed_out() && queue.files.is_empty() {
                queue.has_thread = false;
                return;
            }
        }
    }

    // Stays usable if a thread panicked: each change is a single step.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Folders;
    use super::*;

    #[test]
    fn files_are_closed_elsewhere_and_soon() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = File::create(folder.path().join("file")).expect("it can be made");
        let (file, folder) = (Arc::new(file), Folders::default().at(folder.path()));
        let weak = Arc::downgrade(&file);
        folder.close(file);
        let started = Instant::now();
        while weak.strong_count() > 0 {
            assert!(started.elapsed() < Duration::from_secs(10), "it is still open");
            thread::yield_now();
        }
    }
}
