//! Drives a guest's future and stops it at its bounds.
//!
//! The engine returns from the future after every slice of fuel, whenever the guest waits in a host call, and after a
//! millisecond of calls that do not wait. Each time the clock and the stop request are looked at; to stop a guest is to drop
//! its future. So a computing guest is stopped within a slice, well below a millisecond, one that keeps the host busy
//! within a few, and a waiting one at once.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::time::Sleep;

use super::stopwatch::Stopwatch;
use crate::running::{Running, Stop};
use crate::store::Mark;

/// What a guest does with its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It had the processor for so long.
    Computed(Duration),
    /// It waits in a host call.
    Parked,
    /// It wants the processor again.
    Woken,
}

/// Tells the thread's scheduler of each turn.
pub type OnTurn = Box<dyn Fn(Turn)>;

/// Why an attempt was stopped before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Its time is over.
    Deadline,
    /// Somebody asked for it.
    Asked(Stop),
}

/// Does what blocks on the disk on a thread made for that, within the bounds of the attempt; other jobs have this one meanwhile. Work that
/// is given up goes on until it asks [`Running::go_on`], which it is to do before each piece.
pub async fn blocking<T: Send + 'static>(
    running: &Running,
    on_turn: &OnTurn,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<io::Result<T>, Stopped> {
    let done = within(running, on_turn, tokio::task::spawn_blocking(work)).await?;
    Ok(done.unwrap_or_else(|_| Err(io::Error::other("the thread that worked on its files panicked"))))
}

/// Waits for what the host does for an attempt, within its bounds. What is done at once is not waited for.
pub(super) async fn within<F: Future>(running: &Running, on_turn: &OnTurn, work: F) -> Result<F::Output, Stopped> {
    let mut work = pin!(work);
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        return Ok(done);
    }
    let deadline = running.deadline().expect("an attempt is started before it does anything");
    let (mark, mut times) = (Mark::none(), Times::default());
    Bounded::new(work, deadline, running, on_turn, &mark, &mut times).await
}

/// Time measured while driving.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Times {
    pub(super) cpu: Duration,
    pub(super) parked: Duration,
}

/// The future and its bounds. Counts its times into `times`.
pub(super) struct Bounded<'a, F> {
    future: Pin<&'a mut F>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    running: &'a Running,
    on_turn: &'a OnTurn,
    mark: &'a Mark,
    wakes: Arc<Wakes>,
    waker: Waker,
    parked_since: Option<Instant>,
    times: &'a mut Times,
}

impl<'a, F: Future> Bounded<'a, F> {
    pub(super) fn new(
        future: Pin<&'a mut F>,
        deadline: Instant,
        running: &'a Running,
        on_turn: &'a OnTurn,
        mark: &'a Mark,
        times: &'a mut Times,
    ) -> Self {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let timer = Box::pin(tokio::time::sleep_until(deadline.into()));
        Self { future, deadline, timer, running, on_turn, mark, wakes, waker, parked_since: None, times }
    }

    fn unpark(&mut self) {
        if let Some(since) = self.parked_since.take() {
            self.times.parked += since.elapsed();
            (self.on_turn)(Turn::Woken);
        }
    }

    fn stopped(&self, now: Instant) -> Option<Stopped> {
        match self.running.stop_requested() {
            Some(reason) => Some(Stopped::Asked(reason)),
            None if now >= self.deadline => Some(Stopped::Deadline),
            None => None,
        }
    }
}

impl<F: Future> Future for Bounded<'_, F> {
    type Output = Result<F::Output, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.unpark();
        // Registered before looking, so that a stop between the two is not lost.
        this.running.wake_on_stop(cx.waker());
        let now = Instant::now();
        if let Some(reason) = this.stopped(now) {
            return Poll::Ready(Err(reason));
        }
        this.wakes.woken.store(false, Ordering::Release);
        this.wakes.task.register(cx.waker());
        let watch = Stopwatch::start(now);
        // If the process dies in between, this job was inside a guest.
        this.mark.set(true);
        let polled = this.future.as_mut().poll(&mut Context::from_waker(&this.waker));
        this.mark.set(false);
        let computed = watch.stop();
        this.times.cpu += computed;
        (this.on_turn)(Turn::Computed(computed));
        if let Poll::Ready(output) = polled {
            return Poll::Ready(Ok(output));
        }
        // A guest at the end of its slice has asked to be polled again already; one that waits has not.
        if !this.wakes.woken.load(Ordering::Acquire) {
            this.parked_since = Some(Instant::now());
            (this.on_turn)(Turn::Parked);
            if this.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Stopped::Deadline));
            }
        }
        Poll::Pending
    }
}

impl<F> Drop for Bounded<'_, F> {
    fn drop(&mut self) {
        // Stopped while it waited: the scheduler counts it among the computing ones until it is gone.
        if let Some(since) = self.parked_since.take() {
            self.times.parked += since.elapsed();
            (self.on_turn)(Turn::Woken);
        }
    }
}

/// Passes wake-ups on to the task and remembers that there was one.
#[derive(Default)]
struct Wakes {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    async fn drive<F: Future>(future: F, running: &Running, wait: Duration) -> (Result<F::Output, Stopped>, i32) {
        let parks = Rc::new(Cell::new(0));
        let seen = Rc::clone(&parks);
        let on_turn: OnTurn = Box::new(move |turn| {
            seen.set(seen.get() + i32::from(turn == Turn::Parked) - i32::from(turn == Turn::Woken));
        });
        let mut times = Times::default();
        let future = pin!(future);
        let mark = Mark::none();
        let result = Bounded::new(future, Instant::now() + wait, running, &on_turn, &mark, &mut times).await;
        (result, parks.get())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_spinning_future_is_stopped_at_its_deadline() {
        let spin = async {
            loop {
                tokio::task::yield_now().await;
            }
        };
        let (result, _) = drive::<_>(spin, &Running::default(), Duration::from_millis(20)).await;
        let _: Result<(), Stopped> = result;
        assert_eq!(result, Err(Stopped::Deadline));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_waiting_future_is_parked_and_stopped_at_its_deadline() {
        let (result, parks) = drive(std::future::pending::<()>(), &Running::default(), Duration::from_millis(20)).await;
        assert_eq!((result, parks), (Err(Stopped::Deadline), 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stop_request_wakes_a_waiting_future() {
        let running = Arc::new(Running::default());
        let other = Arc::clone(&running);
        let stopper = std::thread::spawn(move || other.stop(Stop::Cancelled));
        let (result, _) = drive(std::future::pending::<()>(), &running, Duration::from_secs(60)).await;
        assert_eq!(result, Err(Stopped::Asked(Stop::Cancelled)));
        stopper.join().expect("the stopper does not panic");
    }
}
