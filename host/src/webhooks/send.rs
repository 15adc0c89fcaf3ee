//! One try: a connection of its own to an address that was judged, one request, and what its answer means.
//!
//! Redirects are answers like any other: what they point to was not allowed. The status decides; of the rest of an answer
//! only so much is read that a receiver is not cut off in the middle of a usual one.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Fuse;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::{HeaderMap, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;

use super::receivers::Url;
use crate::job::Tried;
use crate::outbound::{self, Connection, Unreachable};
use crate::time::Time;

/// The head of an answer may be so long, and have so many fields.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;
/// Of an answer's body nothing beyond this is read, nor for longer.
const BODY_BYTES_MAX: usize = 16 * 1024;
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// What is sent.
pub(super) struct Message {
    pub(super) id: String,
    /// Seconds since 1970, now: receivers refuse what is old.
    pub(super) timestamp: i64,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

/// A connection that moves as long as somebody looks at it.
type Moving = Pin<Box<Fuse<http1::Connection<TokioIo<Box<dyn Connection>>, Full<Bytes>>>>>;

/// Sends it. `patience` is for all until the head of the answer is there; from then on it is known what came of it, whatever becomes of
/// the rest.
pub(super) async fn send(url: &Url, private: bool, message: Message, patience: Duration) -> Tried {
    match tokio::time::timeout(patience, head_of_answer(url, private, message)).await {
        Ok(Ok((response, connection))) => {
            let tried = meaning(response.status(), response.headers());
            tokio::select! {
                () = skim(response) => {}
                // Broken off in the middle, or there is no more.
                _ = connection => {}
            }
            tried
        }
        Ok(Err(why)) => Tried::Failed(why, None),
        Err(_) => Tried::Failed(format!("no answer within {} ms", patience.as_millis()), None),
    }
}

/// Connects, asks, and waits for the head of the answer; or says what went wrong before that.
async fn head_of_answer(url: &Url, private: bool, message: Message) -> Result<(Response<Incoming>, Moving), String> {
    let connected = outbound::connect(&url.place, private, std::convert::identity).await;
    let stream = connected.map_err(|unreachable| why_unreachable(&unreachable))?;
    let request = request(url, message).map_err(|error| format!("it cannot be sent: {error}"))?;
    let handshake =
        http1::Builder::new().max_headers(FIELDS_MAX).max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| format!("it does not speak HTTP: {error}"))?;
    let mut connection: Moving = Box::pin(connection.fuse());
    let mut answered = pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut answered => response,
        // What it ended with may have come behind a head that is there: that counts.
        ended = &mut connection => answered.await.map_err(|error| ended.err().unwrap_or(error)),
    };
    response.map(|response| (response, connection)).map_err(|error| format!("no proper answer: {error}"))
}

fn request(url: &Url, message: Message) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    Request::post(&url.path)
        .header(header::HOST, url.place.host_field())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("dropforge/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .header("webhook-id", message.id)
        .header("webhook-timestamp", message.timestamp)
        .header("webhook-signature", message.signature)
        .body(Full::new(message.body))
}

/// What an answer means.
fn meaning(status: StatusCode, fields: &HeaderMap) -> Tried {
    let answered = format!("answered {}", status.as_u16());
    match status {
        _ if status.is_success() => Tried::Delivered,
        StatusCode::GONE => Tried::Unwanted(answered),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Tried::Failed(answered, retry_after(fields, Time::now()))
        }
        _ if status.is_redirection() => Tried::Failed(format!("{answered}; redirects are not followed"), None),
        _ => Tried::Failed(answered, None),
    }
}

/// How long the receiver wants to be left alone: seconds, or a date as HTTP writes them.
fn retry_after(fields: &HeaderMap, now: Time) -> Option<Duration> {
    let text = fields.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Time(date.as_millisecond()).since(now))
}

async fn skim(response: Response<Incoming>) {
    let mut body = response.into_body();
    let reading = async {
        let mut read = 0;
        while read < BODY_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // However far it came, the status was all that counts.
    let _ = tokio::time::timeout(BODY_PATIENCE, reading).await;
}

fn why_unreachable(unreachable: &Unreachable) -> String {
    match unreachable {
        Unreachable::UnknownName(error) => format!("its name could not be looked up: {error}"),
        Unreachable::OnlyPrivate => {
            "its name leads to a private address, and the setting webhooks does not say private = true for it"
                .to_owned()
        }
        Unreachable::Refused(error) => format!("no connection: {error}"),
        Unreachable::Distrusted(error) => format!("no trusted connection: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of a try with a receiver that writes this once it was asked, and then neither ends nor goes away.
    async fn tried_with(answer: &'static str, patience: Duration) -> Tried {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be listened on");
        let url = format!("http://127.0.0.1:{}/", listener.local_addr().expect("it listens").port());
        let url = Url::parse(&url).expect("well-formed");
        let receiving = async {
            let (mut stream, _) = listener.accept().await.expect("somebody asks");
            let _ = stream.read(&mut [0; 1_024]).await;
            stream.write_all(answer.as_bytes()).await.expect("it is taken");
            std::future::pending::<()>().await;
        };
        let message = Message { id: "msg_1".to_owned(), timestamp: 0, signature: "v1,".to_owned(), body: "{}".into() };
        tokio::select! {
            tried = send(&url, true, message, patience) => tried,
            () = receiving => unreachable!("it waits for ever"),
        }
    }

    /// Fault: the receiver has said that it has it, and is told again because the rest of its answer was late or broken.
    #[tokio::test]
    async fn a_status_counts_whatever_becomes_of_the_body() {
        let patience = BODY_PATIENCE / 2;
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", Tried::Delivered),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n", Tried::Delivered),
            ("HTTP/1.1 410 Gone\r\nContent-Length: 9\r\n\r\nx", Tried::Unwanted("answered 410".to_owned())),
            ("HTTP/1.1 200 OK\r\nContent-Len", Tried::Failed("no answer within 500 ms".to_owned(), None)),
        ] {
            assert_eq!(tried_with(answer, patience).await, expected, "{answer:?}");
        }
    }

    fn after(text: &str) -> Option<Duration> {
        let mut fields = HeaderMap::new();
        fields.insert(header::RETRY_AFTER, text.parse().expect("a value"));
        // 1994-11-06T08:49:07Z.
        retry_after(&fields, Time(784_111_747_000))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "over already");
        assert_eq!(after(&u64::MAX.to_string()), Some(Duration::from_secs(u64::MAX)));
        for text in ["", "soon", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(after(text), None, "{text}");
        }
    }

    #[test]
    fn every_answer_has_a_meaning() {
        let meaning = |status: u16| super::meaning(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new());
        for status in [200, 202, 204, 299] {
            assert_eq!(meaning(status), Tried::Delivered, "{status}");
        }
        assert!(matches!(meaning(410), Tried::Unwanted(_)));
        for status in [301, 302, 307, 308, 400, 401, 404, 429, 500, 502, 503, 504, 999] {
            assert!(matches!(meaning(status), Tried::Failed(_, None)), "{status}");
        }
    }
}
