//! Writes a picture as PNG, row by row.
//!
//! A library makes what surrounds the picture; which filter a row gets is chosen in `filter`, and `pack` compresses it.

use std::io::{self, Write};

use png::{BitDepth, ColorType, Encoder, PixelDimensions, Writer, chunk};

use crate::document::Size;
use crate::filter::{Filtered, RowFilter};
use crate::pack::Packer;

/// Compressed bytes gathered before they go to the artifact, which takes four calls of the host.
const CHUNK_BYTES: usize = 256 << 10;

/// A picture of 8-bit RGB that is being written. Besides some rows and a chunk, nothing of it is held in memory.
pub(crate) struct PictureWriter<W: Write> {
    file: Writer<W>,
    filter: RowFilter,
    packer: Packer,
    row_bytes: usize,
}

impl<W: Write> PictureWriter<W> {
    pub(crate) fn new(out: W, size: Size, resolution: PixelDimensions) -> io::Result<Self> {
        let mut encoder = Encoder::new(out, size.width, size.height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_pixel_dims(Some(resolution));
        let width = size.width as usize;
        Ok(Self {
            file: encoder.write_header()?,
            filter: RowFilter::new(width),
            packer: Packer::new(1 + 3 * width, CHUNK_BYTES),
            row_bytes: 4 * width,
        })
    }

    /// Adds whole rows of opaque pixels, of four bytes each.
    pub(crate) fn write_rows(&mut self, pixels: &[u8]) -> io::Result<()> {
        let mut above = None;
        for row in pixels.chunks_exact(self.row_bytes) {
            match self.filter.filter(row, above) {
                Filtered::Row(filtered) => self.packer.add(filtered),
                Filtered::Zeros { behind, row_bytes } => self.packer.add_zeros_behind(behind, row_bytes),
            }
            if self.packer.packed().len() >= CHUNK_BYTES {
                self.send()?;
            }
            above = Some(row);
        }
        Ok(())
    }

    /// Ends the file; all rows have been written.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.packer.finish();
        self.send()?;
        Ok(self.file.finish()?)
    }

    /// As a chunk of the file.
    fn send(&mut self) -> io::Result<()> {
        self.file.write_chunk(chunk::IDAT, self.packer.packed())?;
        self.packer.clear();
        Ok(())
    }
}
