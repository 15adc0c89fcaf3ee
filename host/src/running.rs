//! What a running attempt and those who watch it share: its progress, its log, and the request to stop.

mod log;

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, watch};

use self::log::Lines;
pub use self::log::{LINE_BYTES_MAX, LogLine};
use crate::job::{Progress, printable};

/// Longer progress messages are cut.
const MESSAGE_BYTES_MAX: usize = 256;

/// Why an attempt is asked to stop before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled the job.
    Cancelled,
    /// The host is stopping and will run the job again.
    Interrupted,
}

/// One attempt under way.
#[derive(Debug, Default)]
pub struct Running {
    stop: AtomicU8,
    // A parked guest is woken by a stop; a computing one looks at every slice of fuel anyway.
    waker: AtomicWaker,
    deadline: OnceLock<Instant>,
    told: Mutex<Told>,
    /// Woken when there is something new to be told.
    news: Arc<Notify>,
    /// Whether it is over and recorded.
    ended: watch::Sender<bool>,
}

/// What the attempt has said so far.
#[derive(Debug, Default)]
struct Told {
    progress: Progress,
    /// Whether the progress is newer than the last news.
    is_new: bool,
    log: Lines,
    /// Lines that were news before.
    lines_told: u64,
}

impl Told {
    fn news(&mut self, lines_max: usize) -> News {
        let (lines, left_out, written) = self.log.since(self.lines_told, lines_max);
        self.lines_told = written;
        let progress = std::mem::take(&mut self.is_new).then(|| self.progress.clone());
        News { progress, lines, left_out }
    }
}

/// What an attempt has said since it was last asked.
#[derive(Debug, Default)]
pub struct News {
    /// Its progress, if that changed.
    pub progress: Option<Progress>,
    /// The newest of its lines.
    pub lines: Vec<LogLine>,
    /// How many before them are left out.
    pub left_out: u64,
}

impl Running {
    /// An attempt whose news are announced so.
    pub fn new(news: Arc<Notify>) -> Self {
        Self { news, ..Self::default() }
    }

    /// Asks the attempt to stop. Seen within one slice of fuel, or at once if it is parked. The first reason stays.
    pub fn stop(&self, reason: Stop) {
        let code = match reason {
            Stop::Cancelled => 1,
            Stop::Interrupted => 2,
        };
        // A failed exchange means that it is stopping already.
        let _ = self.stop.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    /// The reason to stop, if there is one.
    pub fn stop_requested(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Cancelled),
            _ => Some(Stop::Interrupted),
        }
    }

    /// Sets, once, when the attempt's time is over.
    pub fn start(&self, deadline: Instant) {
        // It is started once; a second deadline would not count.
        let _ = self.deadline.set(deadline);
    }

    /// Whether the attempt is to stop, or its time is over.
    pub fn is_over(&self) -> bool {
        self.stop_requested().is_some() || self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline)
    }

    /// The same for what is done in pieces: fails once the attempt is over.
    pub fn go_on(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::new(io::ErrorKind::TimedOut, "the attempt is over")) } else { Ok(()) }
    }

    /// When its time is over; nothing before it was started.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// Has `waker` woken at the next [`stop`](Self::stop). Look at [`stop_requested`](Self::stop_requested)
    /// afterwards, not before, or a stop in between goes unseen.
    pub fn wake_on_stop(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Notes how far the attempt says it is. Nonsense is bent into range.
    pub fn report(&self, fraction: f64, message: String) {
        let mut told = self.told();
        if !fraction.is_nan() {
            told.progress.fraction = fraction.clamp(0.0, 1.0);
        }
        told.progress.message = printable(message, "", MESSAGE_BYTES_MAX);
        told.is_new = true;
        drop(told);
        self.news.notify_one();
    }

    /// The newest progress.
    pub fn progress(&self) -> Progress {
        self.told().progress.clone()
    }

    /// Adds a line to the log.
    pub fn log(&self, line: &str) {
        self.told().log.push(line);
        self.news.notify_one();
    }

    /// Adds what the attempt writes to its standard output or error.
    pub fn log_bytes(&self, bytes: &[u8]) {
        if self.told().log.bytes(bytes) {
            self.news.notify_one();
        }
    }

    /// Ends the log; answers its last lines, as they stand in a usage report, and how many there were in all.
    pub fn last_lines(&self, most: usize) -> (Vec<String>, u64) {
        let mut told = self.told();
        told.log.end_line();
        told.log.last(most)
    }

    /// The lines after the first `seen` ones, how many of them are no longer held, and how many there are in all.
    pub fn lines_since(&self, seen: u64) -> (Vec<LogLine>, u64, u64) {
        self.told().log.since(seen, usize::MAX)
    }

    /// Whether it has said something that was not told yet.
    pub fn has_news(&self) -> bool {
        let told = self.told();
        told.is_new || told.log.written > told.lines_told
    }

    /// What is new since it was last asked for; of many lines the newest.
    pub fn news(&self, lines_max: usize) -> News {
        self.told().news(lines_max)
    }

    /// The same, handed on before anybody else can ask: what was said first is told first, whoever tells it. The attempt cannot say
    /// anything meanwhile.
    pub fn tell_news(&self, lines_max: usize, tell: impl FnOnce(News)) {
        let mut told = self.told();
        tell(told.news(lines_max));
    }

    /// Says that the attempt is over and recorded; nothing is added after this.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Whether it is over and recorded.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Returns once it is over and recorded.
    pub async fn ended(&self) {
        // The sender is here, so it cannot be gone.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    // Stays usable if a thread panicked: each change is a single step.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
