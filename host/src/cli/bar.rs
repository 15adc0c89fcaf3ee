//! Bars for what takes a while, on terminals.

use indicatif::{ProgressBar, ProgressStyle};

use super::text::printable;

/// Files that take no time need no bar.
const BAR_FROM_BYTES: u64 = 4 << 20;
/// Steps of a whole job.
const STEPS: u64 = 1000;

/// A bar for how far a job is.
pub(super) fn job_bar() -> ProgressBar {
    // The template is a constant that the library has accepted before.
    let style = ProgressStyle::with_template("{prefix:10} [{bar:40}] {percent:>3} % {elapsed:>5}  {wide_msg}");
    let bar = ProgressBar::new(STEPS);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// Shows how far it is.
pub(super) fn show(bar: &ProgressBar, fraction: f64, message: &str) {
    bar.set_position((fraction.clamp(0.0, 1.0) * STEPS as f64) as u64);
    bar.set_message(printable(message).into_owned());
}

/// Takes the bar away, full if the job has done what it was to do: not every plugin says so itself.
pub(super) fn end(bar: &ProgressBar, state: &str) {
    if state == "succeeded" {
        bar.set_prefix("succeeded");
        bar.set_message("");
        bar.finish();
    }
    bar.finish_and_clear();
}

/// A bar for bytes on their way.
pub(super) fn transfer_bar(size: u64, what: &'static str) -> ProgressBar {
    if size < BAR_FROM_BYTES {
        return ProgressBar::hidden();
    }
    // The template is a constant that the library has accepted before.
    let style = ProgressStyle::with_template("{prefix:10} [{bar:40}] {bytes} of {total_bytes}  {bytes_per_sec}");
    let bar = ProgressBar::new(size).with_prefix(what);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}
