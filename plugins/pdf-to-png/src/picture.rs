//! Draws one page and encodes it as PNG.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use hayro::hayro_interpret::{InterpreterSettings, InterpreterWarning};
use hayro::hayro_syntax::page::Page;
use hayro::kurbo::Affine;
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::vello_cpu::{Pixmap, RasterizerSettings, RenderContext, Resources, TargetInit};
use hayro::{RenderCache, RenderSettings, render_into};
use png::{BitDepth, ColorType, Compression, Encoder};

use crate::document::Size;

/// A page is drawn in bands of at most this many pixels (64 MB), so that a poster needs no more memory than a large
/// sheet. An ordinary page is one band: A4 at 300 dpi has 9 million pixels.
const BAND_PIXELS_MAX: u32 = 16 << 20;

/// Encoded bytes gathered before they go to the artifact.
const CHUNK_BYTES: usize = 64 << 10;

/// Draws pages and remembers what the renderer complained about.
pub(crate) struct Painter<'a> {
    cache: RenderCache<'a>,
    interpreter: InterpreterSettings,
    complaints: Arc<Mutex<Vec<&'static str>>>,
}

impl<'a> Painter<'a> {
    pub(crate) fn new() -> Self {
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = complaints.clone();
        let interpreter = InterpreterSettings {
            warning_sink: Arc::new(move |warning| note(&heard, warning)),
            ..InterpreterSettings::default()
        };
        Self { cache: RenderCache::new(), interpreter, complaints }
    }

    /// Draws `page` on white and writes it as a PNG of 8-bit RGB.
    ///
    /// Rows are encoded as they are converted, so besides one band nothing of the picture is held in memory.
    pub(crate) fn paint(&self, page: &'a Page<'a>, size: Size, scale: f64, out: impl Write) -> io::Result<()> {
        let mut encoder = Encoder::new(out, size.width, size.height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_pixel_dims(Some(resolution(scale)));
        // Most of the time of a PDF job used to go into compression; this one costs little and is nearly as good.
        encoder.set_compression(Compression::Fast);
        let mut writer = encoder.write_header()?;
        let mut rows = writer.stream_writer_with_size(CHUNK_BYTES)?;
        let mut row = vec![0; 3 * size.width as usize];
        for (top, height) in bands(size) {
            let band = self.band(page, size.width as u16, top, height, scale);
            for pixels in band.data_as_u8_slice().chunks_exact(4 * size.width as usize) {
                // On a white ground every pixel is opaque, so its colour is as it stands.
                for (rgb, rgba) in row.chunks_exact_mut(3).zip(pixels.chunks_exact(4)) {
                    rgb.copy_from_slice(&rgba[..3]);
                }
                rows.write_all(&row)?;
            }
        }
        rows.finish()?;
        Ok(())
    }

    /// What the renderer could not draw since the last call, each complaint once.
    pub(crate) fn complaints(&self) -> Vec<&'static str> {
        self.complaints.lock().map(|mut heard| std::mem::take(&mut *heard)).unwrap_or_default()
    }

    fn band(&self, page: &'a Page<'a>, width: u16, top: u32, height: u16, scale: f64) -> Pixmap {
        let transform = Affine::translate((0.0, -f64::from(top)))
            * Affine::scale(scale)
            * Affine::new(page.initial_transform(true).as_coeffs());
        let mut context = RenderContext::new(width, height);
        render_into(page, &self.cache, &self.interpreter, &RenderSettings::default(), &mut context, transform);
        context.flush();
        let mut pixmap = Pixmap::new(width, height);
        let settings = RasterizerSettings { target_init: TargetInit::Clear(WHITE), ..RasterizerSettings::default() };
        context.render_with(&mut pixmap, &mut Resources::default(), settings);
        pixmap
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
        let painter = Painter::new();
        let page = &pdf.pages()[0];
        let whole = painter.band(page, 200, 0, 100, 1.0);
        let mut joined = Vec::new();
        for top in (0..100).step_by(20) {
            joined.extend_from_slice(painter.band(page, 200, top, 20, 1.0).data_as_u8_slice());
        }
        assert!(whole.data_as_u8_slice() == joined);
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
        assert_eq!((info.width, info.height, info.color_type), (200, 100, ColorType::Rgb));
        let at = |x: usize, y: usize| &pixels[3 * (200 * y + x)..][..3];
        assert_eq!(at(5, 5), [255, 255, 255], "paper");
        assert_eq!(at(50, 50), [255, 0, 0], "a red square, 20 to 80 from the left and from below");
        assert_eq!(at(50, 15), [255, 255, 255], "above it");
    }
}
