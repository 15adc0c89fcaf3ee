//! Which instances become one, and what the rest of the component needs of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use wasm_encoder::reencode::{Reencode, ReencodeComponent};
use wasm_encoder::{CanonicalFunctionSection, ComponentTypeSection};
use wasmparser::{ExternalKind, InstantiationArg, Payload};

use super::part::{self, Part, kind_of};
use super::read::{CoreInstance, CoreItem, Found, Item, KINDS, MEMORIES, TABLES, Whole, by_kind, kind_number};
use super::{Result, unclear};
use crate::sandbox::engine::{CORE_INSTANCES_PER_COMPONENT_MAX, TABLES_PER_MODULE_MAX};

/// What a part defines or imports: its kind, which part it is, and its index there.
pub(super) type Within = (usize, usize, u32);

/// What is made one.
#[derive(Default)]
pub(super) struct Plan<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Where each part's imports come from, by kind.
    pub(super) sources: Vec<Sources>,
    /// By instance, which part it is.
    pub(super) part_of: HashMap<u32, usize>,
    /// The modules that are parts.
    pub(super) modules: BTreeSet<u32>,
    /// Those of them that others are instances of as well.
    pub(super) kept: BTreeSet<u32>,
    /// Before which item of the component the merged module is instantiated.
    pub(super) at: usize,
    /// Core instances that the component has before that.
    pub(super) instances_before: u32,
    /// What the rest needs of parts.
    pub(super) exports: BTreeMap<Within, ExternalKind>,
    /// Bundles with something of a part that it instantiates modules with.
    pub(super) bundles: BTreeSet<u32>,
    /// Parts that it instantiates modules with, and the names that those need.
    pub(super) arguments: BTreeMap<u32, BTreeSet<&'a str>>,
}

pub(super) type Sources = [Vec<Source>; KINDS];

/// Where a part's import comes from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The earlier part that defines it.
    Part(Within),
    /// The component's function with this index.
    Outside(u32),
}

impl<'a> Plan<'a> {
    /// `None` if there are not two instances to be made one, or nobody needs them, or there are more than the engine takes.
    pub(super) fn of(whole: &Whole<'a>) -> Result<Option<Self>> {
        let is_of_module = |instance: &&CoreInstance| matches!(instance, CoreInstance::Instantiated { .. });
        if whole.instances.iter().filter(is_of_module).count() > CORE_INSTANCES_PER_COMPONENT_MAX as usize {
            return Ok(None);
        }
        let mut plan = Self::default();
        plan.take_first(whole)?;
        plan.take_later(whole)?;
        if plan.parts.len() < 2 || plan.at == whole.items.len() {
            return Ok(None);
        }
        plan.look_at_the_rest(whole)?;
        Ok(Some(plan))
    }

    /// Takes one instance after the other, up to one that cannot be taken, or to what needs one of them.
    fn take_first(&mut self, whole: &Whole<'a>) -> Result<()> {
        for (at, item) in whole.items.iter().enumerate() {
            let goes_on = match item {
                Item::Instance => self.takes_next(whole)?,
                item if runs_code(item) => self.parts.is_empty(),
                item => !self.is_needed_by(whole, item)?,
            };
            if !goes_on {
                self.at = at;
                return Ok(());
            }
        }
        self.at = whole.items.len();
        Ok(())
    }

    /// Takes the next instance, if it can be taken. Bundles wait for whoever needs them.
    fn takes_next(&mut self, whole: &Whole<'a>) -> Result<bool> {
        let number = self.instances_before;
        if let CoreInstance::Instantiated { module, args } = &whole.instances[number as usize] {
            // The same code twice would be compiled twice.
            if self.modules.contains(module) {
                return Ok(false);
            }
            let Some(part) = Part::of(whole.modules[*module as usize])? else { return Ok(false) };
            let Some(sources) = self.sources(whole, &part, args)? else { return Ok(false) };
            if !self.has_room_for(&part) {
                return Ok(false);
            }
            self.take(number, *module, part, sources);
        }
        self.instances_before += 1;
        Ok(true)
    }

    pub(super) fn take(&mut self, instance: u32, module: u32, part: Part<'a>, sources: Sources) {
        self.modules.insert(module);
        self.part_of.insert(instance, self.parts.len());
        self.parts.push(part);
        self.sources.push(sources);
    }

    /// Whether the engine takes so much in one module.
    pub(super) fn has_room_for(&self, part: &Part<'a>) -> bool {
        let all = |kind: usize| self.parts.iter().chain([part]).map(|part| part.defined()[kind]).sum::<u32>();
        all(MEMORIES) <= 1 && all(TABLES) <= TABLES_PER_MODULE_MAX
    }

