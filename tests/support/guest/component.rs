//! A plugin with everything about it that a test can choose, and how its text becomes a component.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::world::{BUMP, HELPERS, IMPORTS, MORE_PACKAGES, WORLD};
use crate::support::snippets::{Data, escape, name};

/// Everything that can be chosen.
pub(crate) struct Guest<'a> {
    /// Body of `run`; its parameters include `$attempt` and `$input`.
    pub(crate) run: &'a str,
    /// Body of `describe`.
    pub(crate) describe: &'a str,
    /// Body of `cabi_realloc`, by which the host hands over what it passes.
    pub(crate) realloc: &'a str,
    /// More functions, globals and so on.
    pub(crate) items: &'a str,
    /// Pages of 64 KiB to begin with.
    pub(crate) pages: u32,
    /// Media types of the input.
    pub(crate) reads: &'a [&'a str],
    /// JSON Schema of the input.
    pub(crate) input: Option<&'a str>,
    /// JSON Schema of the parameters.
    pub(crate) parameters: Option<&'a str>,
    /// What it exports besides, as lines of a world.
    pub(crate) exports: &'a str,
}

impl Guest<'_> {
    /// A plugin that succeeds with `ok`, to vary.
    pub(crate) const GOOD: Guest<'static> = Guest {
        run: r#"(return (call $done (text "text/plain") (text "ok")))"#,
        describe: "(return (i32.const 16))",
        realloc: BUMP,
        items: "",
        pages: 2,
        reads: &[],
        input: None,
        parameters: None,
        exports: "",
    };

    /// The component, as it would lie in the plugin folder.
    pub(crate) fn component(&self) -> Vec<u8> {
        let module = self.module_with_world();
        let encoder = ComponentEncoder::default().validate(true).module(&module).expect("the module fits the world");
        encoder.reject_legacy_names(false).encode().expect("the module becomes a component")
    }

    /// The same before it becomes a component: the core module, and in it the world that it is to be one of.
    pub(crate) fn module_with_world(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).expect("the guest's text is valid");
        let mut resolve = Resolve::default();
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.1.0");
        resolve.push_path(contract).expect("the contract is valid");
        for package in MORE_PACKAGES {
            resolve.push_str("more.wit", package).expect("the package is valid");
        }
        let package =
            resolve.push_str("guest.wit", &format!("{WORLD} {} }}", self.exports)).expect("the world is valid");
        let world = resolve.select_world(&[package], Some("guest")).expect("the world is there");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("the world can be embedded");
        module
    }

    /// The core module in text form. Its memory: the descriptor at 16, results at 512, scratch from 800, texts from 4096.
    fn module(&self) -> String {
        let mut data = Data { address: 4096, bytes: Vec::new() };
        let descriptor = self.descriptor(&mut data);
        let Guest { run, describe, realloc, items, pages, .. } = self;
        let mut text = format!(
            r#"(memory (export "memory") {pages}) (global $free (mut i32) (i32.const 65536))
            (func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32)
              (param $size i32) (result i32) (local $place i32) {realloc} (unreachable))
            (func $describe (export "describe") (result i32) {describe} (unreachable))
            (func $run (export "run") (param $id i32) (param $id_size i32) (param $kind i32) (param $kind_size i32)
              (param $attempt i32) (param $deadline i64) (param $parameters i32) (param $parameters_count i32)
              (param $arguments i32) (param $arguments_count i32) (param $results i32) (param $results_count i32)
              (param $input i32) (result i32) (local $i i32) {run} (unreachable))
            {items}"#
        );
        for helper in HELPERS {
            if text.contains(name(helper)) {
                text.push_str(helper);
            }
        }
        let imports: String = IMPORTS.iter().copied().filter(|import| text.contains(name(import))).collect();
        let text = data.place_texts(&text);
        let Data { address, bytes } = data;
        format!(
            r#"(module {imports} {text} (data (i32.const 16) "{}") (data (i32.const {address}) "{}"))"#,
            escape(&descriptor),
            escape(&bytes)
        )
    }

    /// The record `descriptor` as the canonical ABI lays it out.
    fn descriptor(&self, data: &mut Data) -> Vec<u8> {
        let media_types: Vec<u32> = self.reads.iter().flat_map(|media_type| data.text(media_type.as_bytes())).collect();
        let media_types: Vec<u8> = media_types.into_iter().flat_map(u32::to_le_bytes).collect();
        let [media_types, _] = data.text(&media_types);
        let [input, parameters] =
            [self.input, self.parameters].map(|schema| schema.map(|schema| data.text(schema.as_bytes())));
        let mut words = Vec::new();
        words.extend(data.text(b"A guest of the tests."));
        words.extend(data.text(b"1.0.0"));
        words.extend([media_types, u32::try_from(self.reads.len()).expect("a few")]);
        for [pointer, size] in [input, parameters].map(|text| text.unwrap_or_default()) {
            words.extend([u32::from(pointer > 0), pointer, size]);
        }
        words.extend(data.text(b"text/plain"));
        words.extend([0, 0, 0]); // No output schema.
        words.extend([0, 0, 0, 0]); // No word about artifacts, no examples.
        words.extend([0; 13]); // Padding, then no limits wished.
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}
