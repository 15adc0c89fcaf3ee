//! The memories of guests as the kernel lists them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

/// The largest memory that is looked at.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// How the kernel lists memory that begins as the engine's image of it.
const IMAGE: &str = "/memfd:wasm-memory-image";
const MAPPINGS: &str = "/proc/self/maps";
/// Eight bytes for each page of the address space.
const PAGES: &str = "/proc/self/pagemap";
/// What they say of a page: that it is there, and that it is the file's, not this process's own.
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;

/// The lists themselves, at one moment.
pub(super) struct Kernel {
    mappings: String,
    pages: File,
    /// Bytes of a page.
    pub(super) page_bytes: usize,
}

/// A memory that begins as an image, and which of its pages are not as in the image any more, or could be so.
pub(super) struct Memory {
    start: usize,
    pub(super) written: Vec<bool>,
}

impl Kernel {
    pub(super) fn ask() -> io::Result<Self> {
        Ok(Self { mappings: fs::read_to_string(MAPPINGS)?, pages: File::open(PAGES)?, page_bytes: page_size() })
    }

    /// Where there are memories: those of each image together.
    pub(super) fn images(&self) -> Vec<Vec<Range<usize>>> {
        places(&self.mappings).into_values().collect()
    }

    /// What was written of one.
    pub(super) fn look(&self, place: Range<usize>) -> io::Result<Memory> {
        const ENTRY_BYTES: usize = size_of::<u64>();
        let mut entries = vec![0; place.len() / self.page_bytes * ENTRY_BYTES];
        self.pages.read_exact_at(&mut entries, (place.start / self.page_bytes * ENTRY_BYTES) as u64)?;
        let is_written = |entry: &[u8; ENTRY_BYTES]| u64::from_ne_bytes(*entry) & (PRESENT | OF_FILE) == PRESENT;
        Ok(Memory { start: place.start, written: entries.as_chunks().0.iter().map(is_written).collect() })
    }
}

/// Where there are memories, by their images.
fn places(mappings: &str) -> BTreeMap<&str, Vec<Range<usize>>> {
    let mut places: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    for line in mappings.lines().filter(|line| line.contains(IMAGE)) {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights, image) = (fields.next(), fields.next(), fields.nth(2));
        let range = range.and_then(|range| range.split_once('-')).and_then(|(start, end)| {
            Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
        });
        if let (Some(range), Some("rw-p"), Some(image)) = (range, rights, image)
            && range.len() <= MEMORY_BYTES_MAX
        {
            places.entry(image).or_default().push(range);
        }
    }
    places
}

impl Memory {
    /// Makes these pages this process's own, with what is in them, and answers how many were not.
    pub(super) fn make_own(&self, run: Range<usize>, page_bytes: usize) -> io::Result<usize> {
        let run = run.start..run.end.min(self.written.len());
        let missing =
            self.written.get(run.clone()).unwrap_or_default().iter().filter(|is_written| !**is_written).count();
        if missing > 0 {
            match populate(self.start + run.start * page_bytes, run.len() * page_bytes) {
                // It is somebody else's memory by now, or nobody's, or smaller.
                Ok(()) | Err(Errno::NOMEM | Errno::FAULT | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(missing)
    }
}

/// Has the kernel do now what a write to each of these pages would have it do.
#[expect(
    unsafe_code,
    reason = "advice about memory is unsafe in general; this one changes nothing that can be read there"
)]
fn populate(start: usize, bytes: usize) -> Result<(), Errno> {
    let start = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: whatever lies there by now, each byte of it stays what it is.
    unsafe { madvise(start, bytes, Advice::LinuxPopulateWrite) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_told_by_their_images() {
        let mappings = "10000-14000 rw-p 00000000 00:01 7 /memfd:wasm-memory-image (deleted)\n\
            14000-20000 rw-p 00000000 00:00 0 \n\
            20000-22000 rw-p 00000000 00:01 9 /memfd:wasm-memory-image (deleted)\n\
            30000-34000 rw-p 00000000 00:01 7 /memfd:wasm-memory-image (deleted)\n\
            40000-44000 r--p 00000000 00:01 7 /memfd:wasm-memory-image (deleted)\n\
            x-y rw-p 00000000 00:01 7 /memfd:wasm-memory-image (deleted)\n\
            10000000-90000000 rw-p 00000000 00:01 7 /memfd:wasm-memory-image (deleted)\n";
        let found = places(mappings);
        assert_eq!(found["7"], [0x10000..0x14000, 0x30000..0x34000]);
        assert_eq!((found["9"].len(), &found["9"][0], found.len()), (1, &(0x20000..0x22000), 2));
    }
}
