//! Opens a PDF and measures its pages.

use std::ops::RangeInclusive;
use std::sync::Arc;

use hayro::hayro_syntax::page::{Page, Rotation};
use hayro::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};

use crate::options::Options;

/// Larger pages are refused: they would take minutes, and hardly any viewer could show them.
pub(crate) const PIXELS_MAX: u64 = 100_000_000;

/// The renderer counts columns in 16 bits.
pub(crate) const WIDTH_MAX: u32 = u16::MAX as u32;

/// PDF readers find the header anywhere in the first kilobyte.
const HEADER_WITHIN: usize = 1024;

/// Where the file says how it is organised, in its last lines; some programs append something behind them.
const TRAILER_WITHIN: usize = 64 << 10;

/// One page's picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// The error can be shown to the client.
pub(crate) fn open(file: &Arc<Vec<u8>>) -> Result<Pdf, String> {
    if file.is_empty() {
        return Err("not a PDF: the input is empty".into());
    }
    let head = &file[..file.len().min(HEADER_WITHIN)];
    if !head.windows(5).any(|bytes| bytes == b"%PDF-") {
        return Err("not a PDF: \"%PDF-\" is missing at its beginning".into());
    }
    // The renderer would piece together what it finds of a file that was cut off, and leave out the pages that are gone.
    let tail = &file[file.len().saturating_sub(TRAILER_WITHIN)..];
    if !tail.windows(9).any(|bytes| bytes == b"startxref") {
        return Err("damaged: the end of the PDF is missing, it may have been cut off on its way here".into());
    }
    let pdf = Pdf::new(file.clone()).map_err(describe)?;
    if pdf.pages().is_empty() {
        return Err("damaged: no page can be found in the PDF".into());
    }
    Ok(pdf)
}

fn describe(error: LoadPdfError) -> String {
    match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
            "encrypted, and a password is needed to open it: save the PDF without a password and send that"
        }
        LoadPdfError::Decryption(DecryptionError::UnsupportedAlgorithm) => {
            "encrypted, in a way that cannot be read here: save the PDF without encryption and send that"
        }
        LoadPdfError::Decryption(DecryptionError::MissingIDEntry | DecryptionError::InvalidEncryption) => {
            "damaged: the PDF says that it is encrypted, but how is not readable"
        }
        LoadPdfError::Invalid => {
            "damaged: the structure of the PDF (cross references, catalogue, page tree) is not readable"
        }
    }
    .into()
}

/// The 1-based numbers of the pages to draw.
pub(crate) fn select(pdf: &Pdf, options: &Options) -> Result<RangeInclusive<usize>, String> {
    let count = pdf.pages().len();
    let last = options.last_page.unwrap_or(count);
    for (name, page) in [("first_page", options.first_page), ("last_page", last)] {
        if page > count {
            let pages = if count == 1 { "page" } else { "pages" };
            return Err(format!("{name}: {page} is out of range, the PDF has {count} {pages}"));
        }
    }
    Ok(options.first_page..=last)
}

/// The size of a page's picture: what it measures in points, times the scale, rounded up, as pdftoppm does.
pub(crate) fn measure(page: &Page<'_>, number: usize, scale: f64) -> Result<Size, String> {
    let (width, height) = points(page);
    let (width, height) = ((width * scale).ceil().max(1.0), (height * scale).ceil().max(1.0));
    // Compared as floating-point numbers, because the file may claim any size.
    if width > f64::from(WIDTH_MAX) || width * height > PIXELS_MAX as f64 {
        return Err(format!(
            "page {number} would be {width:.0} x {height:.0} pixels, allowed are {WIDTH_MAX} in width and {} million \
             altogether: lower dpi or scale, or leave the page out with first_page and last_page",
            PIXELS_MAX / 1_000_000
        ));
    }
    Ok(Size { width: width as u32, height: height as u32 })
}

/// `Page::render_dimensions` in double precision: in single precision, a size that is a whole number of pixels
/// would now and then be rounded up to the next.
fn points(page: &Page<'_>) -> (f64, f64) {
    let (width, height) = page.render_dimensions();
    let area = page.intersected_crop_box();
    let (exact_width, exact_height) = match page.rotation() {
        Rotation::None | Rotation::Flipped => (area.width(), area.height()),
        Rotation::Horizontal | Rotation::FlippedHorizontal => (area.height(), area.width()),
    };
    // For an empty page box the renderer assumes a sheet of its own; then its word counts.
    if exact_width as f32 == width && exact_height as f32 == height {
        (exact_width, exact_height)
    } else {
        (f64::from(width), f64::from(height))
    }
}

/// Names that sort like the pages: three digits, or as many as the document's last page has.
pub(crate) fn artifact_name(number: usize, count: usize) -> String {
    let digits = count.to_string().len().max(3);
    format!("page-{number:0digits$}.png")
}

#[cfg(test)]
pub(crate) mod tests;
