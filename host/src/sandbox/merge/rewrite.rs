//! Writes a component anew around its merged module.

use std::collections::BTreeMap;

use wasm_encoder::reencode::{Reencode, ReencodeComponent};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentSectionId, ComponentTypeSection,
    ExportKind, InstanceSection, ModuleArg, ModuleSection, RawSection,
};
use wasmparser::ComponentAlias;

use super::module::{self, OUTSIDE};
use super::plan::{Plan, Within};
use super::read::{CoreInstance, FUNCTIONS, Found, Item, KINDS, Whole, by_kind, kind_number, makes_core_function};
use super::{Result, unclear};

/// The component with one module in place of those that the plan names.
pub(super) fn component(mut whole: Whole, plan: &Plan) -> Result<Vec<u8>> {
    let items = std::mem::take(&mut whole.items);
    let mut writer = Writer { whole: &whole, plan, component: Component::new(), indices: Indices::new(&whole, plan) };
    for (place, item) in items.into_iter().enumerate() {
        if place == plan.at {
            writer.put_merged()?;
        }
        writer.put(item)?;
    }
    Ok(writer.component.finish())
}

struct Writer<'w, 'a> {
    whole: &'w Whole<'a>,
    plan: &'w Plan<'a>,
    component: Component,
    indices: Indices<'w, 'a>,
}

impl Writer<'_, '_> {
    fn put(&mut self, item: Item) -> Result<()> {
        let component = &mut self.component;
        match item {
            Item::Module => self.put_module(),
            Item::Instance => self.put_instance()?,
            Item::Alias(alias) => self.put_alias(alias)?,
            Item::Canonical(function) => {
                let makes_core_function = makes_core_function(&function);
                let mut section = CanonicalFunctionSection::new();
                self.indices.parse_component_canonical(&mut section, function)?;
                component.section(&section);
                if makes_core_function {
                    self.indices.push(FUNCTIONS);
                }
            }
            Item::Types(types) => {
                let mut section = ComponentTypeSection::new();
                self.indices.parse_component_type_section(&mut section, types)?;
                component.section(&section);
            }
            Item::Component(data) => {
                component.section(&RawSection { id: ComponentSectionId::Component.into(), data });
            }
            Item::Section(payload) => self.indices.parse_component_payload(component, payload, &[])?,
        }
        if self.indices.is_lost { unclear("something is used before it is there") } else { Ok(()) }
    }

    fn put_module(&mut self) {
        let module = self.indices.modules.len() as u32;
        let is_needed = !self.plan.modules.contains(&module) || self.plan.kept.contains(&module);
        let number = is_needed.then(|| {
            let data = self.whole.modules[module as usize];
            self.component.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data });
            self.indices.next_module()
        });
        self.indices.modules.push(number);
    }

    /// Parts are in the merged module, and bundles with something of them come after it, if they are needed.
    fn put_instance(&mut self) -> Result<()> {
        let place = self.indices.instances.len() as u32;
        let instance = &self.whole.instances[place as usize];
        let is_part = self.plan.part_of.contains_key(&place);
        let is_after = place >= self.plan.instances_before && self.plan.bundles.contains(&place);
        let waits = is_part || self.plan.is_of_parts(instance) && !is_after;
        let number = if waits { None } else { Some(self.put_as_it_is(instance)?) };
        self.indices.instances.push(number);
        Ok(())
    }

    fn put_as_it_is(&mut self, instance: &CoreInstance) -> Result<u32> {
        let indices = &mut self.indices;
        let mut section = InstanceSection::new();
        match instance {
            CoreInstance::Instantiated { module, args } => {
                let args = args.iter().map(|arg| (arg.name, ModuleArg::Instance(indices.instance_index(arg.index))));
                let args: Vec<_> = args.collect();
                section.instantiate(indices.module_index(*module), args);
            }
            CoreInstance::Bundle { exports, .. } => {
                let mut items = Vec::with_capacity(exports.len());
                for export in exports {
                    let number = indices.external_index(export.kind, export.index)?;
                    items.push((export.name, ExportKind::from(export.kind), number));
                }
                section.export_items(items);
            }
        }
        self.component.section(&section);
        Ok(self.indices.next_instance())
    }

    /// What is taken from a part or a bundle is what it is there, and gets no other number.
    fn put_alias(&mut self, alias: ComponentAlias) -> Result<()> {
        let mut section = ComponentAliasSection::new();
        section.alias(match alias {
            ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                let is_of_another = matches!(self.whole.export(instance_index, name)?, Found::In(_))
                    && !self.plan.part_of.contains_key(&instance_index);
                if !is_of_another {
                    self.indices.core[kind_number(kind)].push(None);
                    return Ok(());
                }
                self.indices.push(kind_number(kind));
                self.indices.component_alias(alias)?
            }
            alias => self.indices.component_alias(alias)?,
        });
        self.component.section(&section);
        Ok(())
    }

    /// Puts the merged module, its instance, and what the rest needs of it.
    fn put_merged(&mut self) -> Result<()> {
        let (module, outside) = module::module(self.plan)?;
        self.component.section(&ModuleSection(&module));
        let module = self.indices.next_module();
        let mut functions = Vec::with_capacity(outside.len());
        for (place, function) in outside.into_iter().enumerate() {
            functions.push((place.to_string(), ExportKind::Func, self.indices.function_index(function)?));
        }
        let mut section = InstanceSection::new();
        section.export_items(functions);
        let arguments = self.indices.next_instance();
        section.instantiate(module, [(OUTSIDE, ModuleArg::Instance(arguments))]);
        let instance = self.indices.next_instance();
        self.component.section(&section);

        let mut section = ComponentAliasSection::new();
        for (place, (within, kind)) in self.plan.exports.iter().enumerate() {
            section.alias(Alias::CoreInstanceExport { instance, kind: (*kind).into(), name: &place.to_string() });
            let number = self.indices.next(kind_number(*kind));
            self.indices.merged.insert(*within, number);
        }
        self.component.section(&section);
        self.put_bundles()
    }

    /// Puts those that waited, and one for each part that modules are instantiated with.
    fn put_bundles(&mut self) -> Result<()> {
        for place in self.plan.bundles.range(..self.plan.instances_before) {
            let number = self.put_as_it_is(&self.whole.instances[*place as usize])?;
            self.indices.bundled.insert(*place, number);
        }
        for (place, names) in &self.plan.arguments {
            let mut items = Vec::with_capacity(names.len());
            for name in names {
                if let Some((within, kind)) = self.plan.within(Some((*place, name)))? {
                    items.push((*name, ExportKind::from(kind), self.indices.of_part(within)?));
                }
            }
            let mut section = InstanceSection::new();
            section.export_items(items);
            self.component.section(&section);
            let number = self.indices.next_instance();
            self.indices.bundled.insert(*place, number);
        }
        Ok(())
    }
}

