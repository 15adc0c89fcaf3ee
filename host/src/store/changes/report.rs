//! The usage reports of a job's attempts: the newest stay, and each is cut to what one value holds.

use crate::job::{USAGE_KEPT, Usage, shorten};
use crate::store::StoreError;
use crate::store::keys;
use crate::store::record::{self, Record};
use crate::store::stored::Inline;
use crate::store::writes::Writes;

/// Bytes of log and backtrace in a usage report, so that it fits into one value.
const USAGE_TEXT_BYTES_MAX: usize = 3_000;
/// Bytes of one line of them.
const USAGE_LINE_BYTES_MAX: usize = 240;

/// The newest reports stay; each fits into one value, so of a long one the log and the backtrace are shortened.
pub(super) fn write_usage(writes: &mut Writes, record: &mut Record, mut usage: Usage) -> Result<(), StoreError> {
    let mut budget = USAGE_TEXT_BYTES_MAX;
    let mut fits = |line: &mut String| {
        *line = shorten(std::mem::take(line), USAGE_LINE_BYTES_MAX);
        // Up to two bytes on disk say how long a line is.
        let left = budget.checked_sub(line.len() + 2);
        budget = left.unwrap_or(0);
        left.is_some()
    };
    // Of the frames the innermost tell most, of the log the last lines.
    let frames = usage.backtrace.iter_mut().position(|line| !fits(line)).unwrap_or(usage.backtrace.len());
    usage.backtrace.truncate(frames);
    let lines = usage.log.iter_mut().rposition(|line| !fits(line)).map_or(0, |last| last + 1);
    usage.log.drain(..lines);
    let report = record::encode_here(&usage)?;
    if record.usages == 0 && report.len() <= record.room() {
        record.first_report = Some(Inline(report));
    } else {
        writes.sealed(&keys::usage_key(record.job.id, record.usages), &report)?;
    }
    if let Some(oldest) = record.usages.checked_sub(USAGE_KEPT as u32) {
        remove_report(writes, record, oldest);
    }
    record.usages += 1;
    Ok(())
}

pub(super) fn remove_report(writes: &mut Writes, record: &mut Record, number: u32) {
    if number > 0 || record.first_report.take().is_none() {
        writes.remove(&keys::usage_key(record.job.id, number));
    }
}
