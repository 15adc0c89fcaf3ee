//! A connection whose bytes count against the attempt's limit: all of them, whatever they mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::sandbox::reach::Traffic;

/// Counts what goes over a connection: heads and bodies, what frames them, and what keeps them secret.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) traffic: Arc<Traffic>,
}

fn too_much() -> io::Error {
    io::Error::other("more was sent and received than network_bytes allows")
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        Poll::Ready(if self.traffic.add(read) { Ok(()) } else { Err(too_much()) })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Nothing beyond the limit leaves the host.
        let most = usize::try_from(self.traffic.left()).unwrap_or(usize::MAX).min(bytes.len());
        if most == 0 && !bytes.is_empty() {
            self.traffic.add(1);
            return Poll::Ready(Err(too_much()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..most]))?;
        Poll::Ready(if self.traffic.add(written) { Ok(written) } else { Err(too_much()) })
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
