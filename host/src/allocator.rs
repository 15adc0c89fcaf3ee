//! Where memory comes from: mimalloc.
//!
//! Most of what a job allocates is freed by another thread than its own, and the C library's allocator is slow at that: with it a submit takes
//! a tenth more processor time, and a line of a batch nearly half as much again. Without huge pages, of which an idle host would hold three
//! times the memory.
//!
//! The crate `mimalloc` asks for each piece with its alignment, small as it may be. Where no piece of the size is at hand, and always where
//! more than 1 KiB is wanted, that takes a detour to a larger one. So an alignment is named here only if it is more than every piece has, as
//! the crates for jemalloc do it.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; each call hands on what the trait promises of its arguments"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// The alignment of every piece that is at least so large; `MI_MAX_ALIGN_SIZE` of mimalloc.
const ALIGNMENT: usize = 16;

/// The allocator of all that links this library.
pub(crate) struct Allocator;

/// Whether a piece of this size has this alignment anyway: smaller pieces than [`ALIGNMENT`] are aligned to what they can hold.
const fn is_aligned(size: usize, alignment: usize) -> bool {
    alignment <= ALIGNMENT && alignment <= size
}

// SAFETY: mimalloc hands out pieces of the size asked for, which are nobody else's until they are freed, or null; those that are asked for
// without an alignment have the one that `is_aligned` relies on. It frees and moves pieces however they were asked for.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, with an alignment that is a power of two, which a layout's is.
        let piece =
            unsafe { if is_aligned(size, alignment) { mi_malloc(size) } else { mi_malloc_aligned(size, alignment) } };
        piece.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: as for `alloc`.
        let piece =
            unsafe { if is_aligned(size, alignment) { mi_zalloc(size) } else { mi_zalloc_aligned(size, alignment) } };
        piece.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, _: Layout) {
        // SAFETY: the piece is one of ours, and not used any more.
        unsafe { mi_free(piece.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (piece, alignment) = (piece.cast::<c_void>(), layout.align());
        // SAFETY: the piece is one of ours, and whoever asks goes on with the one that is answered, unless it is null.
        let piece = unsafe {
            if is_aligned(size, alignment) {
                mi_realloc(piece, size)
            } else {
                mi_realloc_aligned(piece, size, alignment)
            }
        };
        piece.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes around those at which mimalloc changes what it does.
    const SIZES: [usize; 16] = [1, 7, 8, 9, 15, 16, 17, 24, 48, 100, 1024, 1025, 1500, 9000, 70_000, 3 << 20];

    #[test]
    fn every_piece_has_the_alignment_and_the_content_that_were_asked_for() {
        for alignment in (0..=13).map(|bits| 1_usize << bits) {
            let layouts = SIZES.map(|size| Layout::from_size_align(size, alignment).expect("not too large"));
            // Several of each, so that they lie one after the other, and what was freed is handed out again.
            for _ in 0..50 {
                let pieces = layouts.map(|layout| {
                    // SAFETY: no layout is empty, and every write stays within its piece.
                    let piece = unsafe {
                        let zeroed = Allocator.alloc_zeroed(layout);
                        assert!((0..layout.size()).step_by(7).all(|at| *zeroed.add(at) == 0), "{layout:?}");
                        zeroed.write_bytes(0xff, layout.size());
                        Allocator.dealloc(zeroed, layout);
                        let piece = Allocator.alloc(layout);
                        piece.write_bytes(0xab, layout.size());
                        piece
                    };
                    assert!(piece.addr().is_multiple_of(alignment), "{layout:?}");
                    piece
                });
                for (piece, layout) in pieces.into_iter().zip(layouts) {
                    let larger = Layout::from_size_align(2 * layout.size() + 1, alignment).expect("not too large");
                    // SAFETY: as above, and a piece is given back with the layout that it has then.
                    unsafe {
                        let piece = Allocator.realloc(piece, layout, larger.size());
                        assert!(piece.addr().is_multiple_of(alignment), "{larger:?}");
                        assert!((0..layout.size()).step_by(7).all(|at| *piece.add(at) == 0xab), "{larger:?}");
                        Allocator.dealloc(piece, larger);
                    }
                }
            }
        }
    }
}
