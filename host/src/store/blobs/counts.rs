//! Who uses which blob: counted in memory, so that a file goes with its last user, and comes back only after it has gone.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

type Address = [u8; 32];

/// Users of each blob: handles and records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    state: Mutex<State>,
    removed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Only blobs that have any.
    users: HashMap<Address, u64>,
    /// Blobs whose files are being removed, without the lock: a slow disk holds up nobody but those who want the same bytes again.
    removing: HashSet<Address>,
}

impl Counts {
    /// Counts one more user. Waits while the file is being removed that an earlier blob of the same bytes had.
    pub(super) fn add(&self, blob: Address) {
        let being_removed = |state: &mut State| state.removing.contains(&blob);
        let mut state = self.removed.wait_while(self.state(), being_removed).unwrap_or_else(PoisonError::into_inner);
        *state.users.entry(blob).or_insert(0) += 1;
    }

    /// Counts one user less. The last one has the file removed, before anybody can take up the same bytes again.
    pub(super) fn release(&self, blob: &Address, remove: impl FnOnce()) {
        let mut state = self.state();
        let Some(count) = state.users.get_mut(blob) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        state.users.remove(blob);
        state.removing.insert(*blob);
        drop(state);
        let _end = EndOnDrop { counts: self, blob };
        remove();
    }

    /// Whether anybody uses the blob.
    pub(super) fn is_used(&self, blob: &Address) -> bool {
        self.state().users.contains_key(blob)
    }

    // Counts stay right even if a thread panicked while holding them: each change is a single step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a removal, whatever came of it.
struct EndOnDrop<'a> {
    counts: &'a Counts,
    blob: &'a Address,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.counts.state().removing.remove(self.blob);
        self.counts.removed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    /// Fault: while a slow disk removes one file, nobody can so much as look at another.
    #[test]
    fn a_file_that_is_being_removed_holds_up_only_those_who_want_it_again() {
        let (counts, [one, other]) = (Counts::default(), [[1; 32], [2; 32]]);
        counts.add(one);
        let (begun, has_begun) = channel();
        let (go, may_go) = channel();
        let removed = AtomicBool::new(false);
        thread::scope(|scope| {
            let (counts, removed) = (&counts, &removed);
            scope.spawn(move || {
                counts.release(&one, || {
                    begun.send(()).expect("somebody waits for it");
                    may_go.recv().expect("somebody lets it go on");
                    removed.store(true, Ordering::SeqCst);
                });
            });
            has_begun.recv().expect("it begins");
            counts.add(other);
            let used = (counts.is_used(&one), counts.is_used(&other));
            let again = scope.spawn(move || {
                counts.add(one);
                removed.load(Ordering::SeqCst)
            });
            go.send(()).expect("it waits");
            assert_eq!(used, (false, true));
            assert!(again.join().expect("it ends"), "the file was there again before it was removed");
        });
        assert!(counts.is_used(&one));
    }
}
