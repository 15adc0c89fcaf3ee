//! Takes a component apart, as far as merging needs it.

use std::collections::HashMap;
use std::ops::Range;

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ComponentTypeSectionReader, Encoding, Export, ExternalKind, Instance, InstantiationArg, Parser,
    Payload, SectionLimited, Validator, WasmFeatures,
};

use super::{Result, unclear};

/// A component. Everything in it has been validated but the bodies of functions.
#[derive(Default)]
pub(super) struct Whole<'a> {
    pub(super) items: Vec<Item<'a>>,
    pub(super) modules: Vec<&'a [u8]>,
    pub(super) instances: Vec<CoreInstance<'a>>,
    /// Of each kind, by index.
    core: [Vec<CoreItem<'a>>; KINDS],
}

/// What a component consists of, in its order.
pub(super) enum Item<'a> {
    Module,
    Instance,
    Alias(ComponentAlias<'a>),
    Canonical(CanonicalFunction),
    Types(ComponentTypeSectionReader<'a>),
    /// A component within, encoded.
    Component(&'a [u8]),
    /// What names nothing of core modules.
    Section(Payload<'a>),
}

/// A core instance.
pub(super) enum CoreInstance<'a> {
    Instantiated { module: u32, args: Box<[InstantiationArg<'a>]> },
    Bundle { exports: Box<[Export<'a>]>, by_name: HashMap<&'a str, CoreItem<'a>> },
}

/// A core function, table, memory, global or tag of a component.
#[derive(Clone, Copy)]
pub(super) struct CoreItem<'a> {
    /// Its first index: it has another for each bundle that it was taken from.
    pub(super) index: u32,
    /// Which export of which instance it is. A function that is none was made of the component's own.
    pub(super) export: Option<(u32, &'a str)>,
}

/// Kinds of core items.
pub(super) const KINDS: usize = 5;
pub(super) const FUNCTIONS: usize = 0;
pub(super) const TABLES: usize = 1;
pub(super) const MEMORIES: usize = 2;
pub(super) const GLOBALS: usize = 3;
pub(super) const TAGS: usize = 4;

pub(super) fn kind_number(kind: ExternalKind) -> usize {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => FUNCTIONS,
        ExternalKind::Table => TABLES,
        ExternalKind::Memory => MEMORIES,
        ExternalKind::Global => GLOBALS,
        ExternalKind::Tag => TAGS,
    }
}

/// The methods of `Reencode` that ask for a core item, as one: `number(kind, index)`.
macro_rules! by_kind {
    () => {
        fn function_index(&mut self, index: u32) -> $crate::sandbox::merge::Result<u32> {
            self.number($crate::sandbox::merge::read::FUNCTIONS, index)
        }

        fn table_index(&mut self, index: u32) -> $crate::sandbox::merge::Result<u32> {
            self.number($crate::sandbox::merge::read::TABLES, index)
        }

        fn memory_index(&mut self, index: u32) -> $crate::sandbox::merge::Result<u32> {
            self.number($crate::sandbox::merge::read::MEMORIES, index)
        }

        fn global_index(&mut self, index: u32) -> $crate::sandbox::merge::Result<u32> {
            self.number($crate::sandbox::merge::read::GLOBALS, index)
        }

        fn tag_index(&mut self, index: u32) -> $crate::sandbox::merge::Result<u32> {
            self.number($crate::sandbox::merge::read::TAGS, index)
        }
    };
}
pub(super) use by_kind;

/// Whether modules can call it. What cannot be called by them is called from outside.
pub(super) fn makes_core_function(function: &CanonicalFunction) -> bool {
    !matches!(function, CanonicalFunction::Lift { .. })
}

/// Reads a component.
pub(super) fn component(bytes: &[u8]) -> Result<Whole<'_>> {
    // Features that the engine does not take it does not take merged either.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut whole = Whole::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        validator.payload(&payload)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return unclear("it is a module"),
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            payload if depth == 1 => whole.take(payload, bytes)?,
            Payload::ComponentAliasSection(aliases) if any(&aliases, is_module_of_others)? => {
                return unclear("a component within has modules of others");
            }
            _ => {}
        }
    }
    Ok(whole)
}

/// A file can end before what it announces.
fn within(bytes: &[u8], range: Range<usize>) -> Result<&[u8]> {
    bytes.get(range).map_or_else(|| unclear("the file ends early"), Ok)
}

fn any<'a, T: wasmparser::FromReader<'a>>(
    section: &SectionLimited<'a, T>,
    is_one: impl Fn(&T) -> bool,
) -> Result<bool> {
    for item in section.clone() {
        if is_one(&item?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_module_of_others(alias: &ComponentAlias) -> bool {
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Module,
        ComponentAlias::Outer { kind, .. } => *kind == ComponentOuterAliasKind::CoreModule,
        ComponentAlias::CoreInstanceExport { .. } => false,
    }
}

impl<'a> Whole<'a> {
    /// Takes what the component itself consists of.
    fn take(&mut self, payload: Payload<'a>, bytes: &'a [u8]) -> Result<()> {
        if passes_modules_on(&payload)? {
            return unclear("modules come from outside, or go there");
        }
        match payload {
            // Names of what gets other numbers, and who made the component.
            Payload::CustomSection(_) => {}
            Payload::ModuleSection { unchecked_range, .. } => {
                self.modules.push(within(bytes, unchecked_range)?);
                self.items.push(Item::Module);
            }
            Payload::ComponentSection { unchecked_range, .. } => {
                self.items.push(Item::Component(within(bytes, unchecked_range)?));
            }
            Payload::ComponentTypeSection(types) => self.items.push(Item::Types(types)),
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    self.take_instance(instance?)?;
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    self.take_alias(alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    let function = function?;
                    if makes_core_function(&function) {
                        self.push(FUNCTIONS, None);
                    }
                    self.items.push(Item::Canonical(function));
                }
            }
            payload => self.items.push(Item::Section(payload)),
        }
        Ok(())
    }

    fn take_instance(&mut self, instance: Instance<'a>) -> Result<()> {
        self.instances.push(match instance {
            Instance::Instantiate { module_index: module, args } => CoreInstance::Instantiated { module, args },
            Instance::FromExports(exports) => {
                let mut by_name = HashMap::with_capacity(exports.len());
                for export in &exports {
                    by_name.insert(export.name, self.item(kind_number(export.kind), export.index)?);
                }
                CoreInstance::Bundle { exports, by_name }
            }
        });
        self.items.push(Item::Instance);
        Ok(())
    }

    fn take_alias(&mut self, alias: ComponentAlias<'a>) -> Result<()> {
        if let ComponentAlias::CoreInstanceExport { kind, instance_index, name } = alias {
            let kind = kind_number(kind);
            match self.export(instance_index, name)? {
                Found::In(export) => self.push(kind, Some(export)),
                Found::Item(item) => self.core[kind].push(item),
            }
        }
        self.items.push(Item::Alias(alias));
        Ok(())
    }

    fn push(&mut self, kind: usize, export: Option<(u32, &'a str)>) {
        // The validator allows no more than a million.
        let index = self.core[kind].len() as u32;
        self.core[kind].push(CoreItem { index, export });
    }

    /// The item with an index.
    pub(super) fn item(&self, kind: usize, index: u32) -> Result<CoreItem<'a>> {
        let item = self.core[kind].get(index as usize).copied();
        item.map_or_else(|| unclear("an item is not there"), Ok)
    }

    /// What an instance exports under a name.
    pub(super) fn export(&self, instance: u32, name: &'a str) -> Result<Found<'a>> {
        match self.instances.get(instance as usize) {
            Some(CoreInstance::Instantiated { .. }) => Ok(Found::In((instance, name))),
            Some(CoreInstance::Bundle { by_name, .. }) => match by_name.get(name) {
                Some(item) => Ok(Found::Item(*item)),
                None => unclear("an export is not there"),
            },
            None => unclear("an instance is not there"),
        }
    }
}

/// What stands behind an export of an instance.
pub(super) enum Found<'a> {
    /// The export of a module's instance.
    In((u32, &'a str)),
    /// An item that was put into a bundle.
    Item(CoreItem<'a>),
}

impl<'a> Found<'a> {
    /// Which export of which module's instance it is.
    pub(super) fn export(self) -> Option<(u32, &'a str)> {
        match self {
            Self::In(export) => Some(export),
            Self::Item(item) => item.export,
        }
    }
}

/// Whether modules come from elsewhere or go there. Their numbers then say less.
fn passes_modules_on(payload: &Payload) -> Result<bool> {
    match payload {
        Payload::ComponentAliasSection(aliases) => any(aliases, is_module_of_others),
        Payload::ComponentImportSection(imports) => {
            any(imports, |import| matches!(import.ty, ComponentTypeRef::Module(_)))
        }
        Payload::ComponentExportSection(exports) => any(exports, |export| export.kind == ComponentExternalKind::Module),
        Payload::ComponentInstanceSection(instances) => any(instances, |instance| match instance {
            ComponentInstance::Instantiate { args, .. } => {
                args.iter().any(|arg| arg.kind == ComponentExternalKind::Module)
            }
            ComponentInstance::FromExports(exports) => {
                exports.iter().any(|export| export.kind == ComponentExternalKind::Module)
            }
        }),
        _ => Ok(false),
    }
}
