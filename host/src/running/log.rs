//! The newest lines an attempt has logged: bounded, harmless to print, numbered so that a reader can go on where it was.

use std::collections::VecDeque;

use serde::Serialize;
use utoipa::ToSchema;

use crate::job::printable;
use crate::time::Time;

/// A longer line is cut.
pub const LINE_BYTES_MAX: usize = 1024;
/// Lines held of one attempt while it runs.
const LINES_MAX: usize = 1_000;
/// Bytes of them.
const BYTES_MAX: usize = 256 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogLine {
    /// When it was written; not known any more once the attempt has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// How important the guest said it is; nothing for what it wrote to its standard output or error.
    #[schema(required)]
    pub level: Option<&'static str>,
    /// What it says.
    pub message: String,
}

/// The levels as they stand before a line, and as clients see them.
const LEVELS: [(&str, &str); 5] =
    [("TRACE ", "trace"), ("DEBUG ", "debug"), ("INFO ", "info"), ("WARN ", "warn"), ("ERROR ", "error")];

impl LogLine {
    /// Takes a line as it stands in a usage report apart.
    pub fn of(text: &str, at: Option<Time>) -> Self {
        let known = LEVELS.iter().find_map(|(prefix, level)| Some((*level, text.strip_prefix(prefix)?)));
        let (level, message) = known.map_or((None, text), |(level, rest)| (Some(level), rest));
        Self { at, level, message: message.to_owned() }
    }
}

/// The lines of one attempt.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: VecDeque<(Time, String)>,
    bytes: usize,
    /// Lines ever written.
    pub(super) written: u64,
    unfinished: Vec<u8>,
}

impl Lines {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        // Cut before it is copied: it may have many megabytes.
        let start = &line[..line.floor_char_boundary(LINE_BYTES_MAX + 1)];
        let line = printable(start.to_owned(), "", LINE_BYTES_MAX);
        self.bytes += line.len();
        self.written += 1;
        self.lines.push_back((Time::now(), line));
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            self.bytes -= self.lines.pop_front().map_or(self.bytes, |(_, line)| line.len());
        }
    }

    /// Adds what a guest writes to a stream, and says whether a line was ended.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> bool {
        let before = self.written;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.unfinished.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.unfinished.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                self.end_line();
            }
        }
        self.written > before
    }

    /// Counts what was begun as a line.
    pub(super) fn end_line(&mut self) {
        if !self.unfinished.is_empty() {
            let line = std::mem::take(&mut self.unfinished);
            self.push(&String::from_utf8_lossy(&line));
        }
    }

    /// The last lines, as they stand in a usage report, and how many there were in all.
    pub(super) fn last(&self, most: usize) -> (Vec<String>, u64) {
        let last = self.lines.iter().skip(self.lines.len().saturating_sub(most));
        (last.map(|(_, line)| line.clone()).collect(), self.written)
    }

    /// Up to `most` of the newest lines after the first `seen` ones, how many before them are left out, and how many
    /// there are in all.
    pub(super) fn since(&self, seen: u64, most: usize) -> (Vec<LogLine>, u64, u64) {
        let new = self.written.saturating_sub(seen);
        let taken = usize::try_from(new).unwrap_or(usize::MAX).min(self.lines.len()).min(most);
        let lines = self.lines.iter().skip(self.lines.len() - taken);
        (lines.map(|(at, text)| LogLine::of(text, Some(*at))).collect(), new - taken as u64, self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_last_lines_short_and_harmless() {
        let mut log = Lines::default();
        for number in 0..600 {
            log.bytes(format!("line {number}\npart").as_bytes());
            log.bytes(b" two\x1b[31m\n");
        }
        log.bytes(&vec![b'x'; 1 << 20]);
        log.end_line();
        let (lines, written) = log.last(50);
        assert_eq!((lines.len(), written), (50, 1201));
        assert_eq!(lines[48], "part two\u{fffd}[31m");
        assert_eq!(lines[49].len(), LINE_BYTES_MAX);
        let (lines, left_out, written) = log.since(1, usize::MAX);
        assert_eq!((lines.len(), left_out, written), (LINES_MAX, 200, 1201));
        assert_eq!(log.since(written - 1, 9).0.len(), 1);
        assert_eq!(log.since(written, 9), (vec![], 0, written));
    }

    #[test]
    fn many_long_lines_take_no_more_than_their_share() {
        let mut log = Lines::default();
        (0..2_000).for_each(|_| log.push(&"y".repeat(5_000)));
        assert!(log.bytes <= BYTES_MAX && log.lines.len() == BYTES_MAX / LINE_BYTES_MAX);
    }

    #[test]
    fn the_level_stands_apart_from_the_message() {
        let line = |level, message: &str| LogLine { at: None, level, message: message.to_owned() };
        assert_eq!(LogLine::of("WARN low on ink", None), line(Some("warn"), "low on ink"));
        assert_eq!(LogLine::of("warning", None), line(None, "warning"));
    }
}