    /// Where each import of a part comes from. `None` if something comes neither from a part nor is a function of the component's own.
    pub(super) fn sources(
        &self,
        whole: &Whole<'a>,
        part: &Part<'a>,
        args: &[InstantiationArg<'a>],
    ) -> Result<Option<Sources>> {
        let instances: HashMap<&str, u32> = args.iter().map(|arg| (arg.name, arg.index)).collect();
        let mut sources = Sources::default();
        for import in &part.imports {
            let Some(instance) = instances.get(import.module) else { return unclear("an argument is not there") };
            sources[kind_of(import.ty)].push(match whole.export(*instance, import.name)? {
                Found::Item(CoreItem { index, export: None }) => Source::Outside(index),
                found => match self.within(found.export())? {
                    Some((within, _)) => Source::Part(within),
                    None => return Ok(None),
                },
            });
        }
        Ok(Some(sources))
    }

    /// What an export of a module's instance is, if that is a part: where it is defined, or a function from outside imported.
    pub(super) fn within(&self, export: Option<(u32, &str)>) -> Result<Option<(Within, ExternalKind)>> {
        let Some((instance, name)) = export else { return Ok(None) };
        let Some(part) = self.part_of.get(&instance) else { return Ok(None) };
        let Some((kind, index)) = self.parts[*part].exports.get(name) else { return unclear("an export is not there") };
        let number = kind_number(*kind);
        Ok(Some(match self.sources[*part][number].get(*index as usize) {
            Some(Source::Part(within)) => (*within, *kind),
            _ => ((number, *part, *index), *kind),
        }))
    }

    /// Whether a bundle has something of a part.
    pub(super) fn is_of_parts(&self, bundle: &CoreInstance<'a>) -> bool {
        match bundle {
            CoreInstance::Bundle { by_name, .. } => by_name
                .values()
                .any(|item| item.export.is_some_and(|(instance, _)| self.part_of.contains_key(&instance))),
            CoreInstance::Instantiated { .. } => false,
        }
    }

    fn is_needed_by(&self, whole: &Whole<'a>, item: &Item<'a>) -> Result<bool> {
        for (kind, index) in uses(item)? {
            if self.within(whole.item(kind, index)?.export)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes what everything from there on needs. Aliases and bundles need nothing themselves.
    fn look_at_the_rest(&mut self, whole: &Whole<'a>) -> Result<()> {
        let mut instances = (self.instances_before..).zip(&whole.instances[self.instances_before as usize..]);
        for item in &whole.items[self.at..] {
            for (kind, index) in uses(item)? {
                self.need(whole.item(kind, index)?.export)?;
            }
            if let Item::Instance = item
                && let Some((number, CoreInstance::Instantiated { module, args })) = instances.next()
                && !self.part_of.contains_key(&number)
            {
                self.need_arguments(whole, *module, args)?;
            }
        }
        Ok(())
    }

    fn need_arguments(&mut self, whole: &Whole<'a>, module: u32, args: &[InstantiationArg<'a>]) -> Result<()> {
        if self.modules.contains(&module) {
            self.kept.insert(module);
        }
        let mut names: HashMap<&str, BTreeSet<&'a str>> = HashMap::new();
        for import in part::imports(whole.modules[module as usize])? {
            names.entry(import.module).or_default().insert(import.name);
        }
        let mut seen = HashSet::new();
        for arg in args {
            if self.part_of.contains_key(&arg.index) {
                let names = names.remove(arg.name).unwrap_or_default();
                for name in &names {
                    self.need(Some((arg.index, name)))?;
                }
                self.arguments.entry(arg.index).or_default().extend(names);
            } else if seen.insert(arg.index) {
                self.need_bundle(whole, arg.index)?;
            }
        }
        Ok(())
    }

    fn need_bundle(&mut self, whole: &Whole<'a>, bundle: u32) -> Result<()> {
        let instance = &whole.instances[bundle as usize];
        if let CoreInstance::Bundle { exports, .. } = instance
            && self.is_of_parts(instance)
            && self.bundles.insert(bundle)
        {
            for export in exports {
                self.need(whole.item(kind_number(export.kind), export.index)?.export)?;
            }
        }
        Ok(())
    }

    fn need(&mut self, export: Option<(u32, &str)>) -> Result<()> {
        if let Some((within, kind)) = self.within(export)? {
            self.exports.insert(within, kind);
        }
        Ok(())
    }
}

/// Whether something other than a core instance begins to be there with it, which may have any start functions.
pub(super) fn runs_code(item: &Item) -> bool {
    matches!(item, Item::Section(Payload::ComponentInstanceSection(_) | Payload::ComponentStartSection { .. }))
}

/// The core items that an item names which is neither an instance nor an alias: kinds and indices.
fn uses(item: &Item) -> Result<Vec<(usize, u32)>> {
    let mut uses = Uses(Vec::new());
    match item {
        Item::Canonical(function) => {
            uses.parse_component_canonical(&mut CanonicalFunctionSection::new(), function.clone())?;
        }
        Item::Types(types) => uses.parse_component_type_section(&mut ComponentTypeSection::new(), types.clone())?,
        _ => {}
    }
    Ok(uses.0)
}

/// Notes what is asked for while something is encoded.
struct Uses(Vec<(usize, u32)>);

impl Uses {
    fn number(&mut self, kind: usize, index: u32) -> Result<u32> {
        self.0.push((kind, index));
        Ok(index)
    }
}

impl Reencode for Uses {
    type Error = &'static str;

    by_kind!();
}

impl ReencodeComponent for Uses {}
