//! Who listens to what, and how an event comes to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Event, Events};
use crate::job::{JobId, Kind, Sight};

/// Events that may wait for a listener; with more it is let go.
const WAITING_MAX: usize = 256;

/// What a listener wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything about one job.
    Job(JobId),
    /// Everything about the jobs of a kind.
    Kind(Kind),
    /// Everything.
    All,
}

impl Scope {
    /// Whether an event belongs here.
    pub fn covers(&self, event: &Event) -> bool {
        match self {
            Scope::Job(id) => *id == event.id,
            Scope::Kind(kind) => *kind == event.kind,
            Scope::All => true,
        }
    }
}

/// There are as many listeners as there may be.
#[derive(Debug)]
pub struct TooMany;

/// A listener, until dropped.
#[derive(Debug)]
pub struct Subscription {
    events: Arc<Events>,
    listener: u64,
    inbox: mpsc::Receiver<Arc<Event>>,
}

impl Subscription {
    pub(super) fn new(events: &Arc<Events>, scope: Scope, sight: Sight) -> Result<Self, TooMany> {
        let (outbox, inbox) = mpsc::channel(WAITING_MAX);
        // In this order: whoever publishes waits for the past, and must not wait for all that is being handed out.
        let mut listeners = events.listeners();
        let listener = listeners.add(outbox, scope, sight)?;
        events.note_heard(true);
        drop(listeners);
        Ok(Self { events: Arc::clone(events), listener, inbox })
    }

    /// The next event; nothing once this listener has fallen behind and was let go.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        self.inbox.recv().await
    }

    /// Listens to something else as well.
    pub fn listen(&self, scope: Scope) {
        self.events.listeners().widen(self.listener, scope);
    }

    /// Listens to that no longer.
    pub fn ignore(&self, scope: &Scope) {
        self.events.listeners().narrow(self.listener, scope);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut listeners = self.events.listeners();
        listeners.remove(self.listener);
        self.events.note_heard(listeners.len() > 0);
    }
}

#[derive(Debug)]
struct Listener {
    outbox: mpsc::Sender<Arc<Event>>,
    scopes: HashSet<Scope>,
    sight: Sight,
}

/// Everybody who listens, found by what they listen to: an event about one job costs nothing for those of others.
#[derive(Debug)]
pub(super) struct Listeners {
    most: usize,
    next: u64,
    all: HashMap<u64, Listener>,
    by_scope: HashMap<Scope, HashSet<u64>>,
}

