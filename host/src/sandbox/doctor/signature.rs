//! The types of functions as text: short, as an author wrote them, and in full, to be compared.

use std::collections::BTreeMap;
use std::fmt;

use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, TypeId};

/// No type of the contract comes near; what is longer is not compared but left to the linker.
const TEXT_BYTES_MAX: usize = 4_000;
const TYPES_MAX: usize = 500;

/// A function's type. Displayed with the names of its types; their definitions are beside it.
pub(super) struct Signature {
    text: String,
    types: BTreeMap<String, String>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Signature {
    pub(super) fn of(resolve: &Resolve, function: &Function) -> Self {
        let mut writer = Writer { resolve, types: BTreeMap::new(), waiting: Vec::new() };
        let parameters: Vec<String> =
            function.params.iter().map(|param| format!("{}: {}", param.name, writer.name(&param.ty))).collect();
        let mut text = format!("func({})", parameters.join(", "));
        if let Some(result) = &function.result {
            text.push_str(&format!(" -> {}", writer.name(result)));
        }
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        // Each named type is written once, by the names of those it is made of, however deep they go.
        while let Some(id) = writer.waiting.pop() {
            if writer.types.len() >= TYPES_MAX {
                break;
            }
            let mut definition = writer.definition(id);
            definition.truncate(definition.floor_char_boundary(TEXT_BYTES_MAX));
            let name = resolve.types[id].name.clone().unwrap_or_default();
            writer.types.insert(name, definition);
        }
        Self { text, types: writer.types }
    }
}

/// The first type of the same name that is not the same: its name, and both definitions.
pub(super) fn differences(expected: &Signature, found: &Signature) -> Option<(String, String, String)> {
    let different = expected.types.iter().find(|(name, definition)| found.types.get(*name) != Some(*definition));
    different.map(|(name, definition)| {
        let found = found.types.get(name).cloned().unwrap_or_else(|| "no such type".to_owned());
        (name.clone(), definition.clone(), found)
    })
}

struct Writer<'a> {
    resolve: &'a Resolve,
    types: BTreeMap<String, String>,
    waiting: Vec<TypeId>,
}

impl Writer<'_> {
    /// A type by its name, if it has one.
    fn name(&mut self, ty: &Type) -> String {
        let Type::Id(id) = ty else { return primitive(ty).to_owned() };
        let id = self.original(*id);
        match &self.resolve.types[id].name {
            Some(name) => {
                if !self.types.contains_key(name) {
                    // A place for it before its turn comes, so that it is not written twice.
                    self.types.insert(name.clone(), String::new());
                    self.waiting.push(id);
                }
                name.clone()
            }
            None => self.definition(id),
        }
    }

    /// Follows `type a = b`, which `use` is as well.
    fn original(&self, mut id: TypeId) -> TypeId {
        while let TypeDefKind::Type(Type::Id(next)) = self.resolve.types[id].kind {
            id = next;
        }
        id
    }

    fn definition(&mut self, id: TypeId) -> String {
        let resolve = self.resolve;
        let list = |parts: Vec<String>| parts.join(", ");
        match &resolve.types[id].kind {
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| format!("{}: {}", field.name, self.name(&field.ty)));
                format!("record {{ {} }}", list(fields.collect()))
            }
            TypeDefKind::Variant(variant) => {
                let case = |case: &wit_parser::Case| match &case.ty {
                    Some(ty) => format!("{}({})", case.name, self.name(ty)),
                    None => case.name.clone(),
                };
                format!("variant {{ {} }}", list(variant.cases.iter().map(case).collect()))
            }
            TypeDefKind::Enum(cases) => {
                format!("enum {{ {} }}", list(cases.cases.iter().map(|case| case.name.clone()).collect()))
            }
            TypeDefKind::Flags(flags) => {
                format!("flags {{ {} }}", list(flags.flags.iter().map(|flag| flag.name.clone()).collect()))
            }
            TypeDefKind::Tuple(tuple) => {
                format!("tuple<{}>", list(tuple.types.iter().map(|ty| self.name(ty)).collect()))
            }
            TypeDefKind::Option(ty) => format!("option<{}>", self.name(ty)),
            TypeDefKind::List(ty) => format!("list<{}>", self.name(ty)),
            TypeDefKind::FixedLengthList(ty, length) => format!("list<{}, {length}>", self.name(ty)),
            TypeDefKind::Map(key, value) => format!("map<{}, {}>", self.name(key), self.name(value)),
            TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                (None, None) => "result".to_owned(),
                (Some(ok), None) => format!("result<{}>", self.name(ok)),
                (None, Some(err)) => format!("result<_, {}>", self.name(err)),
                (Some(ok), Some(err)) => format!("result<{}, {}>", self.name(ok), self.name(err)),
            },
            TypeDefKind::Handle(Handle::Own(id)) => self.name(&Type::Id(*id)),
            TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", self.name(&Type::Id(*id))),
            TypeDefKind::Type(ty) => self.name(ty),
            TypeDefKind::Future(ty) => format!("future<{}>", ty.as_ref().map_or("_".to_owned(), |ty| self.name(ty))),
            TypeDefKind::Stream(ty) => format!("stream<{}>", ty.as_ref().map_or("_".to_owned(), |ty| self.name(ty))),
            TypeDefKind::Resource => "resource".to_owned(),
            TypeDefKind::Unknown => "unknown".to_owned(),
        }
    }
}

fn primitive(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(_) => "a type with a name",
    }
}
