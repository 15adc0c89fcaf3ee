//! A WebSocket as a client sees it, over HTTP/1.1 or HTTP/2, message after message.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::answer::block_on;
use super::{Host, PATIENCE};

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Which HTTP it is spoken over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Over {
    Http1,
    Http2,
}

/// An open WebSocket.
pub(crate) struct Socket(WebSocketStream<Box<dyn Io>>);

impl Socket {
    pub(crate) fn open(host: &Host, over: Over) -> Self {
        let address = host.process().address().trim_start_matches("http://").to_owned();
        Self(block_on(async {
            match over {
                Over::Http1 => http1(&address, None).await.unwrap_or_else(|error| panic!("refused: {error}")),
                Over::Http2 => http2(&address).await,
            }
        }))
    }

    /// Opens one as whoever holds this token.
    pub(crate) fn open_as(host: &Host, token: &str) -> Self {
        let address = host.process().address().trim_start_matches("http://").to_owned();
        let token = Some(("authorization", format!("Bearer {token}")));
        Self(block_on(http1(&address, token)).unwrap_or_else(|error| panic!("refused: {error}")))
    }

    /// The status with which a page of this origin is refused; nothing if it is let in.
    pub(crate) fn refused_to(host: &Host, origin: &str) -> Option<u16> {
        use tokio_tungstenite::tungstenite::Error;
        let address = host.process().address().trim_start_matches("http://").to_owned();
        match block_on(http1(&address, Some(("origin", origin.to_owned())))) {
            Ok(_) => None,
            Err(Error::Http(response)) => Some(response.status().as_u16()),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_frame(Message::text(message.to_string()));
    }

    pub(crate) fn send_frame(&mut self, frame: Message) {
        // The host may have closed already; what it said then is read next.
        let _ = block_on(self.0.send(frame));
    }

    /// The next message, or the code with which the host closed.
    pub(crate) fn next(&mut self) -> Result<Value, u16> {
        loop {
            let next = block_on(async { tokio::time::timeout(PATIENCE, self.0.next()).await });
            match next.expect("a message comes").expect("it was not cut off").expect("the protocol is kept") {
                Message::Text(text) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Message::Close(frame) => return Err(frame.expect("it says why").code.into()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message, which must be one.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Value {
        self.next().unwrap_or_else(|code| panic!("closed with {code}"))
    }

    /// Messages up to and including the first that is so.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.message());
            if messages.last().is_some_and(&wanted) {
                return messages;
            }
        }
    }

    /// Whether the host answers a close, instead of just letting go.
    pub(crate) fn is_closed_in_order(&mut self) -> bool {
        let closed = async {
            while let Some(next) = self.0.next().await {
                if next.is_err() {
                    return false;
                }
            }
            true
        };
        block_on(async { tokio::time::timeout(PATIENCE, closed).await }).expect("it ends")
    }

    /// Whether nothing but pings comes for so long.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        block_on(async {
            let deadline = tokio::time::Instant::now() + time;
            loop {
                match tokio::time::timeout_at(deadline, self.0.next()).await {
                    Err(_) => return true,
                    Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                    Ok(_) => return false,
                }
            }
        })
    }
}

async fn http1(
    address: &str,
    field: Option<(&'static str, String)>,
) -> Result<WebSocketStream<Box<dyn Io>>, tokio_tungstenite::tungstenite::Error> {
    let stream: Box<dyn Io> = Box::new(TcpStream::connect(address).await.expect("the host listens"));
    let mut request = format!("ws://{address}/v1/ws").into_client_request().expect("a request");
    if let Some((name, value)) = field {
        request.headers_mut().insert(name, value.parse().expect("a header"));
    }
    tokio_tungstenite::client_async(request, stream).await.map(|(socket, _)| socket)
}

async fn http2(address: &str) -> WebSocketStream<Box<dyn Io>> {
    let stream = TokioIo::new(TcpStream::connect(address).await.expect("the host listens"));
    let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(stream);
    let (mut requests, connection) = handshake.await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let ask = || {
        let request = Request::builder().method(Method::CONNECT).uri(format!("http://{address}/v1/ws"));
        let request = request.extension(hyper::ext::Protocol::from_static("websocket"));
        request.header("sec-websocket-version", "13").body(Empty::<bytes::Bytes>::new()).expect("a request")
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut response = loop {
        // Until the host's settings have come, the client does not know that it may.
        match requests.send_request(ask()).await {
            Ok(response) => break response,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        requests.ready().await.expect("the connection lasts");
    };
    if response.status() != 200 {
        let (status, body) = (response.status(), response.body_mut().collect().await.expect("a body").to_bytes());
        panic!("{status}: {}", String::from_utf8_lossy(&body));
    }
    let upgraded = hyper::upgrade::on(response).await.expect("it becomes a WebSocket");
    let stream: Box<dyn Io> = Box::new(TokioIo::new(upgraded));
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}
