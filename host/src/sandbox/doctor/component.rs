//! Components: what they are by their exports, and which of their imports and exports do not fit what this host offers.

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{InterfaceId, Resolve, WorldId, WorldItem, WorldKey};

use super::contract::{CONTRACT_VERSION, Contract, contract, mismatch};
use super::signature::Signature;
use super::{Examination, Needs, Problem, Shape};

/// Packages of WASI 0.2 that are linked.
const WASI_OFFERED: [&str; 7] =
    ["wasi:io", "wasi:clocks", "wasi:random", "wasi:cli", "wasi:filesystem", "wasi:sockets", "wasi:http"];
/// More than so many are not listed one by one.
const PROBLEMS_MAX: usize = 20;

/// Looks at a component.
pub(super) fn examine(bytes: &[u8]) -> Examination {
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
