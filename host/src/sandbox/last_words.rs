//! What a guest wrote last before it was brought to an abrupt end: a panic, an abort or an uncaught exception says there what happened, and
//! the trap itself does not.

use crate::job::{Ended, Failure, shorten};
use crate::running::LogLine;

/// Lines that are told. A panic takes two, and the end of a traceback says most.
const LINES_MAX: usize = 10;
/// Bytes of them, so that there is room for the rest of the message.
const BYTES_MAX: usize = 600;

/// Adds the last words to the failure. `log` is as it stands in a usage report.
pub(super) fn add(ended: &mut Ended, log: &[String]) {
    let Ended::Failed(Failure { message, .. }, _) = ended else { return };
    let words = last_words(log);
    if !words.is_empty() {
        let room = Failure::MESSAGE_BYTES_MAX.saturating_sub(message.len());
        message.push_str(&shorten(format!("{}{}", Failure::LAST_WORDS, words.join("\n")), room));
    }
}

/// The end of what it wrote to its standard error or as an error; other lines of its log are about something else.
fn last_words(log: &[String]) -> Vec<String> {
    let mut room = BYTES_MAX;
    let lines = log.iter().rev().map(|line| LogLine::of(line, None));
    let words = lines.take_while(|line| matches!(line.level, None | Some("error"))).map(|line| line.message);
    let told = words.filter(|line| !line.trim().is_empty() && !is_vain(line)).take(LINES_MAX).map_while(|line| {
        let line = shorten(line, BYTES_MAX / 2);
        room = room.checked_sub(line.len() + 1)?;
        Some(line)
    });
    let mut told: Vec<String> = told.collect();
    told.reverse();
    told
}

/// What Rust's panics say of a variable that has no effect in a guest: where it was is in the usage report anyway.
fn is_vain(line: &str) -> bool {
    line.starts_with("note: ") && line.contains("RUST_BACKTRACE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Code;

    fn told(log: &[&str]) -> String {
        let mut ended = Ended::Failed(Failure::new(Code::Trap, "it trapped"), None);
        add(&mut ended, &log.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        let Ended::Failed(failure, _) = ended else { panic!("it failed") };
        failure.message
    }

    #[test]
    fn a_panic_is_told_without_what_has_no_effect() {
        let vain = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
        let log = ["INFO page 1", "", "thread 'main' panicked at src/lib.rs:3:5:", "no page", vain];
        assert_eq!(told(&log), "it trapped; it wrote last:\nthread 'main' panicked at src/lib.rs:3:5:\nno page");
        assert_eq!(told(&["ERROR Error: no page", "at run"]), "it trapped; it wrote last:\nError: no page\nat run");
    }

    #[test]
    fn lines_about_something_else_are_not_told() {
        assert_eq!(told(&["half", "INFO page 1"]), "it trapped");
        assert_eq!(told(&[]), "it trapped");
    }

    #[test]
    fn of_many_and_long_lines_the_last_are_told() {
        let numbered: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
        let message = told(&numbered.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            message.contains("line 40\n") && message.ends_with("line 49") && !message.contains("line 39"),
            "{message}"
        );
        let long = "ü".repeat(500);
        let message = told(&[&long, &long, "the end"]);
        assert!(message.len() <= Failure::MESSAGE_BYTES_MAX && message.ends_with("…\nthe end"), "{message}");
    }
}
