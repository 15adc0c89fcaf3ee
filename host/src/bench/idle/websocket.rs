//! As much of a WebSocket's client (RFC 6455) as it takes to be idle: connect, subscribe, answer pings, hear of a job.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{ANSWER_BYTES_MAX, read_until};

/// Bytes read ahead: ten thousand clients should not need more than the host does.
const READ_AHEAD_BYTES: usize = 512;
/// Frames, by their first byte: whole messages, and what keeps a connection alive.
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// An open WebSocket.
pub(super) struct Socket(BufReader<TcpStream>);

impl Socket {
    /// Connects, and waits until the host has said that it speaks the protocol.
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
        // The key is there to tell a WebSocket's server from others, and this host is known to be one.
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        // Nothing follows the head before the client has said something.
        let answer = read_until(&mut stream, "\r\n\r\n").await?;
        if !answer.starts_with("HTTP/1.1 101 ") {
            bail!("the host answered {:?}", answer.lines().next().unwrap_or_default());
        }
        Ok(Self(BufReader::with_capacity(READ_AHEAD_BYTES, stream)))
    }

    /// Sends a message of up to 125 bytes.
    pub(super) async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.send(TEXT, text.as_bytes()).await
    }

    /// Reads until a message has this in it, and answers pings meanwhile.
    pub(super) async fn until(&mut self, wanted: &str) -> anyhow::Result<()> {
        loop {
            let (first, payload) = self.next().await?;
            match first {
                TEXT if String::from_utf8_lossy(&payload).contains(wanted) => return Ok(()),
                TEXT => {}
                PING => self.send(PONG, &payload).await?,
                other => bail!("the host sent a frame that begins with {other:#x}"),
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await?;
        // A host masks nothing, so this is the length alone.
        let length = match self.0.read_u8().await? {
            126 => u64::from(self.0.read_u16().await?),
            127 => self.0.read_u64().await?,
            length => length.into(),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let mut payload = vec![0; length.context("the host sent a longer frame than expected")?];
        self.0.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    async fn send(&mut self, first: u8, payload: &[u8]) -> anyhow::Result<()> {
        let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).context("it is too long")?;
        // What a client sends is masked; with zeros it stays as it is, and no proxy is here to be confused by that.
        let mut frame = vec![first, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await?;
        Ok(())
    }
}
