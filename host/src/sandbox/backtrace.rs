//! Where a guest was when it was stopped, in names its author knows.
//!
//! Names and lines come from the guest's file, so they are as hostile as the rest of it: each is read within limits.

use std::fmt::{self, Write};
use std::num::NonZeroUsize;

use wasmtime::{FrameInfo, WasmBacktrace};

/// Calls that are shown, the innermost first.
const LINES_MAX: usize = 20;
/// Calls that the engine looks at when a guest is stopped. A panic alone takes a dozen, which are not shown.
pub(super) const FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("more than none");
const LINE_BYTES_MAX: usize = 200;
/// Longer names are shown as they are. A short one can stand for one of any length.
const MANGLED_BYTES_MAX: usize = 1000;

/// How Rust and C libraries bring a guest to its end once it has called for that. Names that end in `:` stand for all within.
const MACHINERY: &[&str] = &[
    "core::panicking::",
    "std::panicking::",
    "std::sys::backtrace::",
    "std::sys::exit::",
    "std::sys::pal::wasi::",
    "std::process::abort",
    "std::process::exit",
    "std::alloc::rust_oom",
    "alloc::alloc::handle_alloc_error",
    "panic_abort::",
    "rust_begin_unwind",
    "rust_panic",
    "__rust_start_panic",
    "__rust_abort",
    "__rg_oom",
    "abort",
    "__assert_fail",
    "exit",
    "_Exit",
    "exit_exit",
    "__wasi_proc_exit",
    "proc_exit",
];

/// One line for each call, those that were compiled into their callers included: function, source file and line, as far as the guest's
/// file says. It begins with whoever called for the end: what a panic goes through after that is the same every time.
pub(super) fn lines(backtrace: &WasmBacktrace) -> Vec<String> {
    without_machinery(backtrace.frames().iter().flat_map(frame))
}

/// Leaves out the machinery that the calls begin with, unless there is nothing else.
fn without_machinery(calls: impl Iterator<Item = String>) -> Vec<String> {
    let mut calls = calls.peekable();
    let mut machinery = Vec::new();
    while let Some(call) = calls.next_if(|call| is_machinery(call)) {
        machinery.push(call);
    }
    if calls.peek().is_none() {
        machinery.truncate(LINES_MAX);
        return machinery;
    }
    calls.take(LINES_MAX).collect()
}

fn is_machinery(call: &str) -> bool {
    let name = call.split_once(" at ").map_or(call, |(name, _)| name);
    // Symbols that the compiler itself makes have stood in a crate of this name for a while.
    let name = name.strip_prefix("__rustc::").unwrap_or(name);
    MACHINERY.iter().any(|known| if known.ends_with(':') { name.starts_with(known) } else { name == *known })
}

fn frame(frame: &FrameInfo) -> Vec<String> {
    let function = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), readable);
    let symbols = &frame.symbols()[..frame.symbols().len().min(LINES_MAX)];
    let calls: Vec<String> = symbols
        .iter()
        .enumerate()
        .filter_map(|(place, symbol)| {
            let (file, line) = (symbol.file()?, symbol.line()?);
            // The last one is the function itself, whose own name says more.
            let inlined = symbol.name().filter(|_| place + 1 < symbols.len()).map(readable);
            let name = inlined.as_ref().unwrap_or(&function);
            Some(within_limit(|text| write!(text, "{name} at {file}:{line}")))
        })
        .collect();
    if calls.is_empty() { vec![function] } else { calls }
}

/// The name as it stands in the source, if it is one that Rust or C++ has encoded.
fn readable(name: &str) -> String {
    if name.len() <= MANGLED_BYTES_MAX {
        if let Ok(rust) = rustc_demangle::try_demangle(name) {
            // The other form ends with a hash that says nothing.
            return within_limit(|text| write!(text, "{rust:#}"));
        }
        if let Ok(cpp) = cpp_demangle::Symbol::new(name) {
            let decoded = within_limit(|text| cpp.structured_demangle(text, &cpp_demangle::DemangleOptions::default()));
            if !decoded.is_empty() {
                return decoded;
            }
        }
    }
    within_limit(|text| text.write_str(name))
}

fn within_limit(write: impl FnOnce(&mut Short) -> fmt::Result) -> String {
    let mut text = Short(String::new());
    // An error says that there would be more than fits.
    let _ = write(&mut text);
    text.0
}

/// Takes text up to the limit and then stops whoever writes it.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let room = LINE_BYTES_MAX - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() <= room { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_their_authors_wrote_them() {
        for (mangled, name) in [
            ("_ZN5lines6divide17hf3ef2b7257ebaa25E", "lines::divide"),
            ("_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"),
            ("_ZN3Foo3barEi", "Foo::bar(int)"),
            ("_start", "_start"),
            ("wasi:cli/run@0.2.12#run", "wasi:cli/run@0.2.12#run"),
            ("a\nb\u{1b}[31m", "a\u{fffd}b\u{fffd}[31m"),
        ] {
            assert_eq!(readable(mangled), name, "{mangled}");
        }
    }

    #[test]
    fn a_backtrace_begins_with_whoever_called_for_the_end() {
        let shown = |calls: &[&str]| without_machinery(calls.iter().map(|call| (*call).to_owned()));
        for machinery in [
            &["abort", "std::process::abort"][..],
            &[
                "__rustc::__rust_start_panic",
                "std::panicking::panic_handler::{closure#0}",
                "core::panicking::panic_fmt",
            ],
            &[
                "rust_panic at /rustc/1/library/std/src/panicking.rs:886",
                "core::panicking::panic_const::panic_const_div_by_zero",
            ],
            &["_Exit", "exit", "std::sys::exit::exit", "std::process::exit"],
            &[],
        ] {
            let own = [
                "core::option::unwrap_failed",
                "mine::count at src/lib.rs:7",
                "std::sys::backtrace::__rust_begin_short_backtrace",
            ];
            assert_eq!(shown(&[machinery, &own].concat()), own, "{machinery:?}");
            assert_eq!(shown(machinery), machinery);
        }
        // What only sounds like it is somebody's own.
        for own in ["abort_all", "core::panicking", "mine::abort", "exit at_last"] {
            assert_eq!(shown(&["abort", own]), [own]);
        }
        let deep = vec!["f"; FRAMES_MAX.get()];
        assert_eq!(shown(&deep).len(), LINES_MAX);
        assert_eq!(shown(&vec!["abort"; FRAMES_MAX.get()]).len(), LINES_MAX);
    }

    /// Guards against names that double with every letter.
    #[test]
    fn a_name_that_unfolds_without_end_is_cut() {
        // f(A<T>, A<A<T>…>): each substitution names all that was there before.
        let unfolding = |depth: usize| {
            let digits: Vec<char> = ('0'..='9').chain('A'..='Z').collect();
            let pairs: String = (0..depth).map(|n| format!("1aIS{0}_S{0}_E", digits[n])).collect();
            format!("_Z1f1aIiiE{pairs}")
        };
        for depth in 1..30 {
            assert!(readable(&unfolding(depth)).len() <= LINE_BYTES_MAX);
        }
        assert_eq!(readable(&"x".repeat(5000)).len(), LINE_BYTES_MAX);
        assert!(readable(&"ß".repeat(500)).len() <= LINE_BYTES_MAX);
    }
}
