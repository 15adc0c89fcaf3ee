//! Gives the thread back between calls to the host.
//!
//! A guest that does nothing but call the host burns hardly any fuel, so that its slices would never end. So before each call,
//! whichever interface it is of, the clock is looked at, and a guest that has had the thread for a while pauses: deadlines,
//! requests to stop and the thread's other jobs are looked at. So is what the calls before made the host hold. What one call costs is bounded where the call is made.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::{CallHook, CallHookHandler, StoreContextMut};

use super::contract::Guest;

/// How long a guest may keep the thread with calls to the host.
const PACE: Duration = Duration::from_millis(1);

/// When a guest paused last.
#[derive(Debug)]
pub(super) struct Pace {
    last_pause: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { last_pause: Instant::now() }
    }
}

/// Stands before every call to the host.
pub(super) struct BeforeCalls;

type Handled<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

impl CallHookHandler<Guest> for BeforeCalls {
    fn handle_call_event<'hook, 'store, 'handled>(
        &'hook self,
        mut store: StoreContextMut<'store, Guest>,
        event: CallHook,
    ) -> Handled<'handled>
    where
        'hook: 'handled,
        'store: 'handled,
    {
        if matches!(event, CallHook::CallingHost) {
            let guest = store.data_mut();
            if let Err(error) = guest.check_http() {
                return Box::pin(std::future::ready(Err(error)));
            }
            let pace = &mut guest.pace;
            if pace.last_pause.elapsed() >= PACE {
                pace.last_pause = Instant::now();
                return Box::pin(Pause { paused: false });
            }
        }
        // Of no size, so that nothing is allocated for each of millions of calls.
        Box::pin(GoOn)
    }
}

/// Ready at once.
struct GoOn;

impl Future for GoOn {
    type Output = wasmtime::Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

/// Ready when it is asked the second time, which is at once if nobody else wants the thread.
struct Pause {
    paused: bool,
}

impl Future for Pause {
    type Output = wasmtime::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.paused, true) {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
