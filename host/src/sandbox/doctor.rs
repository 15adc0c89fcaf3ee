//! Looks at a plugin file without compiling it, and says what it is, what is wrong with it, and what it may want to reach.
//!
//! The same findings are the reason of a rejected file and the answer of `dropforge check`. What this file passes, the
//! compiler and the linker still have to accept: they have the last word, this has the better words.

mod component;
mod contract;
mod module;
mod needs;
mod signature;

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;
use wasmtime::Engine;

pub(super) use self::module::wanted_of;
pub use self::needs::Needs;

/// What a plugin file can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A component of the contract in `wit/`.
    JobComponent,
    /// A component that is a program: it exports `wasi:cli/run`.
    CommandComponent,
    /// A core module that is a program of WASI preview 1.
    CommandModule,
}

impl Shape {
    /// As it is called in sentences.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobComponent => "job component (dropforge:job@0.1.0)",
            Self::CommandComponent => "WASI command component (wasi:cli/run)",
            Self::CommandModule => "WASI preview 1 command module",
        }
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The import, the export, or the file itself.
    pub about: String,
    /// What was expected of it.
    pub expected: Option<String>,
    /// What is there instead.
    pub found: Option<String>,
    /// What to do.
    pub advice: String,
}

impl Problem {
    fn new(about: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { about: about.into(), expected: None, found: None, advice: advice.into() }
    }

    fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), ..self }
    }

    fn found(self, found: impl Into<String>) -> Self {
        Self { found: Some(found.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.about)?;
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => write!(f, ": expected {expected}, found {found}")?,
            (Some(expected), None) => write!(f, ": expected {expected}")?,
            (None, Some(found)) => write!(f, ": found {found}")?,
            (None, None) => {}
        }
        write!(f, ". {}", self.advice)
    }
}

/// What a look at a file has found.
#[derive(Debug, Default)]
pub struct Examination {
    /// What it is, if that can be told.
    pub shape: Option<Shape>,
    /// What it may want to reach.
    pub needs: Needs,
    /// Why it cannot be used; nothing, if it seems that it can.
    pub problems: Vec<Problem>,
}

impl Examination {
    fn unusable(problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }

    /// All that is wrong, in sentences.
    pub fn reason(&self) -> Option<String> {
        let sentences: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        (!sentences.is_empty()).then(|| sentences.join(". "))
    }
}

/// Looks at a file.
pub fn examine(bytes: &[u8]) -> Examination {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => component::examine(bytes),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => module::examine(bytes),
        [0, b'a', b's', b'm', version, _, layer, _, ..] => Examination::unusable(Problem::new(
            format!("This WebAssembly file has version {version} of layer {layer}, which this host does not know"),
            "Build it with current tools",
        )),
        [] => Examination::unusable(Problem::new("The file is empty", "Copy it again")),
        _ if Engine::detect_precompiled(bytes).is_some() => Examination::unusable(Problem::new(
            "This is machine code: WebAssembly compiled ahead of time (.cwasm)",
            "Drop the .wasm file it was made from; this host compiles it itself and keeps the result",
        )),
        // ELF, Mach-O for one processor and for several, PE.
        [0x7f, b'E', b'L', b'F', ..]
        | [0xcf, 0xfa, 0xed, 0xfe, ..]
        | [0xca, 0xfe, 0xba, 0xbe, ..]
        | [b'M', b'Z', ..] => Examination::unusable(Problem::new(
            "This is a program of an operating system, not WebAssembly",
            "Build it for the target wasm32-wasip2 (cargo build --target wasm32-wasip2)",
        )),
        _ => Examination::unusable(Problem::new(
            "This is not a WebAssembly file: it does not begin with \\0asm",
            "Build it for the target wasm32-wasip2 (cargo build --target wasm32-wasip2), and drop the .wasm file",
        )),
    }
}
