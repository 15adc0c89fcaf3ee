//! Writes a picture as PNG, row by row.
//!
//! The libraries make what surrounds the picture and compress it; which filter a row gets is chosen in `filter`.

use std::io::{self, Write};

use fdeflate::Compressor;
use png::{BitDepth, ColorType, Encoder, PixelDimensions, Writer, chunk};

use crate::document::Size;
use crate::filter::RowFilter;

/// Compressed bytes gathered before they go to the artifact.
const CHUNK_BYTES: usize = 64 << 10;

/// What the compressor writes at a time.
const WORD_BYTES: usize = 8;

/// A picture of 8-bit RGB that is being written. Besides two rows and a chunk, nothing of it is held in memory.
pub(crate) struct PictureWriter<W: Write> {
    filter: RowFilter,
    row_bytes: usize,
    /// Most of the time of a PDF job used to go into compression; this one costs little and is nearly as good.
    compressor: Compressor<Chunks<W>>,
}

impl<W: Write> PictureWriter<W> {
    pub(crate) fn new(out: W, size: Size, resolution: PixelDimensions) -> io::Result<Self> {
        let mut encoder = Encoder::new(out, size.width, size.height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_pixel_dims(Some(resolution));
        let chunks =
            Chunks { file: encoder.write_header()?, gathered: Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8) };
        let width = size.width as usize;
        Ok(Self { filter: RowFilter::new(width), row_bytes: 4 * width, compressor: Compressor::new(chunks)? })
    }

    /// Adds whole rows of opaque pixels, of four bytes each.
    pub(crate) fn write_rows(&mut self, pixels: &[u8]) -> io::Result<()> {
        let mut above = None;
        for row in pixels.chunks_exact(self.row_bytes) {
            self.compressor.write_data(self.filter.filter(row, above))?;
            above = Some(row);
        }
        Ok(())
    }

    /// Ends the file; all rows have been written.
    pub(crate) fn finish(self) -> io::Result<()> {
        let mut chunks = self.compressor.finish()?;
        chunks.send()?;
        Ok(chunks.file.finish()?)
    }
}

/// Cuts what is compressed into chunks of the file.
struct Chunks<W: Write> {
    file: Writer<W>,
    gathered: Vec<u8>,
}

impl<W: Write> Chunks<W> {
    #[cold]
    fn send(&mut self) -> io::Result<()> {
        self.file.write_chunk(chunk::IDAT, &self.gathered)?;
        self.gathered.clear();
        Ok(())
    }
}

impl<W: Write> Write for Chunks<W> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    /// Words of compressed data come here one by one. What is shorter or longer surrounds them, and there the compressor
    /// would not expect an error, so that only words are sent on.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if bytes.len() == WORD_BYTES && self.gathered.len() >= CHUNK_BYTES { self.send() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
