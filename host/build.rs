//! Packs what the program carries and hardly ever needs: the plugins of the demo, a tenth of the program as they are; and
//! where its own addresses stand, a twentieth.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

use miniz_oxide::deflate::compress_to_vec;

/// Takes seconds in an unoptimised build; what is above gains next to nothing.
const LEVEL: u8 = 8;

/// The first glibc that starts a program with packed relocations; older ones refuse it.
const GLIBC_THAT_UNPACKS: (u32, u32) = (2, 36);

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo says where to write"))?;
    for name in ["pdf-to-png.wasm", "integrate.wasm", "message.wasm"] {
        let file = Path::new("../plugins").join(name);
        println!("cargo::rerun-if-changed={}", file.display());
        fs::write(Path::new(&out).join(name), compress_to_vec(&fs::read(file)?, LEVEL))?;
    }
    let runs_here = env::var("TARGET") == env::var("HOST") && env::var_os("CARGO_FEATURE_PORTABLE").is_none();
    if runs_here && glibc_here().is_some_and(|version| version >= GLIBC_THAT_UNPACKS) {
        println!("cargo::rustc-link-arg-bin=dropforge=-Wl,-z,pack-relative-relocs");
    }
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

/// The version of this machine's C library; none where it is another one.
fn glibc_here() -> Option<(u32, u32)> {
    let printed = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let (major, minor) = str::from_utf8(&printed).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
