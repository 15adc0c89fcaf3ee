//! Looks at a plugin file without compiling it, and says what it is, what is wrong with it, and what it may want to reach.
//!
//! The same findings are the reason of a rejected file and the answer of `dropforge check`. What this file passes, the
//! compiler and the linker still have to accept: they have the last word, this has the better words.

mod module;
mod needs;
mod signature;

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;
use wasmtime::Engine;
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{Function, InterfaceId, Resolve, WorldId, WorldItem, WorldKey};

pub(super) use self::module::wanted_of;
pub use self::needs::Needs;
use self::signature::{Signature, differences};

/// The published contract that is compiled in, and the version in its name.
const CONTRACT: [(&str, &str); 2] = [
    ("io.wit", include_str!("../../../wit/0.1.0/deps/io.wit")),
    ("job.wit", include_str!("../../../wit/0.1.0/job.wit")),
];
/// The versions of the contract that this host serves.
const CONTRACT_VERSION: &str = "0.1.0";
/// Packages of WASI 0.2 that are linked.
const WASI_OFFERED: [&str; 7] =
    ["wasi:io", "wasi:clocks", "wasi:random", "wasi:cli", "wasi:filesystem", "wasi:sockets", "wasi:http"];
/// More than so many are not listed one by one.
const PROBLEMS_MAX: usize = 20;

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
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => component(bytes),
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

fn component(bytes: &[u8]) -> Examination {
    let (resolve, world) = match decode(bytes) {
        Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => {
            return Examination::unusable(Problem::new(
                "This is a WIT package in binary form: types, and no program",
                "Drop the component that was built against it",
            ));
        }
        Err(error) => {
            return Examination::unusable(Problem::new(
                format!("The component is not valid: {error:#}"),
                "Copy it again if it was cut short, or build it with current tools",
            ));
        }
    };
    let found = Found { resolve: &resolve, world };
    let shape = found.shape();
    let mut problems = found.import_problems();
    match shape {
        Some(Shape::JobComponent) => problems.extend(found.export_problems()),
        Some(_) => {}
        None => problems.push(found.without_shape()),
    }
    problems.truncate(PROBLEMS_MAX);
    Examination { shape, needs: Needs::of_interfaces(found.imports().map(|(name, _)| name)), problems }
}

/// A decoded component.
struct Found<'a> {
    resolve: &'a Resolve,
    world: WorldId,
}

