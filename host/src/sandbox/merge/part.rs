//! Takes a module apart that is to become part of another.

use std::collections::HashMap;

use wasmparser::{
    DataSectionReader, ElementSectionReader, ExternalKind, FunctionBody, FunctionSectionReader, GlobalSectionReader,
    Import, KnownCustom, MemorySectionReader, NameSectionReader, Parser, Payload, SectionLimited, TableSectionReader,
    TagSectionReader, TypeRef, TypeSectionReader,
};

use super::Result;
use super::read::{FUNCTIONS, GLOBALS, KINDS, MEMORIES, TABLES, TAGS};

/// A module.
#[derive(Default)]
pub(super) struct Part<'a> {
    pub(super) types: Option<TypeSectionReader<'a>>,
    pub(super) types_count: u32,
    pub(super) imports: Vec<Import<'a>>,
    pub(super) functions: Option<FunctionSectionReader<'a>>,
    pub(super) tables: Option<TableSectionReader<'a>>,
    pub(super) memories: Option<MemorySectionReader<'a>>,
    pub(super) tags: Option<TagSectionReader<'a>>,
    pub(super) globals: Option<GlobalSectionReader<'a>>,
    /// Kind and index.
    pub(super) exports: HashMap<&'a str, (ExternalKind, u32)>,
    pub(super) elements: Option<ElementSectionReader<'a>>,
    pub(super) bodies: Vec<FunctionBody<'a>>,
    pub(super) data: Option<DataSectionReader<'a>>,
    pub(super) names: Option<NameSectionReader<'a>>,
}

impl<'a> Part<'a> {
    /// Reads a module. `None` if it cannot be moved, since it has code that runs when it is instantiated, or tells which place in it is
    /// which line of its source.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Option<Self>> {
        let mut part = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types.clone() {
                        // The validator allows no more than a million.
                        part.types_count += group?.types().len() as u32;
                    }
                    part.types = Some(types);
                }
                Payload::ImportSection(imports) => {
                    part.imports = imports.into_imports().collect::<wasmparser::Result<_>>()?;
                }
                Payload::FunctionSection(functions) => part.functions = Some(functions),
                Payload::TableSection(tables) => part.tables = Some(tables),
                Payload::MemorySection(memories) => part.memories = Some(memories),
                Payload::TagSection(tags) => part.tags = Some(tags),
                Payload::GlobalSection(globals) => part.globals = Some(globals),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        part.exports.insert(export.name, (export.kind, export.index));
                    }
                }
                Payload::StartSection { .. } => return Ok(None),
                Payload::ElementSection(elements) => part.elements = Some(elements),
                Payload::CodeSectionEntry(body) => part.bodies.push(body),
                Payload::DataSection(data) => part.data = Some(data),
                Payload::CustomSection(custom) if custom.name().starts_with(".debug_") => return Ok(None),
                Payload::CustomSection(custom) => {
                    if let KnownCustom::Name(names) = custom.as_known() {
                        part.names = Some(names);
                    }
                }
                _ => {}
            }
        }
        Ok(Some(part))
    }

    /// How much it defines of each kind.
    pub(super) fn defined(&self) -> [u32; KINDS] {
        [count(&self.functions), count(&self.tables), count(&self.memories), count(&self.globals), count(&self.tags)]
    }
}

/// The kind of what is imported.
pub(super) fn kind_of(import: TypeRef) -> usize {
    match import {
        TypeRef::Func(_) | TypeRef::FuncExact(_) => FUNCTIONS,
        TypeRef::Table(_) => TABLES,
        TypeRef::Memory(_) => MEMORIES,
        TypeRef::Global(_) => GLOBALS,
        TypeRef::Tag(_) => TAGS,
    }
}

/// How many there are in a section that need not be there.
pub(super) fn count<T>(section: &Option<SectionLimited<'_, T>>) -> u32 {
    section.as_ref().map_or(0, SectionLimited::count)
}

/// What a module imports.
pub(super) fn imports(bytes: &[u8]) -> Result<Vec<Import<'_>>> {
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::ImportSection(imports) = payload? {
            return Ok(imports.into_imports().collect::<wasmparser::Result<_>>()?);
        }
    }
    Ok(Vec::new())
}
