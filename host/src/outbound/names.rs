//! Looks names up for all of the process.
//!
//! The system's resolver blocks its thread for as long as a server does not answer, and cannot be told to stop. So it has a few threads of
//! its own, and no guest ever waits for one of them: it waits for an answer, and may go at any moment. A name is asked for once at a time,
//! whoever wants to know; and since only names that an operator granted get here, guests cannot make up more of them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::watch;

/// Names that are asked for at the same time. Each may take as long as the system's resolver has patience, so there are some more than
/// names that are likely to be dead at once; other jobs' files are read and written by other threads.
const THREADS_MAX: usize = 32;
/// Names that are asked for or wait for that; further ones are refused. Operators grant names one by one.
const NAMES_MAX: usize = 1_024;

/// All lookups of this process.
static LOOKUPS: LazyLock<Arc<Lookups>> = LazyLock::new(|| Arc::new(Lookups::new(by_the_system)));

/// The addresses of a name, as the system's resolver has them. Dropped, it no longer waits for the answer.
pub(super) async fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    LOOKUPS.look_up(name).await
}

fn by_the_system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// An error as text, since everybody who waits gets it.
type Answer = Result<Vec<IpAddr>, String>;
type Told = watch::Receiver<Option<Answer>>;

struct Lookups {
    resolver: fn(&str) -> io::Result<Vec<IpAddr>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Names that are asked for or wait, and how to hear of them.
    names: HashMap<String, Told>,
    /// Those that wait for a thread.
    waiting: VecDeque<(String, watch::Sender<Option<Answer>>)>,
    threads: usize,
}

impl Lookups {
    fn new(resolver: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self { resolver, state: Mutex::default() }
    }

    // Usable after a panic: each change is a single step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up(self: &Arc<Self>, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut told = self.ask(name)?;
        let answer = told.wait_for(Option::is_some).await.map(|answer| answer.clone());
        match answer {
            Ok(Some(answer)) => answer.map_err(io::Error::other),
            _ => Err(io::Error::other("the thread that looked the name up is gone")),
        }
    }

    fn ask(self: &Arc<Self>, name: &str) -> io::Result<Told> {
        let mut state = self.state();
        if let Some(told) = state.names.get(name) {
            return Ok(told.clone());
        }
        if state.names.len() >= NAMES_MAX {
            return Err(io::Error::other(format!("{NAMES_MAX} names are being looked up, which is the most")));
        }
        if state.threads < THREADS_MAX {
            let lookups = Arc::clone(self);
            match thread::Builder::new().name("resolver".to_owned()).spawn(move || lookups.work()) {
                Ok(_) => state.threads += 1,
                // The others will come to it.
                Err(error) if state.threads > 0 => tracing::debug!(%error, "no further thread to look names up"),
                Err(error) => return Err(error),
            }
        }
        let (tell, told) = watch::channel(None);
        state.names.insert(name.to_owned(), told.clone());
        state.waiting.push_back((name.to_owned(), tell));
        Ok(told)
    }

    /// One thread's work, until there is none.
    fn work(&self) {
        while let Some((name, tell)) = self.next() {
            let answer = panic::catch_unwind(AssertUnwindSafe(|| (self.resolver)(&name)));
            let answer = answer.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")));
            // Forgotten before it is told: whoever asks from now on wants a new answer.
            self.state().names.remove(&name);
            tell.send_replace(Some(answer.map_err(|error| error.to_string())));
        }
    }

    fn next(&self) -> Option<(String, watch::Sender<Option<Answer>>)> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        if next.is_none() {
            // In the same step, so that nobody counts on a thread that has just gone.
            state.threads -= 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use futures_util::future::join_all;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_name_is_asked_for_once_however_many_wait() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static OPEN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        let lookups = Arc::new(Lookups::new(|name| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            let open = OPEN.0.lock().expect("nobody panics with it");
            drop(OPEN.1.wait_while(open, |open| !*open));
            Ok(vec![name.parse().expect("an address")])
        }));
        // Those that have gone do not take the lookup with them.
        let gone: Vec<Told> = (0..100).map(|_| lookups.ask("192.0.2.1").expect("there is room")).collect();
        drop(gone);
        let waiting = join_all((0..100).map(|_| lookups.look_up("192.0.2.1")));
        let asked = async {
            let end = Instant::now() + PATIENCE;
            while ASKED.load(Ordering::SeqCst) == 0 && Instant::now() < end {
                tokio::task::yield_now().await;
            }
            *OPEN.0.lock().expect("nobody panics with it") = true;
            OPEN.1.notify_all();
        };
        let (answers, ()) = tokio::join!(waiting, asked);
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|found| found.len() == 1)));
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        assert!(lookups.look_up("192.0.2.1").await.is_ok());
        assert_eq!(ASKED.load(Ordering::SeqCst), 2, "answers are not kept");
    }

    /// Fault: names whose servers do not answer take thread after thread.
    #[tokio::test]
    async fn names_that_nobody_answers_take_few_threads_and_can_be_given_up() {
        let lookups = Arc::new(Lookups::new(|_| {
            loop {
                thread::park();
            }
        }));
        let names = (0..NAMES_MAX).map(|number| format!("name-{number}.invalid"));
        let asked: Vec<Told> = names.map(|name| lookups.ask(&name).expect("there is room")).collect();
        assert!(lookups.ask("one-more.invalid").is_err());
        assert!(lookups.ask("name-7.invalid").is_ok(), "it is asked for already");
        assert!(lookups.state().threads == THREADS_MAX && asked.len() == NAMES_MAX);
        let started = Instant::now();
        let given_up = tokio::time::timeout(Duration::from_millis(20), lookups.look_up("name-7.invalid")).await;
        assert!(given_up.is_err() && started.elapsed() < PATIENCE);
    }

    #[tokio::test]
    async fn a_resolver_that_fails_or_panics_fails_its_own_name() {
        let lookups = Arc::new(Lookups::new(|name| match name {
            "bad" => panic!("on purpose"),
            "unknown" => Err(io::Error::other("no such name")),
            _ => Ok(Vec::new()),
        }));
        for (name, expected) in [("bad", "panicked"), ("unknown", "no such name")] {
            let error = lookups.look_up(name).await.expect_err("it failed");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(lookups.look_up("good").await.is_ok());
    }
}
