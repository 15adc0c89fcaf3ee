//! What was shown of a log, so that one who reads it again from its beginning goes on where it was.
//!
//! The host tells a log from its beginning: the ends of earlier attempts as their reports keep them, then what the running attempt still
//! holds. Where what was shown ends in it is found by the lines themselves.

use std::collections::VecDeque;

use serde::Deserialize;

/// More than a host tells again of a log: the reports of ten attempts with fifty lines each, and a thousand lines of a running one.
const REMEMBERED_MAX: usize = 2_000;
/// A report keeps at least so many bytes of a longer line.
const SHORTENED_BYTES_MIN: usize = 200;

/// A line of a log as the host tells it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Line {
    pub(super) attempt: u32,
    pub(super) at: Option<String>,
    pub(super) level: Option<String>,
    pub(super) message: String,
    /// The same as it came.
    #[serde(skip)]
    pub(super) text: String,
}

impl Line {
    /// Whether the host says here that it no longer holds what came before.
    fn is_gap(&self) -> bool {
        self.at.is_none() && self.level.is_none() && self.message.ends_with(" lines before this one are no longer held")
    }

    /// Whether both are the same line. Its time is not known any more once its attempt has ended, nor all of it if it is long.
    fn is(&self, other: &Line) -> bool {
        let same_time = match (&self.at, &other.at) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        let begins = |long: &str, short: &str| {
            short.len() >= SHORTENED_BYTES_MIN && short.strip_suffix('…').is_some_and(|start| long.starts_with(start))
        };
        let (one, two) = (self.message.as_str(), other.message.as_str());
        same_time
            && self.attempt == other.attempt
            && self.level == other.level
            && (one == two || begins(one, two) || begins(two, one))
    }
}

/// The newest lines that were shown, and what is read again.
#[derive(Debug, Default)]
pub(super) struct Shown {
    lines: VecDeque<Line>,
    again: Option<Again>,
}

/// The beginning of a log that is being read once more.
#[derive(Debug)]
struct Again {
    /// Its lines so far; they wait until it is clear which of them were shown.
    held: Vec<Line>,
    /// Where among the lines shown it may begin.
    starts: Vec<usize>,
    /// How many of those held are the end of what was shown.
    overlap: usize,
    /// What the host says about lines before these that it no longer holds.
    gap: Option<Line>,
}

impl Shown {
    /// From here on the log is read from its beginning.
    pub(super) fn begin(&mut self) {
        self.begin_after(None);
    }

    fn begin_after(&mut self, gap: Option<Line>) {
        self.again = Some(Again { held: Vec::new(), starts: (0..self.lines.len()).collect(), overlap: 0, gap });
    }

    /// Takes a line that was read, and answers those that are to be shown now.
    pub(super) fn take(&mut self, line: Line) -> Vec<Line> {
        if self.again.is_some() && line.is_gap() {
            // Behind it stands another piece of the log.
            let before = self.end();
            self.begin_after(Some(line));
            return before;
        }
        let Some(again) = &mut self.again else { return self.remember(vec![line]) };
        let (at, shown) = (again.held.len(), &self.lines);
        again.starts.retain(|start| shown.get(start + at).is_some_and(|shown| shown.is(&line)));
        again.held.push(line);
        let held = again.held.len();
        if again.starts.iter().any(|start| start + held == shown.len()) {
            again.overlap = held;
            again.starts.retain(|start| start + held < shown.len());
        }
        if again.starts.is_empty() { self.end() } else { Vec::new() }
    }

    /// There is no more to read for now. What waits and is like lines that were shown, is those.
    pub(super) fn end(&mut self) -> Vec<Line> {
        let Some(Again { mut held, starts, overlap, gap }) = self.again.take() else { return Vec::new() };
        let known = if starts.is_empty() || held.is_empty() { overlap } else { held.len() };
        let new = held.split_off(known);
        // Nothing is missing between what was shown and what overlaps with it.
        let gap = gap.filter(|_| known == 0 && !new.is_empty());
        self.remember(gap.into_iter().chain(new).collect())
    }

    fn remember(&mut self, new: Vec<Line>) -> Vec<Line> {
        self.lines.extend(new.iter().cloned());
        let surplus = self.lines.len().saturating_sub(REMEMBERED_MAX);
        self.lines.drain(..surplus);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `1a@5` is the line `a` of attempt 1, told with a time.
    fn line(text: &str) -> Line {
        let (what, at) = text.split_once('@').map_or((text, None), |(what, at)| (what, Some(at.to_owned())));
        let (attempt, message) = what.split_at(1);
        let (attempt, message) = (attempt.parse().expect("a digit"), message.to_owned());
        Line { attempt, at, level: None, message, text: String::new() }
    }

    /// Reads these logs one after the other, each from its beginning, and answers what is shown of the last.
    fn shown(readings: &[&[&str]]) -> Vec<String> {
        let mut shown = Shown::default();
        let mut last = Vec::new();
        for reading in readings {
            shown.begin();
            last = reading.iter().flat_map(|text| shown.take(line(text))).collect();
            last.extend(shown.end());
        }
        last.iter().map(|line| format!("{}{}", line.attempt, line.message)).collect()
    }

    #[test]
    fn what_was_shown_is_not_shown_again() {
        assert_eq!(shown(&[&["1a", "1b"], &["1a", "1b", "1c"]]), ["1c"]);
        assert_eq!(shown(&[&["1a", "1b"], &["1a", "1b"]]), [""; 0]);
        assert_eq!(shown(&[&[], &["1a"]]), ["1a"]);
        assert_eq!(shown(&[&["1a", "1a"], &["1a", "1a", "1a", "2a"]]), ["1a", "2a"]);
        assert_eq!(shown(&[&["1a@1", "1b@2", "1c@3"], &["1b", "1c", "1d", "2a@9"]]), ["1d", "2a"], "a report's end");
        assert_eq!(shown(&[&["1a", "1b", "1c"], &["1a", "1b"]]), [""; 0], "a part of it");
    }

    #[test]
    fn an_attempt_that_is_made_again_writes_new_lines() {
        assert_eq!(shown(&[&["1a@1", "1b@2"], &["1a@7", "1b@8", "1c@9"]]), ["1a", "1b", "1c"]);
        assert_eq!(shown(&[&["1a@1", "1b@2"], &["1a", "1b", "1a@7"]]), ["1a"], "after the report of the first");
    }

    #[test]
    fn a_gap_is_told_only_where_something_is_missing() {
        const GAP: &str = "17 lines before this one are no longer held";
        assert_eq!(shown(&[&["1a@1", "1b@2"], &[GAP, "1b@2", "1c@3"]]), ["1c"]);
        assert_eq!(shown(&[&["1a@1", "1b@2"], &[GAP, "1d@4"]]), [GAP, "1d"]);
        assert_eq!(shown(&[&["1a", "2b@2"], &["1a", GAP, "2b@2", "2c@3"]]), ["2c"]);
    }

    #[test]
    fn a_shortened_line_is_known_again() {
        let long = format!("1{}", "x".repeat(300));
        let short = format!("1{}…", "x".repeat(230));
        assert_eq!(shown(&[&[&long], &[&short, "1b"]]), ["1b"]);
        assert_eq!(shown(&[&["1xy"], &["1x…"]]), ["1x…"]);
    }

    #[test]
    fn only_so_many_lines_are_remembered() {
        let mut shown = Shown::default();
        (0..REMEMBERED_MAX + 10).for_each(|number| drop(shown.take(line(&format!("1{number}")))));
        assert_eq!(shown.lines.len(), REMEMBERED_MAX);
    }
}
