//! Bodies that count: against the attempt's limit of bytes, and against the guest's patience.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use crate::sandbox::reach::Traffic;

/// The body of a request or a response.
pub(super) struct Counted<B> {
    body: Pin<Box<B>>,
    traffic: Arc<Traffic>,
    too_large: fn() -> Error,
    silence: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<B> Counted<B> {
    pub(super) fn request(body: B, traffic: Arc<Traffic>) -> Self {
        Self { body: Box::pin(body), traffic, too_large: || Error::HttpRequestBodySize(None), silence: None }
    }

    /// `silence` is the longest the guest wants to wait for more.
    pub(super) fn response(body: B, traffic: Arc<Traffic>, silence: Option<Duration>) -> Self {
        let silence = silence.map(|longest| (longest, Box::pin(sleep(longest))));
        Self { body: Box::pin(body), traffic, too_large: || Error::HttpResponseBodySize(None), silence }
    }
}

impl<B: Body<Data = Bytes, Error = Error>> Body for Counted<B> {
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
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if !this.traffic.add(bytes) {
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
