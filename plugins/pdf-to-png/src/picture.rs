//! Draws one page, band by band.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use hayro::hayro_interpret::{InterpreterSettings, InterpreterWarning};
use hayro::hayro_syntax::page::Page;
use hayro::kurbo::Affine;
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::vello_cpu::{PixmapMut, RasterizerSettings, RenderContext, Resources, TargetInit};
use hayro::{RenderCache, RenderSettings, render_into};

use crate::document::Size;
use crate::encode::PictureWriter;

/// A page is drawn in bands of at most this many pixels (64 MB), so that a poster needs no more memory than a large
/// sheet. An ordinary page is one band: A4 at 300 dpi has 9 million pixels.
const BAND_PIXELS_MAX: u32 = 16 << 20;

/// Draws pages and remembers what the renderer complained about.
pub(crate) struct Painter<'a> {
    cache: RenderCache<'a>,
    interpreter: InterpreterSettings,
    complaints: Arc<Mutex<Vec<&'static str>>>,
    /// What a page is drawn with and onto, kept for the next: fresh memory would have to be cleared first.
    context: RenderContext,
    pixels: Vec<u8>,
}

impl<'a> Painter<'a> {
    pub(crate) fn new() -> Self {
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = complaints.clone();
        let interpreter = InterpreterSettings {
            warning_sink: Arc::new(move |warning| note(&heard, warning)),
            ..InterpreterSettings::default()
        };
        let context = RenderContext::new(1, 1);
        Self { cache: RenderCache::new(), interpreter, complaints, context, pixels: Vec::new() }
    }

    /// Draws `page` on white and writes it as a PNG of 8-bit RGB.
    pub(crate) fn paint(&mut self, page: &'a Page<'a>, size: Size, scale: f64, out: impl Write) -> io::Result<()> {
        let mut picture = PictureWriter::new(out, size, resolution(scale))?;
        for (top, height) in bands(size) {
            picture.write_rows(self.band(page, size.width as u16, top, height, scale))?;
        }
        picture.finish()
    }

    /// What the renderer could not draw since the last call, each complaint once.
    pub(crate) fn complaints(&self) -> Vec<&'static str> {
        self.complaints.lock().map(|mut heard| std::mem::take(&mut *heard)).unwrap_or_default()
    }

    /// Some rows of the page, four bytes for each pixel, the last of them 255.
    fn band(&mut self, page: &'a Page<'a>, width: u16, top: u32, height: u16, scale: f64) -> &[u8] {
        let transform = Affine::translate((0.0, -f64::from(top)))
            * Affine::scale(scale)
            * Affine::new(page.initial_transform(true).as_coeffs());
        let context = &mut self.context;
        context.reset_and_resize(width, height);
        render_into(page, &self.cache, &self.interpreter, &RenderSettings::default(), context, transform);
        context.flush();
        self.pixels.resize(4 * usize::from(width) * usize::from(height), 0);
        let target = PixmapMut::new(width, height, &mut self.pixels).expect("there are four bytes for each pixel");
        let settings = RasterizerSettings { target_init: TargetInit::Clear(WHITE), ..RasterizerSettings::default() };
        context.render_with(target, &mut Resources::default(), settings);
        &self.pixels
    }
}

impl Default for Painter<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// First row and height of each band.
fn bands(size: Size) -> impl Iterator<Item = (u32, u16)> {
    let rows = (BAND_PIXELS_MAX / size.width).clamp(1, u32::from(u16::MAX));
    (0..size.height).step_by(rows as usize).map(move |top| (top, rows.min(size.height - top) as u16))
}

/// So that a viewer or printer knows how large the page was on paper.
fn resolution(scale: f64) -> png::PixelDimensions {
    const POINTS_PER_METER: f64 = 72.0 / 0.0254;
    let per_meter = (scale * POINTS_PER_METER).round() as u32;
    png::PixelDimensions { xppu: per_meter, yppu: per_meter, unit: png::Unit::Meter }
}

fn note(heard: &Mutex<Vec<&'static str>>, warning: InterpreterWarning) {
    let complaint = match warning {
        InterpreterWarning::UnsupportedFont => "a font could not be read, its text is missing",
        InterpreterWarning::ImageDecodeFailure => "a picture could not be decoded and is missing",
        InterpreterWarning::UnresolvedAnnotationAppearance => "an annotation could not be drawn",
        _ => "something could not be drawn",
    };
    if let Ok(mut heard) = heard.lock()
        && !heard.contains(&complaint)
    {
        heard.push(complaint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, tests::two_pages};

    #[test]
    fn bands_cover_every_row_once() {
        for (width, height) in [(1, 1), (1653, 2339), (10_000, 10_000), (65_535, 1525), (1, 100_000_000)] {
            let mut next = 0;
            for (top, rows) in bands(Size { width, height }) {
                assert_eq!(top, next);
                assert!(rows >= 1 && u32::from(rows) * width <= BAND_PIXELS_MAX);
                next += u32::from(rows);
            }
            assert_eq!(next, height);
        }
    }

    #[test]
    fn bands_fit_together_without_a_seam() {
        let pdf = document::open(&two_pages()).expect("a PDF");
        let mut painter = Painter::new();
        let page = &pdf.pages()[0];
        let whole = painter.band(page, 200, 0, 100, 1.0).to_vec();
        let mut joined = Vec::new();
        for top in (0..100).step_by(20) {
            joined.extend_from_slice(painter.band(page, 200, top, 20, 1.0));
        }
        assert!(whole == joined);
    }

    #[test]
    fn a_page_becomes_an_opaque_png() {
        let pdf = document::open(&two_pages()).expect("a PDF");
        let page = &pdf.pages()[0];
        let size = document::measure(page, 1, 1.0).expect("small");
        let mut file = Vec::new();
        Painter::new().paint(page, size, 1.0, &mut file).expect("memory takes everything");

        let mut reader = png::Decoder::new(io::Cursor::new(file)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        let info = reader.next_frame(&mut pixels).expect("a picture");
        assert_eq!((info.width, info.height, info.color_type), (200, 100, png::ColorType::Rgb));
        let at = |x: usize, y: usize| &pixels[3 * (200 * y + x)..][..3];
        assert_eq!(at(5, 5), [255, 255, 255], "paper");
        assert_eq!(at(50, 50), [255, 0, 0], "a red square, 20 to 80 from the left and from below");
        assert_eq!(at(50, 15), [255, 255, 255], "above it");
    }
}
