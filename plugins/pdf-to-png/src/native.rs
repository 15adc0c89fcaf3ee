//! The plugin's work without WebAssembly and without a host: what `dropforge bench --native-pdf` holds the plugin against.
//!
//! ```sh
//! cargo build --release --manifest-path plugins/Cargo.toml --package pdf-to-png --example native
//! plugins/target/release/examples/native FILE.pdf FOLDER [DPI]
//! ```
//!
//! Opening, measuring, drawing and encoding are the plugin's own files, built with the same profile. Only what is around them
//! differs, which in the plugin is `guest`: here pages come from a file and go to files.

mod checksum;
mod document;
mod encode;
mod filter;
mod options;
mod pack;
mod picture;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use options::Options;
use picture::Painter;

/// As in the plugin: it opens the document afresh after so many pages.
const PAGES_AT_ONCE: usize = 100;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (file, folder, dpi) = match arguments.as_slice() {
        [file, folder] => (file, folder, None),
        [file, folder, dpi] => (file, folder, Some(dpi)),
        _ => {
            eprintln!("usage: native FILE.pdf FOLDER [DPI]");
            return ExitCode::from(2);
        }
    };
    let parameter = dpi.map(|dpi| ("dpi", dpi.to_string_lossy()));
    let drawn = options::parse(parameter.iter().map(|(name, value)| (*name, &**value)))
        .and_then(|options| draw(file, folder, &options));
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn draw(file: &Path, folder: &Path, options: &Options) -> Result<(), String> {
    let file = Arc::new(fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?);
    let pdf = document::open(&file)?;
    let range = document::select(&pdf, options)?;
    for number in range.clone() {
        document::measure(&pdf.pages()[number - 1], number, options.scale)?;
    }
    drop(pdf);
    for first in range.clone().step_by(PAGES_AT_ONCE) {
        let last = (*range.end()).min(first + PAGES_AT_ONCE - 1);
        draw_pages(&file, folder, options, first..=last)?;
    }
    Ok(())
}

fn draw_pages(
    file: &Arc<Vec<u8>>,
    folder: &Path,
    options: &Options,
    numbers: impl Iterator<Item = usize>,
) -> Result<(), String> {
    let pdf = document::open(file)?;
    let mut painter = Painter::new();
    let pages = pdf.pages();
    for number in numbers {
        let page = &pages[number - 1];
        let size = document::measure(page, number, options.scale)?;
        let path = folder.join(document::artifact_name(number, pages.len()));
        let picture = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        painter.paint(page, size, options.scale, picture).map_err(|error| format!("{}: {error}", path.display()))?;
        for complaint in painter.complaints() {
            eprintln!("page {number}: {complaint}");
        }
    }
    Ok(())
}
