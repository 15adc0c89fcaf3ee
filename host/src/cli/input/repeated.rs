//! Standard input that can be sent again: a host that is not ready refuses a job before it has taken much of its input.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tokio::io::{AsyncReadExt, Stdin, stdin};
use tokio::sync::Mutex;

use super::PIECE_BYTES;

/// Of what was read so much is kept. More than the buffers on the way to a host hold.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Standard input, and its beginning as long as that is small.
#[derive(Clone)]
pub(in crate::cli) struct Repeated(Arc<Mutex<Reading>>);

struct Reading {
    from: Stdin,
    /// All that was read, or nothing once that was too much.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
}

impl Repeated {
    pub(super) fn standard_input() -> Self {
        Self(Arc::new(Mutex::new(Reading { from: stdin(), kept: Some(Vec::new()), kept_bytes: 0 })))
    }

    pub(super) async fn can_be_repeated(&self) -> bool {
        self.0.lock().await.kept.is_some()
    }

    /// What was read so far, if all of that was kept.
    pub(super) async fn kept(&self) -> Option<Vec<u8>> {
        self.0.lock().await.kept.as_ref().map(|pieces| pieces.concat())
    }

    /// All of it from the beginning, as long as it can be repeated.
    pub(super) fn pieces(&self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        try_unfold((self.clone(), 0), async |(repeated, number)| {
            let piece = repeated.0.lock().await.piece(number).await?;
            Ok((!piece.is_empty()).then_some((piece, (repeated, number + 1))))
        })
    }
}

impl Reading {
    /// The piece with this number, counted from 0; empty at the end.
    async fn piece(&mut self, number: usize) -> std::io::Result<Bytes> {
        if let Some(piece) = self.kept.as_ref().and_then(|kept| kept.get(number)) {
            return Ok(piece.clone());
        }
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        self.from.read_buf(&mut piece).await?;
        let piece = Bytes::from(piece);
        self.kept_bytes += piece.len();
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.kept = None;
        }
        if let Some(kept) = self.kept.as_mut().filter(|_| !piece.is_empty()) {
            kept.push(piece.clone());
        }
        Ok(piece)
    }
}
