//! Writes one module of many: everything gets a number of its own, and what one imports from another becomes the thing itself.

use std::collections::{BTreeMap, HashMap};

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Encode, ExportKind, ExportSection,
    FunctionSection, GlobalSection, ImportSection, Instruction, MemorySection, Module, NameMap, NameSection,
    TableSection, TagSection, TypeSection,
};
use wasmparser::{Name, Operator};

use super::part::{Part, count, kind_of};
use super::plan::{Plan, Source, Within};
use super::read::{FUNCTIONS, KINDS, by_kind};
use super::{Result, unclear};

/// What the merged module imports everything from.
pub(super) const OUTSIDE: &str = "outside";

/// The merged module, and the component's functions that it imports. What it imports and exports is named by its place, there and in
/// [`Plan::exports`].
pub(super) fn module(plan: &Plan) -> Result<(Module, Vec<u32>)> {
    let mut numbers = Numbers::of(plan)?;
    let mut sections = Sections::default();
    let mut outside = Vec::new();
    for (place, part) in plan.parts.iter().enumerate() {
        numbers.part = place;
        let functions = part.imports.iter().filter(|import| kind_of(import.ty) == FUNCTIONS);
        for (import, source) in functions.zip(&plan.sources[place][FUNCTIONS]) {
            if let Source::Outside(function) = source {
                sections.imports.import(OUTSIDE, &outside.len().to_string(), numbers.entity_type(import.ty)?);
                outside.push(*function);
            }
        }
        sections.take(&mut numbers, part)?;
    }
    for (place, (within, kind)) in plan.exports.iter().enumerate() {
        sections.exports.export(&place.to_string(), ExportKind::from(*kind), numbers.of_within(*within)?);
    }
    Ok((sections.module(), outside))
}

#[derive(Default)]
struct Sections {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    tags: TagSection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
    /// Of functions, by their numbers.
    names: BTreeMap<u32, String>,
}

impl Sections {
    fn take(&mut self, numbers: &mut Numbers, part: &Part) -> Result<()> {
        if let Some(types) = &part.types {
            numbers.parse_type_section(&mut self.types, types.clone())?;
        }
        if let Some(functions) = &part.functions {
            numbers.parse_function_section(&mut self.functions, functions.clone())?;
        }
        if let Some(tables) = &part.tables {
            numbers.parse_table_section(&mut self.tables, tables.clone())?;
        }
        if let Some(memories) = &part.memories {
            numbers.parse_memory_section(&mut self.memories, memories.clone())?;
        }
        if let Some(tags) = &part.tags {
            numbers.parse_tag_section(&mut self.tags, tags.clone())?;
        }
        if let Some(globals) = &part.globals {
            numbers.parse_global_section(&mut self.globals, globals.clone())?;
        }
        if let Some(elements) = &part.elements {
            numbers.parse_element_section(&mut self.elements, elements.clone())?;
        }
        for body in &part.bodies {
            numbers.parse_function_body(&mut self.code, body.clone())?;
        }
        if let Some(data) = &part.data {
            numbers.parse_data_section(&mut self.data, data.clone())?;
        }
        self.take_names(numbers, part);
        Ok(())
    }

    /// Notes what functions are called, for whoever reads where a guest stopped. One without a name is called by the number that it has
    /// in its author's file.
    fn take_names(&mut self, numbers: &Numbers, part: &Part) {
        // A name that cannot be read is none, nor are those after it.
        for names in part.names.clone().into_iter().flatten() {
            let Ok(Name::Function(names)) = names else { continue };
            for name in names.into_iter().map_while(wasmparser::Result::ok) {
                if let Ok(number) = numbers.number(FUNCTIONS, name.index) {
                    self.names.entry(number).or_insert_with(|| name.name.to_owned());
                }
            }
        }
        for (index, number) in numbers.items[numbers.part][FUNCTIONS].iter().enumerate() {
            self.names.entry(*number).or_insert_with(|| format!("function {index}"));
        }
    }

    fn module(self) -> Module {
        let mut functions = NameMap::new();
        self.names.iter().for_each(|(number, name)| functions.append(*number, name));
        let mut names = NameSection::new();
        names.functions(&functions);
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions).section(&self.tables);
        module.section(&self.memories);
        if !self.tags.is_empty() {
            module.section(&self.tags);
        }
        module.section(&self.globals).section(&self.exports);
        module.section(&self.elements).section(&DataCountSection { count: self.data.len() }).section(&self.code);
        module.section(&self.data).section(&names);
        module
    }
}

