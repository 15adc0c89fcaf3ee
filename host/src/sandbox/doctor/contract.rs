//! The contract in `wit/`, and how a function differs from what it is there.

use wit_parser::{Function, InterfaceId, Resolve, WorldId, WorldItem, WorldKey};

use super::Problem;
use super::signature::{Signature, differences};

/// The published contract that is compiled in, and the version in its name.
const CONTRACT: [(&str, &str); 2] = [
    ("io.wit", include_str!("../../../../wit/0.1.0/deps/io.wit")),
    ("job.wit", include_str!("../../../../wit/0.1.0/job.wit")),
];
/// The versions of the contract that this host serves.
pub(super) const CONTRACT_VERSION: &str = "0.1.0";
/// The contract this host serves, parsed.
pub(super) struct Contract {
    pub(super) resolve: Resolve,
    world: WorldId,
}

pub(super) fn contract() -> Contract {
    let mut resolve = Resolve::default();
    let packages =
        CONTRACT.map(|(name, text)| resolve.push_str(name, text).expect("the contract is valid; tests parse it"));
    let world = resolve.select_world(&packages[1..], Some("plugin")).expect("the contract has this world");
    Contract { resolve, world }
}

impl Contract {
    pub(super) fn interface(&self, name: &str) -> Option<InterfaceId> {
        let package = self.resolve.worlds[self.world].package?;
        self.resolve.packages[package].interfaces.get(name).copied()
    }

    pub(super) fn export(&self, name: &str) -> Option<&Function> {
        match self.resolve.worlds[self.world].exports.get(&WorldKey::Name(name.to_owned()))? {
            WorldItem::Function(function) => Some(function),
            _ => None,
        }
    }
}

/// Says how a function differs from what is expected of it, if it does.
pub(super) fn mismatch(
    about: String,
    expected: (&Resolve, &Function),
    found: (&Resolve, &Function),
) -> Option<Problem> {
    let (wanted, given) = (Signature::of(expected.0, expected.1), Signature::of(found.0, found.1));
    let problem = Problem::new(about, "Build it against wit/0.1.0 as it is in this version");
    if wanted.to_string() != given.to_string() {
        return Some(problem.expected(wanted.to_string()).found(given.to_string()));
    }
    let (name, wanted, given) = differences(&wanted, &given)?;
    Some(problem.expected(format!("a type {name} = {wanted}")).found(given))
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
