//! Takes connections in: with TLS or without, HTTP/1.1 or HTTP/2, as many as there may be, and none for longer than it is used.
//!
//! A client that sends slowly, takes slowly or says nothing loses its connection and costs nobody else theirs. What is asked is
//! for [`Front`].

mod slow;
mod tls;
mod watched;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use self::slow::{SlowBody, SlowStream};
pub use self::tls::{Certificate, TlsError};
use self::watched::{Activity, WatchedBody};
use crate::api::{Front, InUse};

/// Pause after a connection could not be taken in, most often for want of files; others may have ended by then.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// How long a connection that is told to end may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Connections being refused at a time with an answer; more are just closed.
const REFUSALS_MAX: usize = 64;
/// How long a client that is refused may take to listen.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes of answers that wait for a client on one stream of HTTP/2.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; beyond that new ones are refused.
    pub connections_max: usize,
    /// Bytes of a request's head; more is `431`.
    pub header_bytes_max: u32,
    /// Requests at a time on one connection of HTTP/2.
    pub streams_max: u32,
    /// How long a new connection may take until its first request is there, the handshake included.
    pub header_timeout: Duration,
    /// How long a connection may be without a request, and how long a client may pause while it sends or takes a body.
    pub idle_timeout: Duration,
}

/// Where connections come in.
pub struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    /// What is written to connections that are one too many, unless they are encrypted.
    refusal: Vec<u8>,
}

impl Door {
    /// A door on an address that is listened on already.
    pub fn new(listener: TcpListener, tls: Option<ServerConfig>, limits: Limits, refusal: Vec<u8>) -> Self {
        Self { listener, tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))), limits, refusal }
    }

    /// Serves until told to stop, and then until the requests under way are answered and the WebSockets closed. Dropped earlier, it
    /// closes every connection but those that have become something else than HTTP.
    pub async fn serve(self, front: Front, mut stopping: watch::Receiver<bool>) {
        let front = Arc::new(front);
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::debug!(%error, "a connection could not be taken in");
                        sleep(PAUSE_AFTER_ERROR).await;
                        continue;
                    }
                },
                // Nobody is interested in how a connection ended; this only makes room.
                Some(_) = connections.join_next() => continue,
                () = told_to_stop(&mut stopping) => break,
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let connection = Connection {
                        peer,
                        place,
                        limits: self.limits,
                        front: Arc::clone(&front),
                        stopping: stopping.clone(),
                    };
                    connections.spawn(connection.open(stream, self.tls.clone()));
                }
                Err(_) => {
                    if let (None, Ok(place)) = (&self.tls, Arc::clone(&refusals).try_acquire_owned()) {
                        connections.spawn(refuse(stream, self.refusal.clone(), place));
                    }
                }
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
        // A WebSocket of HTTP/1.1 has left its task here, but keeps its place until it is closed. The places are never taken away.
        let all = u32::try_from(self.limits.connections_max).unwrap_or(u32::MAX);
        let _ = places.acquire_many(all).await;
    }
}

async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    // The sender gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Says why before the connection is closed. A client that is still sending would not see it if it were closed at once.
async fn refuse(mut stream: TcpStream, refusal: Vec<u8>, _place: OwnedSemaphorePermit) {
    let refused = async {
        stream.write_all(&refusal).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether it listened or not, it is gone now.
    let _ = timeout(REFUSAL_TIME_MAX, refused).await;
}

struct Connection {
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    limits: Limits,
    front: Arc<Front>,
    stopping: watch::Receiver<bool>,
}

impl Connection {
    async fn open(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Answers are small and complete; holding them back for more would only make them late.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays slow");
        }
        let first_request_by = Instant::now() + self.limits.header_timeout;
        let Some(tls) = tls else { return self.serve(stream, first_request_by).await };
        match timeout(self.limits.header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, first_request_by).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "a handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, first_request_by: Instant)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let Self { peer, place, limits, front, mut stopping } = self;
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request: Request<Incoming>| {
            let in_use = InUse(Arc::new(activity.begin()));
            let mut request = request.map(|body| Body::new(SlowBody::new(body, limits.idle_timeout)));
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(in_use.clone());
            let front = Arc::clone(&front);
            async move { Ok::<_, Infallible>(front.answer(request).await.map(|body| WatchedBody::new(body, in_use))) }
        });
        let builder = builder(&limits);
        // The place goes with the stream, which outlives this function if it becomes a WebSocket.
        let stream = TokioIo::new(SlowStream::new(stream, limits.idle_timeout, place));
        let mut connection = pin!(builder.serve_connection_with_upgrades(stream, service));
        let (mut look_at, mut ending) = (first_request_by, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection broke off");
                    }
                    break;
                }
                () = sleep_until(look_at) => match activity.idle_since() {
                    // Not one request in all the time there was for it.
                    None if !activity.has_begun() => break,
                    None => look_at = Instant::now() + limits.idle_timeout,
                    Some(_) if ending => break,
                    Some(since) if since + limits.idle_timeout > Instant::now() => look_at = since + limits.idle_timeout,
                    Some(_) => {
                        connection.as_mut().graceful_shutdown();
                        (look_at, ending) = (Instant::now() + LAST_WORDS, true);
                    }
                },
                () = told_to_stop(&mut stopping), if !ending => {
                    connection.as_mut().graceful_shutdown();
                    // It ends with the answers under way, for which somebody else sets the limit.
                    (look_at, ending) = (Instant::now() + Duration::from_secs(24 * 3_600), true);
                }
            }
        }
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // hyper wants room for 8 KiB at least.
    builder.http1().max_buf_size((limits.header_bytes_max as usize).max(8192));
    builder
        .http2()
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.header_bytes_max)
        .max_send_buf_size(SEND_BYTES_MAX)
        // WebSockets over HTTP/2.
        .enable_connect_protocol()
        // A client that has vanished answers no ping.
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}
