//! The plugins that this program carries, so that `demo` and `bench` run from any folder.
//!
//! They are packed when the program is built: as they are they would be a tenth of it.

use std::sync::LazyLock;

use miniz_oxide::inflate::decompress_to_vec;

/// A plugin file, unpacked when it is first asked for.
pub(crate) type Shipped = LazyLock<Vec<u8>>;

macro_rules! shipped {
    ($file:literal) => {
        LazyLock::new(|| {
            let packed = include_bytes!(concat!(env!("OUT_DIR"), "/", $file));
            decompress_to_vec(packed).expect("the build has packed it")
        })
    };
}

pub(crate) static PDF_TO_PNG: Shipped = shipped!("pdf-to-png.wasm");
pub(crate) static INTEGRATE: Shipped = shipped!("integrate.wasm");
pub(crate) static MESSAGE: Shipped = shipped!("message.wasm");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_is_what_is_shipped() {
        let carried = [("pdf-to-png", &PDF_TO_PNG), ("integrate", &INTEGRATE), ("message", &MESSAGE)];
        for (name, carried) in carried {
            let file = std::fs::read(format!("../plugins/{name}.wasm")).expect("it is in the repository");
            assert!(**carried == file, "{name}");
        }
    }
}
