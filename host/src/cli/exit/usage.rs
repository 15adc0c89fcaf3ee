//! What was typed and makes no sense, told like any other error: in words, or as JSON where that is asked for anywhere on the line.

use std::ffi::OsString;

use clap::Command;
use clap::error::ErrorKind;

use super::{Complaint, Exit, tell};

/// Says what was wrong with a line, or the help that was asked for, and answers how the command ends.
pub(in crate::cli) fn tell_usage(error: &clap::Error, typed: &[OsString], command: &mut Command) -> Exit {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Where the output is closed there is nobody to help.
        let _ = error.print();
        return if error.use_stderr() { Exit::Usage } else { Exit::Success };
    }
    let as_json = typed.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json");
    let complaint = complaint(&error.render().to_string(), typed, command);
    tell(&complaint.into(), as_json);
    Exit::Usage
}

/// The library's own text comes in paragraphs: what is wrong, tips, the usage, where to find more.
fn complaint(text: &str, typed: &[OsString], command: &mut Command) -> Complaint {
    let mut paragraphs = text.trim_end().split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let tips = paragraphs.flat_map(str::lines).filter_map(|line| line.trim_start().strip_prefix("tip: "));
    let mut advice: Vec<String> = tips.map(str::to_owned).collect();
    // It would name what variables and defaults have set as if that were needed.
    let (usage, name) = usage(typed, command);
    advice.push(format!("usage: {usage}; `{name} --help` says more"));
    Complaint::usage(first.trim_start_matches("error: "), advice.join("; "))
}

/// How the command is used that was typed, and its name.
fn usage(typed: &[OsString], command: &mut Command) -> (String, String) {
    command.build();
    let mut innermost = command;
    for word in typed.iter().skip(1).filter_map(|word| word.to_str()) {
        if innermost.find_subcommand(word).is_none() {
            break;
        }
        innermost = innermost.find_subcommand_mut(word).expect("it was just found");
    }
    let usage = innermost.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    (usage, innermost.get_bin_name().unwrap_or("dropforge").to_owned())
}
