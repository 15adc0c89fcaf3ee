//! Cuts a body into lines as it comes, never holding more than one that is too long.

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

/// A line that is not blank, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Bytes),
    /// It was longer than allowed and is thrown away.
    TooLong,
    /// The body is larger than so many bytes; nothing more is read.
    BodyTooLarge(u64),
    /// The client went away in the middle, or broke the protocol.
    BrokeOff(String),
}

impl Line {
    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        match self {
            Line::Whole(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// The lines of a body.
pub(super) struct Lines {
    chunks: BodyDataStream,
    line_bytes_max: usize,
    body_bytes_max: u64,
    read: u64,
    /// Read and not yet cut. Up to `searched` there is no end of a line in it.
    held: BytesMut,
    searched: usize,
    /// Whether the line being read is too long.
    skipping: bool,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body, line_bytes_max: usize, body_bytes_max: u64) -> Self {
        Self {
            chunks: body.into_data_stream(),
            line_bytes_max,
            body_bytes_max,
            read: 0,
            held: BytesMut::new(),
            searched: 0,
            skipping: false,
            ended: false,
        }
    }

    /// The next line that is not blank; nothing at the end.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            match self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    let line = self.held.split_to(self.searched + at + 1);
                    self.searched = 0;
                    if let Some(line) = self.cut(&line.freeze()) {
                        return Some(line);
                    }
                }
                None if self.ended => {
                    // The last line may have no end.
                    let line = self.held.split().freeze();
                    self.searched = 0;
                    return self.cut(&line);
                }
                None => {
                    if self.skipping || self.held.len() > self.line_bytes_max {
                        self.skipping = true;
                        self.held.clear();
                    }
                    self.searched = self.held.len();
                    if let Some(problem) = self.read_more().await {
                        return Some(problem);
                    }
                }
            }
        }
    }

    /// What a piece between two ends is.
    fn cut(&mut self, line: &Bytes) -> Option<Line> {
        let text = line.trim_ascii();
        if std::mem::take(&mut self.skipping) || text.len() > self.line_bytes_max {
            return Some(Line::TooLong);
        }
        (!text.is_empty()).then(|| Line::Whole(line.slice_ref(text)))
    }

    async fn read_more(&mut self) -> Option<Line> {
        match self.chunks.next().await {
            Some(Ok(chunk)) => {
                self.read += chunk.len() as u64;
                if self.read > self.body_bytes_max {
                    return Some(self.end_with(Line::BodyTooLarge(self.body_bytes_max)));
                }
                self.held.extend_from_slice(&chunk);
            }
            Some(Err(error)) => return Some(self.end_with(Line::BrokeOff(error.to_string()))),
            None => self.ended = true,
        }
        None
    }

    /// What is held is half a line, which nobody meant to send.
    fn end_with(&mut self, line: Line) -> Line {
        self.held.clear();
        (self.searched, self.skipping, self.ended) = (0, false, true);
        line
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn lines_of(chunks: &[&str], line_bytes_max: usize, body_bytes_max: u64) -> Vec<String> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>((*chunk).to_owned())).collect();
        let mut lines = Lines::new(Body::from_stream(stream::iter(chunks)), line_bytes_max, body_bytes_max);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await {
            found.push(match line {
                Line::Whole(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                other => format!("{other:?}"),
            });
        }
        found
    }

    #[tokio::test]
    async fn lines_are_found_however_they_are_cut_into_chunks() {
        assert_eq!(lines_of(&["a\nb", "c\r\n", "\n  \n", "d"], 9, 99).await, ["a", "bc", "d"]);
        assert_eq!(lines_of(&["a", "\n", "", "b", "\n"], 9, 99).await, ["a", "b"]);
        assert!(lines_of(&[], 9, 99).await.is_empty() && lines_of(&["\n\n"], 9, 99).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_one_mistake_and_the_next_is_read() {
        assert_eq!(lines_of(&["abc\nabcd\nab"], 3, 99).await, ["abc", "TooLong", "ab"]);
        assert_eq!(lines_of(&["abcd", "efgh", "ijkl\nab\n", "abcd"], 3, 99).await, ["TooLong", "ab", "TooLong"]);
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_ends_there() {
        assert_eq!(lines_of(&["ab\n", "cd\n"], 9, 6).await, ["ab", "cd"]);
        assert_eq!(lines_of(&["ab\n", "cd\ne", "f\n"], 9, 6).await, ["ab", "BodyTooLarge(6)"]);
    }
}
