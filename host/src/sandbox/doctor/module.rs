//! Core modules: programs of WASI preview 1 can be used, and those that carry a world, which become components of it. Everything
//! else was built for something else.

use std::collections::BTreeSet;

use wasmparser::{ExternalKind, MemoryType, Parser, Payload};

use super::{Examination, Needs, Problem, Shape};
use crate::sandbox::NotAPlugin;
use crate::sandbox::adapt::{Adapted, adapt};

const PREVIEW_1: &str = "wasi_snapshot_preview1";
const AS_PROGRAM: &str =
    "Build a program with a main function for wasm32-wasip2 or wasm32-wasip1, or implement wit/0.1.0";

/// What a module asks for and offers.
#[derive(Default)]
struct Module {
    imports: Vec<(String, String)>,
    exported_functions: BTreeSet<String>,
    embeds_world: bool,
    memories: Vec<MemoryType>,
}

pub(super) fn examine(bytes: &[u8]) -> Examination {
    let module = match read(bytes) {
        Ok(module) => module,
        Err(error) => {
            return Examination::unusable(Problem::new(
                format!("The core WebAssembly module is not valid: {error}"),
                "Copy it again if it was cut short, or build it with current tools",
            ));
        }
    };
    if let wanted @ Adapted::World { .. } = module.wanted() {
        return match adapt(bytes, wanted) {
            Ok(adapted) => super::component::examine(&adapted),
            Err(NotAPlugin(reason)) => Examination::unusable(Problem::new(
                reason,
                "Link bindings, libraries and the object file with the type of the world from the same tools",
            )),
        };
    }
    let from = |name: &str| module.imports.iter().any(|(from, _)| from == name);
    let is_command = from(PREVIEW_1) && module.exported_functions.contains("_start");
    if !is_command {
        return Examination::unusable(module.not_a_command());
    }
    let mut others = module.imports.iter().filter(|(from, _)| from != PREVIEW_1);
    let problems = others.next().map(|(from, name)| {
        let advice = match from.as_str() {
            "env" if name == "memory" => "Shared memory and threads are not offered: build it without threads",
            "wasi" => "Threads are not offered: build it without threads",
            _ => "Only functions of WASI preview 1 are offered: link everything else into the program",
        };
        let expected = format!("imports of {PREVIEW_1} only");
        Problem::new(format!("It imports `{name}` of `{from}`"), advice).expected(expected)
    });
    let problems = problems.into_iter().chain(module.memory_problem()).collect();
    let names = module.imports.iter().map(|(_, name)| name.as_str());
    Examination { shape: Some(Shape::CommandModule), needs: Needs::of_functions(names), problems }
}

/// What a module is to become before it is compiled.
pub(in crate::sandbox) fn wanted_of(bytes: &[u8]) -> Adapted {
    // What cannot be read cannot be wrapped either, and then the reason is said.
    read(bytes).unwrap_or_default().wanted()
}

fn read(bytes: &[u8]) -> Result<Module, wasmparser::BinaryReaderError> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    module.imports.push((import.module.to_owned(), import.name.to_owned()));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if matches!(export.kind, ExternalKind::Func | ExternalKind::FuncExact) {
                        module.exported_functions.insert(export.name.to_owned());
                    }
                }
            }
            Payload::MemorySection(memories) => {
                // The first two tell all there is to tell.
                module.memories = memories.into_iter().take(2).collect::<Result<_, _>>()?;
            }
            Payload::CustomSection(section) => module.embeds_world |= section.name().starts_with("component-type"),
            _ => {}
        }
    }
    Ok(module)
}

impl Module {
    /// One with a world is to be of it; any other can only be a program.
    fn wanted(&self) -> Adapted {
        let preview_1 = self.imports.iter().any(|(from, _)| from == PREVIEW_1);
        if self.embeds_world { Adapted::World { preview_1 } } else { Adapted::Program }
    }

    fn memory_problem(&self) -> Option<Problem> {
        let has = |what: fn(&MemoryType) -> bool| self.memories.iter().any(what);
        let (about, advice) = if has(|memory| memory.shared) {
            ("Its memory is shared between threads", "Threads are not offered: build it without threads")
        } else if has(|memory| memory.memory64) {
            ("Its memory has addresses of 64 bits (memory64)", "Build it for 32 bits: wasm32-wasip2 or wasm32-wasip1")
        } else if self.memories.len() > 1 {
            ("It has several memories (multi-memory)", "Build it with one memory, which is what compilers do")
        } else {
            return None;
        };
        Some(Problem::new(about, advice))
    }

    /// For whom it was built instead, as far as that can be told.
    fn not_a_command(&self) -> Problem {
        let imports = |name: &str| self.imports.iter().any(|(from, _)| from.starts_with(name));
        let plain = "This is a core WebAssembly module";
        if imports("wasi_unstable") {
            Problem::new(
                format!("{plain} for WASI preview 0 (`wasi_unstable`), which no current tool makes"),
                "Build it again with current tools, for wasm32-wasip2 or wasm32-wasip1",
            )
        } else if imports("__wbindgen") || imports("wbg") || imports("./") {
            Problem::new(format!("{plain} for JavaScript (wasm-bindgen)"), AS_PROGRAM)
        } else if imports("gojs") || imports("go") && self.imports.iter().any(|(_, name)| name.starts_with("runtime."))
        {
            Problem::new(format!("{plain} for JavaScript (GOOS=js)"), "Build it with GOOS=wasip1 GOARCH=wasm")
        } else if self
            .imports
            .iter()
            .any(|(_, name)| name.starts_with("emscripten_") || name.starts_with("__emscripten"))
        {
            Problem::new(
                format!("{plain} for JavaScript (Emscripten)"),
                "Build it with -sSTANDALONE_WASM, or with wasi-sdk",
            )
        } else if imports(PREVIEW_1) {
            Problem::new(format!("{plain} of WASI preview 1, but a library: it has no main function"), AS_PROGRAM)
                .expected("an exported function `_start`")
                .found(self.exports())
        } else if self.exported_functions.contains("_start") {
            Problem::new(
                format!(
                    "{plain} with a main function (`_start`) that calls nothing of WASI, so it could neither read its input nor write a result"
                ),
                "Build it for wasm32-wasip2 or wasm32-wasip1, with the standard library of its language: cargo build --target wasm32-wasip2, \
                 or clang --target=wasm32-wasip1 with the sysroot of wasi-sdk and without -nostdlib",
            )
            .expected(format!("a program that imports {PREVIEW_1} and exports `_start`"))
            .found(format!("{}, and {}", self.exports(), self.imports()))
        } else {
            Problem::new(
                format!("{plain} for no system at all, such as wasm32-unknown-unknown makes"),
                "Build it for the target wasm32-wasip2 (cargo build --target wasm32-wasip2): a program, or a plugin of wit/0.1.0",
            )
            .expected(format!("a component, or a program that imports {PREVIEW_1} and exports `_start`"))
            .found(self.exports())
        }
    }

    fn imports(&self) -> String {
        let names: Vec<&str> = self.imports.iter().map(|(from, _)| from.as_str()).take(10).collect();
        if names.is_empty() { "no imports".to_owned() } else { format!("imports of {}", names.join(", ")) }
    }

    fn exports(&self) -> String {
        let names: Vec<&str> = self.exported_functions.iter().map(String::as_str).take(10).collect();
        if names.is_empty() { "no exported functions".to_owned() } else { format!("exports {}", names.join(", ")) }
    }
}
