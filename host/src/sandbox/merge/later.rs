//! Takes instances from further behind, where nobody can tell.
//!
//! What comes last of a linked program only writes to the table of the others, and imports all that it writes. It comes after what needs the
//! others' memory, but does not need that.

use std::collections::HashSet;

use wasmparser::{ComponentAlias, DataKind, ElementKind, ExternalKind};

use super::Result;
use super::part::Part;
use super::plan::{Plan, Source, Sources, Within, runs_code};
use super::read::{CoreInstance, Item, MEMORIES, TABLES, Whole, makes_core_function};

impl<'a> Plan<'a> {
    /// Takes instances that write nowhere where one that stays before them does, up to one that cannot be looked through, or to what may
    /// run code.
    pub(super) fn take_later(&mut self, whole: &Whole<'a>) -> Result<()> {
        let functions = self.functions_before(whole);
        let is_there = |source: &Source| !matches!(source, Source::Outside(function) if *function >= functions);
        let mut written = HashSet::new();
        let mut instances = (self.instances_before..).zip(&whole.instances[self.instances_before as usize..]);
        for item in whole.items[self.at..].iter().take_while(|item| !runs_code(item)) {
            let Item::Instance = item else { continue };
            let Some((number, CoreInstance::Instantiated { module, args })) = instances.next() else { continue };
            let Some(part) = Part::of(whole.modules[*module as usize])? else { break };
            let Some(sources) = self.sources(whole, &part, args)? else { break };
            let writes = writes(&part, &sources)?;
            if !self.modules.contains(module)
                && sources.iter().flatten().all(is_there)
                && writes.is_disjoint(&written)
                && self.has_room_for(&part)
            {
                self.take(number, *module, part, sources);
            } else {
                written.extend(writes);
            }
        }
        Ok(())
    }

    /// How many core functions the component has before the merged module is instantiated.
    fn functions_before(&self, whole: &Whole<'a>) -> u32 {
        let is_one = |item: &&Item| match item {
            Item::Canonical(function) => makes_core_function(function),
            Item::Alias(ComponentAlias::CoreInstanceExport { kind, .. }) => *kind == ExternalKind::Func,
            _ => false,
        };
        whole.items[..self.at].iter().filter(is_one).count() as u32
    }
}

/// The tables and memories of others that a module writes to when it is instantiated.
fn writes(part: &Part, sources: &Sources) -> Result<HashSet<Within>> {
    let mut targets = HashSet::new();
    for element in part.elements.clone().into_iter().flatten() {
        if let ElementKind::Active { table_index, .. } = element?.kind {
            targets.insert((TABLES, table_index.unwrap_or(0)));
        }
    }
    for data in part.data.clone().into_iter().flatten() {
        if let DataKind::Active { memory_index, .. } = data?.kind {
            targets.insert((MEMORIES, memory_index));
        }
    }
    let source = |(kind, index): (usize, u32)| match sources[kind].get(index as usize) {
        Some(Source::Part(within)) => Some(*within),
        _ => None,
    };
    Ok(targets.into_iter().filter_map(source).collect())
}
