//! Where a guest was when it was stopped, in names its author knows.
//!
//! Names and lines come from the guest's file, so they are as hostile as the rest of it: each is read within limits.

use std::fmt::{self, Write};

use wasmtime::{FrameInfo, WasmBacktrace};

/// Calls that are shown, the innermost first.
const LINES_MAX: usize = 20;
const LINE_BYTES_MAX: usize = 200;
/// Longer names are shown as they are. A short one can stand for one of any length.
const MANGLED_BYTES_MAX: usize = 1000;

/// One line for each call, those that were compiled into their callers included: function, source file and line, as far as the guest's
/// file says.
pub(super) fn lines(backtrace: &WasmBacktrace) -> Vec<String> {
    backtrace.frames().iter().flat_map(frame).take(LINES_MAX).collect()
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
