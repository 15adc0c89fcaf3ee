//! How many jobs of each kind are in the hands of this host's workers, and how many may be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::job::{Kind, KindMap};

/// A kind that can run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runnable {
    /// The kind.
    pub kind: Kind,
    /// The most jobs of it that run at once.
    pub concurrency_max: usize,
}

/// Jobs in workers' hands, by kind.
#[derive(Debug)]
pub(super) struct Places {
    taken: Mutex<KindMap<Taken>>,
    work: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// Whether a worker found no room meanwhile, and may wait for it.
    wanted: bool,
}

impl Places {
    pub(super) fn new(work: Arc<Notify>) -> Self {
        Self { taken: Mutex::default(), work }
    }

    /// Whether one more job of the kind may run. What a change of the settings left over runs on.
    pub(super) fn has_room(&self, runnable: &Runnable) -> bool {
        match self.taken().get_mut(&runnable.kind) {
            Some(taken) if taken.count >= runnable.concurrency_max => {
                taken.wanted = true;
                false
            }
            _ => true,
        }
    }

    /// How many jobs of the kind run.
    pub(super) fn count(&self, kind: &Kind) -> usize {
        self.taken().get(kind).map_or(0, |taken| taken.count)
    }

    /// Takes a place, also one too many: the caller has looked.
    pub(super) fn take(places: &Arc<Self>, kind: &Kind) -> Place {
        places.taken().entry(kind.clone()).or_default().count += 1;
        Place { places: Arc::clone(places), kind: kind.clone() }
    }

    // The map stays usable if a thread panicked: each change is a single step.
    fn taken(&self) -> MutexGuard<'_, KindMap<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's place among those of its kind that run. Dropped, another one may.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    kind: Kind,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.taken();
        let Some(taken) = places.get_mut(&self.kind) else { return };
        taken.count = taken.count.saturating_sub(1);
        let (count, wanted) = (taken.count, taken.wanted);
        if count == 0 {
            places.remove(&self.kind);
        }
        drop(places);
        if wanted {
            self.places.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kinds_places_are_taken_and_given_back_one_by_one() {
        let places = Arc::new(Places::new(Arc::default()));
        let runnable =
            |name, concurrency_max| Runnable { kind: Kind::new(name).expect("well-formed"), concurrency_max };
        let (two, other) = (runnable("two", 2), runnable("other", 1));
        let first = Places::take(&places, &two.kind);
        assert!(places.has_room(&two));
        let second = Places::take(&places, &two.kind);
        assert!(!places.has_room(&two) && places.has_room(&other));
        drop(first);
        assert!(places.has_room(&two));
        drop(second);
        assert!(places.taken().is_empty());
    }
}
