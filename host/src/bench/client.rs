//! A client that costs next to nothing: it shares the processors with the host that is measured, and what it takes the host has not.
//!
//! One connection, one request at a time, each written into the same memory; of an answer no more is read than status and body.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use axum::body::Bytes;
use axum::http::StatusCode;
use bytes::{Buf, BytesMut};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

/// Headers of an answer: more than a host sends.
const HEADERS_MAX: usize = 32;
/// Read at once.
const READ_BYTES: usize = 16 << 10;

/// One keep-alive connection.
pub(super) struct Connection {
    stream: TcpStream,
    host: String,
    /// The newest request, as it is sent.
    request: Vec<u8>,
    /// What has come and is no part of an answer so far.
    received: BytesMut,
}

/// What a load reads of the answer to a submit.
#[derive(Deserialize)]
struct Accepted {
    links: Links,
}

/// Where a job is.
#[derive(Deserialize)]
pub(super) struct Links {
    #[serde(rename = "self")]
    pub(super) job: String,
    pub(super) result: String,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: address.to_string(), request: Vec::new(), received: BytesMut::new() })
    }

    /// Submits a job and answers where it is.
    pub(super) async fn submit(&mut self, path: &str, body: impl AsRef<[u8]>) -> anyhow::Result<Links> {
        let job = self.expect("POST", path, body, None, StatusCode::ACCEPTED).await?;
        let job: Accepted = serde_json::from_slice(&job).context("a job says where it and its result are")?;
        Ok(job.links)
    }

    /// The job at this place.
    pub(super) async fn job(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.expect("GET", path, "", None, StatusCode::OK).await?)?)
    }

    /// Sends a request and answers the body, if the status is the wanted one.
    pub(super) async fn expect(
        &mut self,
        method: &str,
        path: &str,
        body: impl AsRef<[u8]>,
        prefer: Option<&str>,
        wanted: StatusCode,
    ) -> anyhow::Result<Bytes> {
        let (status, answer) = self.send(method, path, body, prefer).await?;
        if status != wanted {
            bail!("{method} {path} was answered with {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    /// Sends a request and answers with what status and body it was answered.
    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: impl AsRef<[u8]>,
        prefer: Option<&str>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let Self { stream, host, request, received } = self;
        let body = body.as_ref();
        request.clear();
        write!(request, "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n", body.len())?;
        if let Some(prefer) = prefer {
            write!(request, "prefer: {prefer}\r\n")?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        let (from, mut to) = stream.split();
        // At the same time: the answer to a batch begins while its lines are still being sent.
        let sent = async { to.write_all(request).await.context("the host does not take a request") };
        let ((), answer) = tokio::try_join!(sent, Answers { from, received }.next())?;
        Ok(answer)
    }
}

/// What comes from the host.
struct Answers<'a> {
    from: ReadHalf<'a>,
    received: &'a mut BytesMut,
}

/// Where a body ends.
enum End {
    After(usize),
    /// With an empty chunk.
    Chunk,
}

impl Answers<'_> {
    async fn next(mut self) -> anyhow::Result<(StatusCode, Bytes)> {
        let (status, end) = loop {
            if let Some((size, status, end)) = head(self.received)? {
                self.received.advance(size);
                break (status, end);
            }
            self.more().await?;
        };
        let body = match end {
            End::After(size) => self.take(size).await?,
            End::Chunk => self.chunks().await?,
        };
        Ok((status, body))
    }

    async fn chunks(&mut self) -> anyhow::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let Ok(parsed) = httparse::parse_chunk_size(self.received) else {
                bail!("the host sent a malformed chunk")
            };
            let httparse::Status::Complete((line, size)) = parsed else {
                self.more().await?;
                continue;
            };
            let size = usize::try_from(size)?;
            let chunk = self.take(line + size + b"\r\n".len()).await?;
            if size == 0 {
                return Ok(body.freeze());
            }
            body.extend_from_slice(&chunk[line..line + size]);
        }
    }

    /// The next so many bytes.
    async fn take(&mut self, size: usize) -> anyhow::Result<Bytes> {
        while self.received.len() < size {
            self.more().await?;
        }
        Ok(self.received.split_to(size).freeze())
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        self.received.reserve(READ_BYTES);
        let read = self.from.read_buf(self.received).await.context("the host does not answer")?;
        ensure!(read > 0, "the host closed the connection instead of an answer");
        Ok(())
    }
}

/// The head of an answer, once all of it has come: its size, the status, and where its body ends.
fn head(received: &[u8]) -> anyhow::Result<Option<(usize, StatusCode, End)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = answer.parse(received)? else { return Ok(None) };
    let status = StatusCode::from_u16(answer.code.context("an answer has a status")?)?;
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let end = match length {
        Some(length) => End::After(std::str::from_utf8(length.value)?.parse()?),
        None => End::Chunk,
    };
    Ok(Some((size, status, end)))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::post;
    use futures_util::StreamExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn bodies_of_each_kind_are_read_to_their_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let back = |body: Bytes| async { body };
        // More than sockets hold, answered before all of it has come.
        let streamed = |body: Body| async {
            Body::from_stream(body.into_data_stream().map(|piece| piece.map(|piece| [&piece[..], &piece[..]].concat())))
        };
        let server = Router::new().route("/back", post(back)).route("/streamed", post(streamed));
        let server = server.layer(axum::extract::DefaultBodyLimit::disable());
        let server = tokio::spawn(async move { axum::serve(listener, server).await });
        let mut connection = Connection::open(address).await.expect("it listens");
        let large = vec![b'x'; 32 << 20];
        for _ in 0..2 {
            for (path, body, expected) in [
                ("/back", &b"small"[..], 5),
                ("/back", b"", 0),
                ("/back", &large, large.len()),
                ("/streamed", b"small", 10),
                ("/streamed", &large, 2 * large.len()),
                ("/streamed", b"", 0),
            ] {
                let answer = connection.expect("POST", path, body, None, StatusCode::OK).await.expect("an answer");
                assert_eq!(answer.len(), expected, "{path}");
            }
        }
        let (status, _) = connection.send("GET", "/nowhere", "", Some("wait=1")).await.expect("an answer");
        assert_eq!(status, StatusCode::NOT_FOUND);
        server.abort();
    }

    #[tokio::test]
    async fn a_host_that_hangs_up_or_talks_nonsense_is_told_of() {
        for said in
            ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n1234", "HTTP/1.1 200 OK\r\n\r\nx\r\n", "what?\r\n"]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("an address");
            let server = tokio::spawn(async move {
                let (mut client, _) = listener.accept().await.expect("it connects");
                client.read_buf(&mut BytesMut::new()).await.expect("it asks");
                client.write_all(said.as_bytes()).await.expect("it listens");
            });
            let mut connection = Connection::open(address).await.expect("it listens");
            assert!(connection.send("GET", "/", "", None).await.is_err(), "{said}");
            server.await.expect("it did as told");
        }
    }
}
