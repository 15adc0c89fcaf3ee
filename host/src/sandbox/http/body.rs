//! Bodies that keep to the guest's patience, and say so when they end because the attempt has used up its bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use crate::sandbox::reach::Traffic;

/// The body of a request or a response. Its bytes are counted where they go over the wire.
pub(super) struct Watched<B> {
    body: Pin<Box<B>>,
    traffic: Arc<Traffic>,
    too_large: fn() -> Error,
    silence: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<B> Watched<B> {
    pub(super) fn request(body: B, traffic: Arc<Traffic>) -> Self {
        Self { body: Box::pin(body), traffic, too_large: || Error::HttpRequestBodySize(None), silence: None }
    }

    /// `silence` is the longest the guest wants to wait for more.
    pub(super) fn response(body: B, traffic: Arc<Traffic>, silence: Option<Duration>) -> Self {
        let silence = silence.map(|longest| (longest, Box::pin(sleep(longest))));
        Self { body: Box::pin(body), traffic, too_large: || Error::HttpResponseBodySize(None), silence }
    }
}

impl<B: Body<Data = Bytes, Error = Error>> Body for Watched<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
            let Some((_, timer)) = &mut this.silence else { return Poll::Pending };
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        if let Some((longest, timer)) = &mut this.silence {
            timer.as_mut().reset(Instant::now() + *longest);
        }
        // Whatever the protocol makes of a connection that was cut off for that.
        let is_failed = frame.as_ref().is_some_and(Result::is_err);
        if is_failed && this.traffic.is_exceeded() {
            return Poll::Ready(Some(Err((this.too_large)())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
