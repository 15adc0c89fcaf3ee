//! What a file may want to reach, told from what it imports. Toolchains import more than a program uses.

use std::collections::BTreeSet;

use serde::Serialize;

/// The imports that are of use only with a grant of the operator, by what they reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Requests and connections.
    pub network: BTreeSet<String>,
    /// Folders.
    pub files: BTreeSet<String>,
    /// Environment variables.
    pub environment: BTreeSet<String>,
}

impl Needs {
    /// Of a component, told from the names of the interfaces it imports.
    pub(super) fn of_interfaces(names: impl Iterator<Item = String>) -> Self {
        let mut needs = Self::default();
        for name in names {
            let path = name.split('@').next().unwrap_or_default();
            match path {
                "wasi:cli/environment" => drop(needs.environment.insert(name)),
                "wasi:filesystem/types" | "wasi:filesystem/preopens" => drop(needs.files.insert(name)),
                _ if path.starts_with("wasi:sockets/") || path == "wasi:http/outgoing-handler" => {
                    needs.network.insert(name);
                }
                _ => {}
            }
        }
        needs
    }

    /// Of a module, told from the functions of preview 1 it imports.
    pub(super) fn of_functions<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut needs = Self::default();
        for name in names {
            let kept = name.to_owned();
            match name {
                "environ_get" => drop(needs.environment.insert(kept)),
                "path_open" => drop(needs.files.insert(kept)),
                _ if name.starts_with("sock_") => drop(needs.network.insert(kept)),
                _ => {}
            }
        }
        needs
    }

    /// For each, what it is, the imports that tell, and what in `NAME.toml` grants it.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, &BTreeSet<String>, &'static str)> {
        let all = [
            ("network", &self.network, "[[http]] or [[tcp]]"),
            ("files", &self.files, "[[folders]], or scratch = true for a command"),
            ("environment", &self.environment, "[environment] or [secrets]"),
        ];
        all.into_iter().filter(|(_, imports, _)| !imports.is_empty())
    }
}
