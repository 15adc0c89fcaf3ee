//! Whether a connection is being used: how many requests it has under way, and since when it has none.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::api::InUse;

#[derive(Debug, Default)]
struct State {
    requests: usize,
    /// When the last one ended, once there was one.
    ended: Option<Instant>,
}

/// What goes on on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity(Mutex<State>);

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Activity {
    /// Takes note of a request.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.state().requests += 1;
        UnderWay(Arc::clone(self))
    }

    /// Whether there ever was a request.
    pub(super) fn has_begun(&self) -> bool {
        let state = self.state();
        state.requests > 0 || state.ended.is_some()
    }

    /// Since when there is no request, if there was one and is none.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.ended.filter(|_| state.requests == 0)
    }

    // Stays usable if a thread panicked: each change is a single step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        state.ended = Some(Instant::now());
    }
}

/// The body of an answer, with which its request ends.
pub(super) struct WatchedBody {
    body: Body,
    _in_use: InUse,
}

impl WatchedBody {
    pub(super) fn new(body: Body, in_use: InUse) -> Self {
        Self { body, _in_use: in_use }
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
