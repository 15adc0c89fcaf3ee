//! Bodies and streams that break off when the other side makes no progress for too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

/// A time limit that runs only while something is waited for.
struct Patience {
    limit: Duration,
    // Made at the first wait: most streams never wait.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None, waiting: false }
    }

    /// What came of a wait: progress ends it, and no progress for too long is an error.
    fn judge<T>(&mut self, polled: Poll<T>, context: &mut Context<'_>) -> Poll<Result<T, io::Error>> {
        if let Poll::Ready(progress) = polled {
            self.waiting = false;
            return Poll::Ready(Ok(progress));
        }
        let end = Instant::now() + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(end);
        }
        ready!(timer.as_mut().poll(context));
        self.waiting = false;
        let why = format!("the other side made no progress for {:?}", self.limit);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

/// A request's body that breaks off when nothing of it comes for too long, while somebody wants it.
pub(super) struct SlowBody {
    body: Incoming,
    patience: Patience,
}

impl SlowBody {
    pub(super) fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, patience: Patience::new(limit) }
    }
}

impl HttpBody for SlowBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match ready!(self.patience.judge(polled, context)) {
            Ok(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Err(too_slow) => Poll::Ready(Some(Err(too_slow.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection's stream that breaks off when nothing can be written to it for too long. Holds the connection's place.
pub(super) struct SlowStream<S> {
    stream: S,
    writing: Patience,
    _place: OwnedSemaphorePermit,
}

impl<S> SlowStream<S> {
    pub(super) fn new(stream: S, limit: Duration, place: OwnedSemaphorePermit) -> Self {
        Self { stream, writing: Patience::new(limit), _place: place }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SlowStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SlowStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.writing.judge(polled, context).map(Result::flatten)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.writing.judge(polled, context).map(Result::flatten)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.writing.judge(polled, context).map(Result::flatten)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.writing.judge(polled, context).map(Result::flatten)
    }
}
