//! Makes components of core modules, as the last step of a toolchain would.
//!
//! Compilers for C and others end with a module. One that is a program of WASI preview 1 becomes a command component; one that carries
//! a world of its own, as bindings for C put it there, becomes a component of that world. Both get the adapter that
//! answers preview 1 with WASI 0.2.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use super::NotAPlugin;

/// What a module is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adapted {
    /// A program with `_start`.
    Program,
    /// What the world says that is embedded in it.
    World {
        /// Whether it also uses preview 1.
        preview_1: bool,
    },
}

/// Wraps a module.
pub(super) fn adapt(module: &[u8], into: Adapted) -> Result<Vec<u8>, NotAPlugin> {
    let adapter = match into {
        Adapted::Program => Some(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER),
        Adapted::World { preview_1: true } => Some(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
        // It brings a whole WASI along, which need not agree with as much of it as a world names.
        Adapted::World { preview_1: false } => None,
    };
    let encode = || {
        let mut encoder = ComponentEncoder::default().validate(true).module(module)?;
        if let Some(adapter) = adapter {
            encoder = encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?;
        }
        encoder.encode()
    };
    encode().map_err(|error| {
        let cannot = match into {
            Adapted::Program => "The module cannot be run as a program of WASI preview 1",
            Adapted::World { .. } => "The module cannot become a component of the world that is embedded in it",
        };
        NotAPlugin(format!("{cannot}: {error:#}. Build it with current tools"))
    })
}