/// The numbers of things in the merged module.
struct Numbers {
    /// By part, kind and index there.
    items: Vec<[Vec<u32>; KINDS]>,
    /// By part: its types, elements and data.
    spans: Vec<[Span; 3]>,
    /// By global that cannot be changed: the number it has, if that is known, as an instruction.
    constants: HashMap<u32, Vec<u8>>,
    /// Globals that were written.
    globals: u32,
    /// The part whose things are asked for.
    part: usize,
}

/// What one part has of all that there is of a kind.
#[derive(Clone, Copy, Default)]
struct Span {
    first: u32,
    count: u32,
}

impl Span {
    fn after(self, count: u32) -> Self {
        Self { first: self.first + self.count, count }
    }

    fn number(self, index: u32) -> Result<u32> {
        // Bodies have not been validated.
        if index < self.count { Ok(self.first + index) } else { unclear("a module uses what it has not") }
    }
}

impl Numbers {
    fn of(plan: &Plan) -> Result<Self> {
        let is_outside = |source: &&Source| matches!(source, Source::Outside(_));
        // What is imported comes first. Each of at most a thousand modules has at most a million of each.
        let mut next = [0; KINDS];
        let functions = plan.sources.iter().flat_map(|sources| &sources[FUNCTIONS]);
        next[FUNCTIONS] = functions.filter(is_outside).count() as u32;
        let mut outside = 0..next[FUNCTIONS];
        let mut span = [Span::default(); 3];
        let mut numbers = Self { items: Vec::new(), spans: Vec::new(), constants: HashMap::new(), globals: 0, part: 0 };
        for (part, sources) in plan.parts.iter().zip(&plan.sources) {
            let mut items: [Vec<u32>; KINDS] = Default::default();
            for (kind, of_kind) in sources.iter().enumerate() {
                for source in of_kind {
                    items[kind].extend(match source {
                        Source::Part(within) => Some(numbers.of_within(*within)?),
                        Source::Outside(_) => outside.next(),
                    });
                }
            }
            for (kind, count) in part.defined().into_iter().enumerate() {
                items[kind].extend(next[kind]..next[kind] + count);
                next[kind] += count;
            }
            numbers.items.push(items);
            let counts = [part.types_count, count(&part.elements), count(&part.data)];
            span = std::array::from_fn(|kind| span[kind].after(counts[kind]));
            numbers.spans.push(span);
        }
        Ok(numbers)
    }

    fn of_within(&self, (kind, part, index): Within) -> Result<u32> {
        let number = self.items.get(part).and_then(|items| items[kind].get(index as usize)).copied();
        number.map_or_else(|| unclear("a module uses what it has not"), Ok)
    }

    fn number(&self, kind: usize, index: u32) -> Result<u32> {
        self.of_within((kind, self.part, index))
    }
}

impl Reencode for Numbers {
    type Error = &'static str;

    by_kind!();

    fn type_index(&mut self, index: u32) -> Result<u32> {
        self.spans[self.part][0].number(index)
    }

    fn element_index(&mut self, index: u32) -> Result<u32> {
        self.spans[self.part][1].number(index)
    }

    fn data_index(&mut self, index: u32) -> Result<u32> {
        self.spans[self.part][2].number(index)
    }

    /// Says known numbers instead of where they stand, so that the engine knows what memory and tables begin with.
    fn const_expr(&mut self, expression: wasmparser::ConstExpr) -> Result<ConstExpr> {
        let mut operators = expression.get_operators_reader();
        let mut bytes = Vec::new();
        while !operators.is_end_then_eof() {
            let instruction = self.parse_instruction(&mut operators)?;
            let known = match &instruction {
                Instruction::GlobalGet(global) => self.constants.get(global),
                _ => None,
            };
            match known {
                Some(number) => bytes.extend(number),
                None => instruction.encode(&mut bytes),
            }
        }
        Ok(ConstExpr::raw(bytes))
    }

    fn parse_global(&mut self, globals: &mut GlobalSection, global: wasmparser::Global<'_>) -> Result<()> {
        if !global.ty.mutable
            && let Some(number) = number(&global.init_expr)?
        {
            let mut bytes = Vec::new();
            self.instruction(number)?.encode(&mut bytes);
            self.constants.insert(self.globals, bytes);
        }
        self.globals += 1;
        globals.global(self.global_type(global.ty)?, &self.const_expr(global.init_expr)?);
        Ok(())
    }
}

/// The number that an expression is, if it is one.
fn number<'a>(expression: &wasmparser::ConstExpr<'a>) -> Result<Option<Operator<'a>>> {
    let mut operators = expression.get_operators_reader();
    let first = operators.read()?;
    let is_number = matches!(
        first,
        Operator::I32Const { .. } | Operator::I64Const { .. } | Operator::F32Const { .. } | Operator::F64Const { .. }
    );
    Ok((is_number && operators.is_end_then_eof()).then_some(first))
}
