//! Goes through a job's log once, wherever its lines are by then: in the reports of ended attempts, or in the hands of the one that is
//! being made.
//!
//! Each line has a place of its own: the run that wrote it and its number there, both counting up. So whoever says which line was the last to
//! be seen is told what came after it, however often the host was started since, and what is no longer held between the two.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::super::Api;
use crate::events::{Scope, Subscription};
use crate::job::{JobId, Run, Sight, Usage};
use crate::queue::UnderWay;
use crate::running::LogLine;
use crate::store::StoreError;

/// Where a line stands in its job's log. Later lines are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    run: Run,
    /// From 1.
    number: u64,
}

impl Place {
    /// The place of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (run, number) = name.split_once('-')?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { run: Run::parse(run)?, number: number.parse().ok().filter(|_| digits)? })
    }

    /// The number of the line of `run` that is to be told next.
    fn next_in(self, run: Run) -> u64 {
        if self.run == run { self.number.saturating_add(1) } else { 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.number)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A line and the attempt that wrote it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LoggedLine)]
pub(in crate::api) struct Line {
    /// Stays the same as long as the line is held; `after` goes on behind it.
    #[schema(value_type = String)]
    id: Place,
    pub(super) attempt: u32,
    #[serde(flatten)]
    #[schema(inline)]
    pub(super) line: LogLine,
}

/// Reads on with each call.
pub(super) struct Reader {
    pub(super) api: Arc<Api>,
    id: JobId,
    /// The last line that was told.
    after: Place,
    /// Reports below this number are told.
    reported: u32,
    /// The attempt being followed. Held, since what it says last is gone with it but for the end.
    current: Option<UnderWay>,
}

impl Reader {
    /// Begins behind that line.
    pub(super) fn new(api: Arc<Api>, id: JobId, after: Place) -> Self {
        Self { api, id, after, reported: 0, current: None }
    }

    /// The lines that are there and were not read before, and whether there may be more later.
    pub(super) fn read(&mut self) -> Result<(Vec<Line>, bool), StoreError> {
        let mut lines = Vec::new();
        if let Some(current) = self.current.take() {
            self.read_running(current, &mut lines);
        }
        if self.current.is_some() {
            return Ok((lines, true));
        }
        // Looked at first: once it has ended and nobody runs it, every report is there. An attempt is under way until its report is there.
        let ended = self.api.queue.get(self.id)?.state.is_terminal();
        let under_way = self.api.queue.under_way(self.id);
        self.read_reports(under_way.as_ref().map(|under_way| under_way.run), &mut lines)?;
        if let Some(under_way) = under_way {
            self.read_running(under_way, &mut lines);
        }
        Ok((lines, !ended || self.current.is_some()))
    }

    fn read_running(&mut self, under_way: UnderWay, lines: &mut Vec<Line>) {
        let run = under_way.run;
        if run < self.after.run {
            return;
        }
        // Looked at first: nothing is added after that.
        let attempt_ended = under_way.attempt.has_ended();
        let (new, _, written) = under_way.attempt.lines_since(self.after.next_in(run) - 1);
        let first = written - new.len() as u64 + 1;
        self.tell(run, under_way.number, first, new.into_iter(), lines);
        if !attempt_ended {
            self.current = Some(under_way);
        }
    }

    /// Reads the reports of runs before `until`.
    fn read_reports(&mut self, until: Option<Run>, lines: &mut Vec<Line>) -> Result<(), StoreError> {
        let (reports, total) = self.api.queue.store().usage_since(self.id, self.reported)?;
        self.reported = total.saturating_sub(u32::try_from(reports.len()).unwrap_or(u32::MAX));
        for Usage { run, attempt, log, log_lines, .. } in reports {
            if until.is_some_and(|until| run >= until) {
                break;
            }
            self.reported += 1;
            if run < self.after.run {
                continue;
            }
            let first = log_lines.saturating_sub(log.len() as u64).saturating_add(1);
            self.tell(run, attempt, first, log.iter().map(|text| LogLine::of(text, None)), lines);
        }
        Ok(())
    }

    /// Tells lines of a run, of which the first has this number, as far as they were not told, and what is missing before them.
    fn tell(&mut self, run: Run, attempt: u32, first: u64, new: impl Iterator<Item = LogLine>, lines: &mut Vec<Line>) {
        let next = self.after.next_in(run);
        if let Some(missing) = first.checked_sub(next).filter(|missing| *missing > 0) {
            let message = match missing {
                1 => "1 line before this one is no longer held".to_owned(),
                _ => format!("{missing} lines before this one are no longer held"),
            };
            self.after = Place { run, number: first - 1 };
            lines.push(Line { id: self.after, attempt, line: LogLine { at: None, level: None, message } });
        }
        for (number, line) in (first..=u64::MAX).zip(new).filter(|(number, _)| *number >= next) {
            self.after = Place { run, number };
            lines.push(Line { id: self.after, attempt, line });
        }
    }

    /// Ends when there may be something new to read: the job's lines are told soon after they are written, and so is how it
    /// moves.
    pub(super) async fn changed(&self, subscription: &mut Option<Subscription>) {
        let attempt_ended = async {
            match &self.current {
                Some(under_way) => under_way.attempt.ended().await,
                None => std::future::pending().await,
            }
        };
        let moved = async {
            match subscription {
                Some(subscription) => subscription.next().await,
                None => None,
            }
        };
        let let_go = tokio::select! {
            () = attempt_ended => false,
            moved = moved => moved.is_none(),
        };
        if let_go {
            // It fell behind in hearing of the job, which costs it nothing: it reads what is there.
            *subscription = self.api.queue.subscribe(Scope::Job(self.id), Sight::default()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_names_that_lead_back_to_them() {
        for place in
            [Place::default(), Place { run: Run(u64::MAX), number: u64::MAX }, Place { run: Run(1 << 40), number: 7 }]
        {
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for name in ["", "-", "1-", "-1", "1", "+1-1", "1-+1", "x-1", "1-x", "1-1-1", "11111111111111111-1"] {
            assert_eq!(Place::parse(name), None, "{name}");
        }
    }
}