impl Listeners {
    pub(super) fn new(most: usize) -> Self {
        Self { most, next: 0, all: HashMap::new(), by_scope: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn add(&mut self, outbox: mpsc::Sender<Arc<Event>>, scope: Scope, sight: Sight) -> Result<u64, TooMany> {
        if self.all.len() >= self.most {
            return Err(TooMany);
        }
        self.next += 1;
        self.all.insert(self.next, Listener { outbox, scopes: HashSet::new(), sight });
        self.widen(self.next, scope);
        Ok(self.next)
    }

    fn widen(&mut self, number: u64, scope: Scope) {
        if let Some(listener) = self.all.get_mut(&number) {
            listener.scopes.insert(scope.clone());
            self.by_scope.entry(scope).or_default().insert(number);
        }
    }

    fn narrow(&mut self, number: u64, scope: &Scope) {
        if let Some(listener) = self.all.get_mut(&number) {
            listener.scopes.remove(scope);
        }
        if let Some(listeners) = self.by_scope.get_mut(scope) {
            listeners.remove(&number);
            if listeners.is_empty() {
                self.by_scope.remove(scope);
            }
        }
    }

    fn remove(&mut self, number: u64) {
        let scopes = self.all.get(&number).map(|listener| listener.scopes.clone()).unwrap_or_default();
        scopes.iter().for_each(|scope| self.narrow(number, scope));
        self.all.remove(&number);
    }

    /// Tells everybody who wants to hear of it and may, once.
    pub(super) fn tell(&mut self, event: &Arc<Event>) {
        let scopes = [Scope::Job(event.id), Scope::Kind(event.kind.clone()), Scope::All];
        let told: HashSet<u64> =
            scopes.iter().filter_map(|scope| self.by_scope.get(scope)).flatten().copied().collect();
        for number in told {
            let Some(listener) = self.all.get(&number) else { continue };
            if event.is_in(&listener.sight) && listener.outbox.try_send(Arc::clone(event)).is_err() {
                // What waits is still read, then the listener finds that there is no more.
                self.remove(number);
            }
        }
    }

    /// Lets everybody go.
    pub(super) fn let_all_go(&mut self) {
        self.all.clear();
        self.by_scope.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::What;
    use crate::job::{Job, Owner};
    use crate::time::Time;

    fn event(number: u64, kind: &str) -> Arc<Event> {
        let (id, kind) = (JobId::from_u128(1), Kind::new(kind).expect("well-formed"));
        let what = What::State(Box::new(Job::new(id, kind.clone(), Time(0))));
        Arc::new(Event { number, id, kind, owner: None, what })
    }

    #[test]
    fn each_hears_what_it_wants_and_only_once() {
        let events = Arc::new(Events::new(3));
        let kind = |name| Scope::Kind(Kind::new(name).expect("well-formed"));
        let all_of_it = Sight::default;
        let mut one = events.subscribe(kind("a"), all_of_it()).expect("there is room");
        one.listen(Scope::Job(JobId::from_u128(1)));
        let mut all = events.subscribe(Scope::All, all_of_it()).expect("there is room");
        let mut none = events.subscribe(kind("c"), all_of_it()).expect("there is room");
        assert!(events.subscribe(Scope::All, all_of_it()).is_err());
        events.listeners().tell(&event(1, "a"));
        one.ignore(&Scope::Job(JobId::from_u128(1)));
        events.listeners().tell(&event(2, "b"));
        let heard = |subscription: &mut Subscription| {
            std::iter::from_fn(|| subscription.inbox.try_recv().ok()).map(|event| event.number).collect::<Vec<_>>()
        };
        assert_eq!((heard(&mut one), heard(&mut all), heard(&mut none)), (vec![1], vec![1, 2], vec![]));
        drop((one, all, none));
        assert!(events.listeners().all.is_empty() && events.listeners().by_scope.is_empty());
    }

    #[test]
    fn nobody_hears_of_what_it_may_not_see_and_is_not_let_go_for_it() {
        let events = Arc::new(Events::new(1));
        let sight = Sight { owner: Some(Owner::new(1)), kinds: None };
        let mut one = events.subscribe(Scope::All, sight).expect("there is room");
        one.listen(Scope::Job(JobId::from_u128(1)));
        for number in 1..=2 * WAITING_MAX as u64 {
            events.listeners().tell(&event(number, "a"));
        }
        let own = Event { owner: Some(Owner::new(1)), ..Arc::into_inner(event(7, "a")).expect("nobody else has it") };
        events.listeners().tell(&Arc::new(own));
        let heard: Vec<u64> = std::iter::from_fn(|| one.inbox.try_recv().ok()).map(|event| event.number).collect();
        assert_eq!(heard, [7]);
    }

    #[test]
    fn who_does_not_keep_up_is_let_go_and_nobody_else() {
        let events = Arc::new(Events::new(2));
        let mut slow = events.subscribe(Scope::All, Sight::default()).expect("there is room");
        let mut quick = events.subscribe(Scope::All, Sight::default()).expect("there is room");
        for number in 1..=WAITING_MAX as u64 + 1 {
            events.listeners().tell(&event(number, "a"));
            assert_eq!(quick.inbox.try_recv().map(|event| event.number), Ok(number));
        }
        let heard = std::iter::from_fn(|| slow.inbox.try_recv().ok()).count();
        assert_eq!((heard, slow.inbox.is_closed(), quick.inbox.is_closed()), (WAITING_MAX, true, false));
    }
}
