//! Packs what the program carries and hardly ever needs: the plugins of the demo, a tenth of the program as they are.

use std::path::Path;
use std::{env, fs, io};

use miniz_oxide::deflate::compress_to_vec;

/// Takes seconds in an unoptimised build; what is above gains next to nothing.
const LEVEL: u8 = 8;

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo says where to write"))?;
    for name in ["pdf-to-png.wasm", "integrate.wasm", "message.wasm"] {
        let file = Path::new("../plugins").join(name);
        println!("cargo::rerun-if-changed={}", file.display());
        fs::write(Path::new(&out).join(name), compress_to_vec(&fs::read(file)?, LEVEL))?;
    }
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
