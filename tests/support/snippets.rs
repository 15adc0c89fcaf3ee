//! How bodies in WebAssembly text become whole modules, for [`guest`](super::guest)s and [`program`](super::program)s alike: each
//! `(text "…")` is placed in a data segment, and helpers and imports are found by the names a body uses.

/// A data segment in the making.
pub(super) struct Data {
    pub(super) address: u32,
    pub(super) bytes: Vec<u8>,
}

impl Data {
    /// Adds bytes and answers where they are and how many.
    pub(super) fn text(&mut self, bytes: &[u8]) -> [u32; 2] {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let pointer = self.address + u32::try_from(self.bytes.len()).expect("a few");
        self.bytes.extend_from_slice(bytes);
        [pointer, u32::try_from(bytes.len()).expect("a few")]
    }

    /// Replaces every `(text "…")` by a pointer and a length.
    pub(super) fn place_texts(&mut self, module: &str) -> String {
        let mut pieces = module.split("(text \"");
        let mut placed = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (text, rest) = piece.split_once("\")").expect("a text ends with a quote and a parenthesis");
            let [pointer, size] = self.text(text.as_bytes());
            placed.push_str(&format!("(i32.const {pointer}) (i32.const {size}){rest}"));
        }
        placed
    }
}

/// The first name in a helper or an import, which is its own.
pub(super) fn name(text: &'static str) -> &'static str {
    let start = text.find('$').expect("each has a name");
    let rest = &text[start..];
    &rest[..rest.find([' ', ')']).expect("each has more than a name")]
}

pub(super) fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