/// The indices that core items have in the component that is written.
struct Indices<'w, 'a> {
    whole: &'w Whole<'a>,
    plan: &'w Plan<'a>,
    /// By kind and the first index that they had. What is of a part has none but that in `merged`.
    core: [Vec<Option<u32>>; KINDS],
    instances: Vec<Option<u32>>,
    /// Of instances that have come to stand behind the merged one.
    bundled: BTreeMap<u32, u32>,
    modules: Vec<Option<u32>>,
    /// Of what the merged module exports.
    merged: BTreeMap<Within, u32>,
    next: [u32; KINDS],
    next_instance: u32,
    next_module: u32,
    /// Whether something was asked for that has no number.
    is_lost: bool,
}

impl<'w, 'a> Indices<'w, 'a> {
    fn new(whole: &'w Whole<'a>, plan: &'w Plan<'a>) -> Self {
        Self {
            whole,
            plan,
            core: Default::default(),
            instances: Vec::new(),
            bundled: BTreeMap::new(),
            modules: Vec::new(),
            merged: BTreeMap::new(),
            next: [0; KINDS],
            next_instance: 0,
            next_module: 0,
            is_lost: false,
        }
    }

    fn next(&mut self, kind: usize) -> u32 {
        self.next[kind] += 1;
        self.next[kind] - 1
    }

    fn next_instance(&mut self) -> u32 {
        self.next_instance += 1;
        self.next_instance - 1
    }

    fn next_module(&mut self) -> u32 {
        self.next_module += 1;
        self.next_module - 1
    }

    /// Indices the item that was just written.
    fn push(&mut self, kind: usize) {
        let number = self.next(kind);
        self.core[kind].push(Some(number));
    }

    fn number(&self, kind: usize, index: u32) -> Result<u32> {
        let item = self.whole.item(kind, index)?;
        match self.plan.within(item.export)? {
            Some((within, _)) => self.of_part(within),
            None => match self.core[kind].get(item.index as usize) {
                Some(Some(number)) => Ok(*number),
                _ => unclear("an item is used before it is there"),
            },
        }
    }

    fn of_part(&self, within: Within) -> Result<u32> {
        let number = self.merged.get(&within).copied();
        number.map_or_else(|| unclear("an item of a part is used before it is there"), Ok)
    }

    fn or_lost(&mut self, number: Option<u32>) -> u32 {
        self.is_lost |= number.is_none();
        number.unwrap_or(u32::MAX)
    }
}

impl Reencode for Indices<'_, '_> {
    type Error = &'static str;

    by_kind!();
}

impl ReencodeComponent for Indices<'_, '_> {
    fn module_index(&mut self, index: u32) -> u32 {
        let number = self.modules.get(index as usize).copied().flatten();
        self.or_lost(number)
    }

    fn instance_index(&mut self, index: u32) -> u32 {
        let number = self.instances.get(index as usize).copied().flatten().or(self.bundled.get(&index).copied());
        self.or_lost(number)
    }
}