impl Found<'_> {
    /// Every imported interface, by its full name.
    fn imports(&self) -> impl Iterator<Item = (String, &WorldItem)> {
        let imports = self.resolve.worlds[self.world].imports.iter();
        // Types that exports speak of are imports in form only.
        let imports = imports.filter(|(_, item)| !matches!(item, WorldItem::Type { .. }));
        imports.map(|(key, item)| (self.name(key), item))
    }

    fn exports(&self) -> impl Iterator<Item = (String, &WorldItem)> {
        let exports = self.resolve.worlds[self.world].exports.iter();
        exports.map(|(key, item)| (self.name(key), item))
    }

    fn name(&self, key: &WorldKey) -> String {
        match key {
            WorldKey::Name(name) => name.clone(),
            WorldKey::Interface(id) => {
                self.resolve.id_of(*id).unwrap_or_else(|| "an interface without a name".to_owned())
            }
        }
    }

    fn shape(&self) -> Option<Shape> {
        let exports_job = self.exports().any(|(name, _)| name == "run" || name == "describe");
        let imports_job = self.imports().any(|(name, _)| name.starts_with("dropforge:job/"));
        if exports_job || imports_job {
            Some(Shape::JobComponent)
        } else if self.exports().any(|(name, _)| name.starts_with("wasi:cli/run@0.2.")) {
            Some(Shape::CommandComponent)
        } else {
            None
        }
    }

    fn without_shape(&self) -> Problem {
        let expected =
            "the functions `describe` and `run` of wit/0.1.0, or the interface wasi:cli/run@0.2 of a program";
        let names: Vec<String> = self.exports().map(|(name, _)| name).take(10).collect();
        let found = if names.is_empty() { "no exports at all".to_owned() } else { names.join(", ") };
        let advice = if names.iter().any(|name| name.starts_with("wasi:cli/run@")) {
            "It is a program for another version of WASI: build it for wasm32-wasip2, which is WASI 0.2"
        } else if names.iter().any(|name| name.starts_with("wasi:http/")) {
            "It is a server of HTTP requests. Here the host serves HTTP: implement the world dropforge:job/plugin, or write a \
             program that reads standard input"
        } else {
            "Implement the world dropforge:job/plugin of wit/0.1.0, or write a program with a main function"
        };
        Problem::new("The component's exports", advice).expected(expected).found(found)
    }

    fn import_problems(&self) -> Vec<Problem> {
        let contract = contract();
        let mut problems = Vec::new();
        for (name, item) in self.imports() {
            let (path, version) = name.split_once('@').unwrap_or((&name, ""));
            let (package, interface) = path.split_once('/').unwrap_or((path, ""));
            let about = format!("It imports {name}");
            match package {
                "dropforge:job" if version != CONTRACT_VERSION => problems.push(
                    Problem::new(about, "Build it against wit/0.1.0, the version of the contract that fits this host")
                        .expected(format!("dropforge:job@{CONTRACT_VERSION}"))
                        .found(format!("version {version}")),
                ),
                "dropforge:job" => problems.extend(self.contract_problems(&contract, interface, item)),
                _ if WASI_OFFERED.contains(&package) => problems.extend(wasi_version_problem(&about, version)),
                _ => problems.push(Problem::new(
                    about,
                    "This host does not offer it: build without what needs it. Offered are dropforge:job@0.1.0 and WASI 0.2",
                )),
            }
            if let WorldItem::Interface { id, .. } = item {
                problems.extend(self.async_problem(&name, *id));
            }
        }
        problems
    }

    /// Each function of an interface of the contract has to be there, with its type.
    fn contract_problems(&self, contract: &Contract, interface: &str, item: &WorldItem) -> Vec<Problem> {
        let WorldItem::Interface { id, .. } = item else { return Vec::new() };
        let Some(offered) = contract.interface(interface) else {
            let about = format!("It imports dropforge:job/{interface}@{CONTRACT_VERSION}");
            return vec![Problem::new(about, "The contract has no such interface; see wit/0.1.0")];
        };
        let offered = &contract.resolve.interfaces[offered].functions;
        let functions = self.resolve.interfaces[*id].functions.iter();
        functions
            .filter_map(|(name, function)| {
                let about = format!("It imports `{name}` of dropforge:job/{interface}@{CONTRACT_VERSION}");
                match offered.get(name) {
                    Some(expected) => mismatch(about, (&contract.resolve, expected), (self.resolve, function)),
                    None => {
                        let known: Vec<&str> = offered.keys().map(String::as_str).collect();
                        let advice = format!("Build it against wit/0.1.0. The interface offers {}", known.join(", "));
                        Some(Problem::new(about, advice).expected("a function of the contract"))
                    }
                }
            })
            .collect()
    }

    fn async_problem(&self, name: &str, id: InterfaceId) -> Option<Problem> {
        let function = self.resolve.interfaces[id].functions.values().find(|function| function.kind.is_async())?;
        Some(Problem::new(
            format!("It imports the asynchronous function `{}` of {name}", function.name),
            "Asynchronous functions of the component model are not offered: build for WASI 0.2",
        ))
    }

    fn export_problems(&self) -> Vec<Problem> {
        let contract = contract();
        let check = |name: &str| {
            let about = format!("Its export `{name}`");
            let expected = contract.export(name)?;
            let advice = "Implement the world dropforge:job/plugin of wit/0.1.0";
            match self.resolve.worlds[self.world].exports.get(&WorldKey::Name(name.to_owned())) {
                Some(WorldItem::Function(found)) => {
                    mismatch(about, (&contract.resolve, expected), (self.resolve, found))
                }
                Some(_) => {
                    let expected = Signature::of(&contract.resolve, expected).to_string();
                    Some(Problem::new(about, advice).expected(expected).found("something that is no function"))
                }
                None => {
                    let expected = Signature::of(&contract.resolve, expected).to_string();
                    Some(Problem::new(about, advice).expected(expected).found("no such export"))
                }
            }
        };
        ["describe", "run"].into_iter().filter_map(check).collect()
    }
}

