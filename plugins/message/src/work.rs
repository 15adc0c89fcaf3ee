//! Keeps a core busy for a given time.

use core::hint::black_box;
use core::time::Duration;

/// Rounds of arithmetic between two looks at the clock: some tenths of a millisecond, so the time is kept well and
/// nearly all of it goes into computing rather than into asking for the time.
const ROUNDS: u32 = 100_000;

/// How often progress is told.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Computes until `seconds` have passed on a clock, which says for how long it has run, telling the seconds done so far now and then.
///
/// A worker that is shared with other jobs computes less in that time, but never takes longer.
pub(crate) fn compute_for(seconds: f64, clock: impl Fn() -> Duration, mut report: impl FnMut(f64)) {
    if seconds <= 0.0 {
        return; // The no-op must not even ask for the time.
    }
    let start = clock();
    let end = Duration::from_secs_f64(seconds);
    let mut report_at = Duration::ZERO;
    let mut state = 0x9e37_79b9_7f4a_7c15;
    loop {
        let elapsed = clock().saturating_sub(start);
        if elapsed >= end {
            return;
        }
        if elapsed >= report_at {
            report(elapsed.as_secs_f64());
            report_at = elapsed + REPORT_EVERY;
        }
        state = black_box(scramble(state));
    }
}

/// A chain in which each step needs the one before, so that no compiler can shorten it.
fn scramble(mut state: u64) -> u64 {
    for _ in 0..ROUNDS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn takes_the_asked_time_and_reports_about_ten_times_a_second() {
        let start = Instant::now();
        let mut reports = Vec::new();
        compute_for(0.35, || start.elapsed(), |done| reports.push(done));
        let taken = start.elapsed().as_secs_f64();
        assert!((0.35..1.0).contains(&taken), "took {taken} s");
        assert!((2..=4).contains(&reports.len()), "reported {reports:?}");
        assert!(reports.is_sorted());
    }

    #[test]
    fn nothing_asked_is_nothing_done() {
        compute_for(0.0, || panic!("nobody asks for the time"), |_| panic!("there is nothing to report"));
    }
}
