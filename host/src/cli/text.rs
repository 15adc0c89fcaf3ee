//! Words and columns for people.

use std::borrow::Cow;
use std::time::Duration;

use console::{Style, measure_text_width, pad_str};

use crate::client::JobView;
use crate::time::Time;

/// Text of others as it may be shown on a terminal: without what would move the cursor or change its colours.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || c == '\t';
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if is_harmless(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// The same for text of several lines: each but the first begins with this indent.
pub(super) fn paragraph(text: &str, indent: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(printable).collect();
    lines.join(&format!("\n{indent}"))
}

/// The same for where there is room for one line only.
pub(super) fn first_line(text: &str) -> String {
    let mut lines = text.trim_end().lines();
    let first = printable(lines.next().unwrap_or_default()).into_owned();
    if lines.next().is_some() { first + " …" } else { first }
}

/// What a host says to its clients, with commands in place of calls of its API.
pub(super) fn as_commands(said: &str) -> Cow<'_, str> {
    const WHOLE: [(&str, &str); 4] = [
        ("GET /v1/kinds lists", "`dropforge kinds` lists"),
        ("GET /v1/plugins says", "`dropforge plugins` says"),
        ("(args, or arg=… in the query)", "(--arg)"),
        ("by Prefer: wait", "to wait"),
    ];
    let mut said = Cow::Borrowed(said);
    for (call, command) in WHOLE {
        if said.contains(call) {
            said = said.replace(call, command).into();
        }
    }
    if let Some((before, rest)) = said.split_once("POST /v1/kinds/")
        && let Some((kind, after)) = rest.split_once("/resume")
    {
        said = format!("{before}`dropforge resume {kind}`{after}").into();
    }
    said
}

/// A number of things, one of which is called so.
pub(super) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A state in its colour.
pub(super) fn painted(state: &str) -> String {
    let style = match state {
        "succeeded" | "serving" => Style::new().green(),
        "failed" | "rejected" => Style::new().red(),
        "running" | "compiling" => Style::new().cyan(),
        "cancelled" => Style::new().dim(),
        _ => Style::new().yellow(),
    };
    style.apply_to(printable(state)).to_string()
}

/// Rows under a heading, each column as wide as it has to be. The last may be of any length.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).flat_map(|cell| cell.lines()).map(measure_text_width);
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    // More lines of the last cell go below its first.
    let indent = " ".repeat(widths.iter().rev().skip(1).map(|width| width + 2).sum());
    let line = |cells: &[String]| {
        let padded =
            cells.iter().zip(&widths).map(|(cell, width)| pad_str(cell, *width, console::Alignment::Left, None));
        let line = padded.collect::<Vec<_>>().join("  ");
        line.trim_end().replace('\n', &format!("\n{indent}")) + "\n"
    };
    let heading: Vec<String> = heading.iter().map(|name| Style::new().bold().apply_to(name).to_string()).collect();
    std::iter::once(line(&heading)).chain(rows.iter().map(|row| line(row))).collect()
}

/// A duration with as many digits as one wants to read.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A size with as many digits as one wants to read.
pub(super) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Fuel with as many digits as one wants to read.
pub(super) fn fuel(fuel: u64) -> String {
    match fuel {
        0..1_000 => format!("{fuel} fuel"),
        1_000..1_000_000 => format!("{:.1} k fuel", fuel as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M fuel", fuel as f64 / 1e6),
        _ => format!("{:.1} G fuel", fuel as f64 / 1e9),
    }
}

/// How long a job ran, or has been running.
pub(super) fn run_time(job: &JobView) -> String {
    match (job.started_at, job.finished_at) {
        (Some(started), Some(finished)) => duration(finished.since(started)),
        (Some(started), None) => duration(Time::now().since(started)),
        (None, _) => String::new(),
    }
}

/// How far a job is, in a few words.
pub(super) fn progress(job: &JobView) -> String {
    let message = printable(&job.progress.message);
    match job.progress.fraction {
        fraction if fraction > 0.0 => format!("{:.0} % {message}", fraction * 100.0),
        _ => message.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_command_the_terminal() {
        assert_eq!(printable("page 7\tof 17"), "page 7\tof 17");
        assert_eq!(printable("\u{1b}[2Jgone\r\n\u{9b}"), "\\u{1b}[2Jgone\\r\\n\\u{9b}");
    }

    #[test]
    fn text_of_several_lines_stays_in_lines() {
        assert_eq!(paragraph("one\n  ^\x1b\n", "  "), "one\n    ^\\u{1b}");
        let rows = [vec!["a".to_owned(), "b\nc".to_owned()]];
        assert_eq!(console::strip_ansi_codes(&table(&["ONE", "TWO"], &rows)), "ONE  TWO\na    b\n     c\n");
    }

    #[test]
    fn calls_of_the_api_are_commands_here() {
        assert_eq!(
            as_commands("POST /v1/kinds/a-b/resume lets its jobs start."),
            "`dropforge resume a-b` lets its jobs start."
        );
        assert_eq!(as_commands("; GET /v1/kinds lists those"), "; `dropforge kinds` lists those");
        assert_eq!(as_commands("POST /v1/kinds/a"), "POST /v1/kinds/a");
    }

    #[test]
    fn small_amounts_are_not_nothing() {
        assert_eq!([fuel(0), fuel(999), fuel(1_500)], ["0 fuel", "999 fuel", "1.5 k fuel"]);
        assert_eq!([fuel(2_500_000), fuel(29_600_000_000)], ["2.5 M fuel", "29.6 G fuel"]);
    }

    #[test]
    fn durations_have_two_units_at_the_most() {
        let of = |ms| duration(Duration::from_millis(ms));
        assert_eq!([of(0), of(999), of(1_500), of(59_940)], ["0 ms", "999 ms", "1.5 s", "59.9 s"]);
        assert_eq!([of(61_000), of(3_720_000), of(90_000_000)], ["1 m 01 s", "1 h 02 m", "1 d 01 h"]);
    }
}