fn wasi_version_problem(about: &str, version: &str) -> Option<Problem> {
    let advice = if version.starts_with("0.3.") {
        "It is built for WASI 0.3, which this host does not run: build it for wasm32-wasip2, which is WASI 0.2"
    } else if !version.starts_with("0.2.") || version.contains('-') {
        "It is built for a preview of WASI 0.2: build it with current tools, for wasm32-wasip2"
    } else {
        return None;
    };
    Some(Problem::new(about, advice).expected("version 0.2").found(format!("version {version}")))
}

/// Says how a function differs from what is expected of it, if it does.
fn mismatch(about: String, expected: (&Resolve, &Function), found: (&Resolve, &Function)) -> Option<Problem> {
    let (wanted, given) = (Signature::of(expected.0, expected.1), Signature::of(found.0, found.1));
    let problem = Problem::new(about, "Build it against wit/0.1.0 as it is in this version");
    if wanted.to_string() != given.to_string() {
        return Some(problem.expected(wanted.to_string()).found(given.to_string()));
    }
    let (name, wanted, given) = differences(&wanted, &given)?;
    Some(problem.expected(format!("a type {name} = {wanted}")).found(given))
}

/// The contract this host serves, parsed.
struct Contract {
    resolve: Resolve,
    world: WorldId,
}

fn contract() -> Contract {
    let mut resolve = Resolve::default();
    let packages =
        CONTRACT.map(|(name, text)| resolve.push_str(name, text).expect("the contract is valid; tests parse it"));
    let world = resolve.select_world(&packages[1..], Some("plugin")).expect("the contract has this world");
    Contract { resolve, world }
}

impl Contract {
    fn interface(&self, name: &str) -> Option<InterfaceId> {
        let package = self.resolve.worlds[self.world].package?;
        self.resolve.packages[package].interfaces.get(name).copied()
    }

    fn export(&self, name: &str) -> Option<&Function> {
        match self.resolve.worlds[self.world].exports.get(&WorldKey::Name(name.to_owned()))? {
            WorldItem::Function(function) => Some(function),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract with something changed in its text.
    fn changed(from: &str, to: &str) -> Contract {
        let mut resolve = Resolve::default();
        let packages = CONTRACT.map(|(name, text)| {
            resolve.push_str(name, &text.replace(from, to)).expect("the changed contract is valid")
        });
        let world = resolve.select_world(&packages[1..], Some("plugin")).expect("it has this world");
        Contract { resolve, world }
    }

    fn problem(contract: &Contract, name: &str) -> Option<Problem> {
        let expected = super::contract();
        let (wanted, given) = (expected.export(name).expect("there"), contract.export(name).expect("there"));
        mismatch(format!("Its export `{name}`"), (&expected.resolve, wanted), (&contract.resolve, given))
    }

    #[test]
    fn the_contract_fits_itself() {
        let same = changed("", "");
        assert_eq!((problem(&same, "run"), problem(&same, "describe")), (None, None));
    }

    #[test]
    fn a_type_that_differs_deep_inside_is_named_with_both_definitions() {
        let other = changed("attempt: u32", "attempt: u64");
        let problem = problem(&other, "run").expect("it differs");
        let (expected, found) = (problem.expected.expect("said"), problem.found.expect("said"));
        assert!(expected.starts_with("a type context = record {") && expected.contains("attempt: u32"), "{expected}");
        assert!(found.contains("attempt: u64"), "{found}");
    }
}
