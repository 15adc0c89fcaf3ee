//! Turns rows of pixels into rows of a PNG: without the fourth channel, as differences to what stands beside or above.
//!
//! The library that writes the rest of the file would try all five filters on every row. More than half of the rows of a page
//! are equal to the row above, and of the others these three say nearly as much as all five, so this takes less than a third of the time.
//! It is written with vectors for the sandbox most of all: there a loop pays at each turn for being interruptible, more so if it
//! holds vectors across turns. So one turn does much.

use std::array;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x16, u16x8, u32x4};

/// Bytes of a pixel in the file, and in memory.
const RGB: usize = 3;
const RGBA: usize = 4;

/// Bytes of a vector, of what is looked at in one turn, and turns after which sums of 16 bits might overflow.
const VECTOR: usize = 16;
const TURN: usize = 4 * VECTOR;
const TURNS_SUMMED: usize = 32;

/// The filters used here, by their numbers in a PNG: the difference to the pixel on the left, to the one above, to whichever of these
/// and the one between them is nearest to what the three of them suggest.
const FILTERS: [u8; 3] = [1, 2, 4];
const UP: usize = 1;

/// Filters the rows of one picture, from the first to the last.
pub(crate) struct RowFilter {
    level: Level,
    row_bytes: usize,
    /// The row and the one before it: one black pixel, the row, zeros up to a whole number of turns.
    current: Vec<u8>,
    previous: Vec<u8>,
    /// The row as each of [`FILTERS`] leaves it, behind the number of the filter.
    filtered: [Vec<u8>; FILTERS.len()],
}

/// A row as it is to be compressed.
#[derive(Debug, PartialEq)]
pub(crate) enum Filtered<'a> {
    Row(&'a [u8]),
    /// One that is equal to the row above: so many bytes, and but for the first all are zeros.
    Zeros {
        behind: u8,
        row_bytes: usize,
    },
}

impl RowFilter {
    pub(crate) fn new(width: usize) -> Self {
        let row_bytes = RGB * width;
        let padded = row_bytes.next_multiple_of(TURN);
        let row = |number| {
            let mut row = vec![0; 1 + padded];
            row[0] = number;
            row
        };
        Self {
            level: Level::new(),
            row_bytes,
            current: vec![0; RGB + padded],
            previous: vec![0; RGB + padded],
            filtered: FILTERS.map(row),
        }
    }

    /// The next row. `pixels` are the row's, of four bytes each; `above` those of the row before, if there is one and it is still
    /// known.
    pub(crate) fn filter(&mut self, pixels: &[u8], above: Option<&[u8]>) -> Filtered<'_> {
        if above.is_some_and(|above| are_equal(self.level, pixels, above)) {
            return Filtered::Zeros { behind: FILTERS[UP], row_bytes: 1 + self.row_bytes };
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        let row = &mut self.current[RGB..];
        drop_alpha(self.level, pixels, row);
        // The last vector has written beyond the row.
        row[self.row_bytes..].fill(0);
        let filtered = self.filtered.each_mut().map(|row| &mut row[1..]);
        let sums = filter_row(self.level, &self.current, &self.previous, filtered);
        // The usual estimate of what compresses best. Of equals the second: what is repeated downwards is cheapest to find.
        let best = [UP, 0, 2].into_iter().min_by_key(|&filter| sums[filter]).unwrap_or(UP);
        Filtered::Row(&self.filtered[best][..=self.row_bytes])
    }
}

// Loops that take long are functions of their own: in one large function the sandbox has no registers left for any of them.
#[inline(never)]
fn are_equal(level: Level, one: &[u8], other: &[u8]) -> bool {
    dispatch!(level, simd => are_equal_with(simd, one, other))
}

#[inline(never)]
fn drop_alpha(level: Level, pixels: &[u8], row: &mut [u8]) {
    dispatch!(level, simd => drop_alpha_with(simd, pixels, row));
}

#[inline(never)]
fn filter_row(level: Level, current: &[u8], previous: &[u8], filtered: [&mut [u8]; 3]) -> [u32; 3] {
    dispatch!(level, simd => filter_row_with(simd, current, previous, filtered))
}

#[inline(always)]
fn are_equal_with<S: Simd>(simd: S, one: &[u8], other: &[u8]) -> bool {
    let (turns, rest) = one.as_chunks::<TURN>();
    let (other_turns, other_rest) = other.as_chunks::<TURN>();
    let zero = u8x16::splat(simd, 0);
    let all_equal = turns.iter().zip(other_turns).all(|(one, other)| {
        let [a, b, c, d] = array::from_fn(|part| vector(simd, one, part) ^ vector(simd, other, part));
        (a | b | c | d).simd_eq(zero).all_true()
    });
    all_equal && rest == other_rest
}

/// Every pixel of a picture on a white ground is opaque, so its colour is as it stands. May write up to a vector behind the row.
#[inline(always)]
fn drop_alpha_with<S: Simd>(simd: S, pixels: &[u8], row: &mut [u8]) {
    const COLOURS: usize = VECTOR / RGBA * RGB;
    let order = u8x16::load_array(simd, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3]);
    let colours = |pixels: &[u8; TURN], part: usize| vector(simd, pixels, part).swizzle_dyn(order);
    let (turns, rest) = pixels.as_chunks::<TURN>();
    let mut done = 0;
    for turn in turns {
        // Each covers what the one before has written too much.
        if let Some(places) = row[done..].first_chunk_mut::<{ 3 * COLOURS + VECTOR }>() {
            colours(turn, 0).store_slice(&mut places[..VECTOR]);
            colours(turn, 1).store_slice(&mut places[COLOURS..][..VECTOR]);
            colours(turn, 2).store_slice(&mut places[2 * COLOURS..][..VECTOR]);
            colours(turn, 3).store_slice(&mut places[3 * COLOURS..][..VECTOR]);
        } else {
            // At the end of a row that fills its last turn.
            for (part, place) in row[done..].chunks_exact_mut(COLOURS).enumerate() {
                place.copy_from_slice(&colours(turn, part).as_slice()[..COLOURS]);
            }
        }
        done += TURN / RGBA * RGB;
    }
    for (colour, pixel) in row[done..].chunks_exact_mut(RGB).zip(rest.chunks_exact(RGBA)) {
        colour.copy_from_slice(&pixel[..RGB]);
    }
}

/// Writes the row as each filter leaves it, and says how large its differences are together.
#[inline(always)]
fn filter_row_with<S: Simd>(simd: S, current: &[u8], previous: &[u8], filtered: [&mut [u8]; 3]) -> [u32; 3] {
    let [rows, lefts] = [&current[RGB..], current].map(|bytes| bytes.as_chunks::<TURN>().0);
    let [aboves, corners] = [&previous[RGB..], previous].map(|bytes| bytes.as_chunks::<TURN>().0);
    let [subs, ups, paeths] = filtered.map(|bytes| bytes.as_chunks_mut::<TURN>().0);
    let neighbours = rows.iter().zip(lefts).zip(aboves).zip(corners);
    let results = subs.iter_mut().zip(ups).zip(paeths);
    let mut totals = [u32x4::splat(simd, 0); 3];
    let mut sums = [u16x8::splat(simd, 0); 3];
    for (turn, ((((row, left), above), corner), ((sub, up), paeth))) in neighbours.zip(results).enumerate() {
        for part in 0..TURN / VECTOR {
            let [x, a, b, c] = [row, left, above, corner].map(|bytes| vector(simd, bytes, part));
            let differences = [x - a, x - b, x - predicted(a, b, c)];
            for ((place, sum), difference) in
                [&mut *sub, &mut *up, &mut *paeth].into_iter().zip(&mut sums).zip(differences)
            {
                difference.store_array(&mut place.as_chunks_mut::<VECTOR>().0[part]);
                let size = difference.min(u8x16::splat(simd, 0) - difference);
                *sum += size.pairwise_widening_add();
            }
        }
        if turn % TURNS_SUMMED == TURNS_SUMMED - 1 {
            add(simd, &mut totals, &mut sums);
        }
    }
    add(simd, &mut totals, &mut sums);
    totals.map(|total| total.as_slice().iter().sum())
}

#[inline(always)]
fn add<S: Simd>(simd: S, totals: &mut [u32x4<S>; 3], sums: &mut [u16x8<S>; 3]) {
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total += sum.pairwise_widening_add();
        *sum = u16x8::splat(simd, 0);
    }
}

#[inline(always)]
fn vector<S: Simd>(simd: S, bytes: &[u8; TURN], part: usize) -> u8x16<S> {
    u8x16::load_array_ref(simd, &bytes.as_chunks::<VECTOR>().0[part])
}

/// Paeth's predictor: of left, above and corner the one nearest to left + above - corner, without leaving 8 bits.
#[inline(always)]
fn predicted<S: Simd>(left: u8x16<S>, above: u8x16<S>, corner: u8x16<S>) -> u8x16<S> {
    let from_left = above.max(corner) - above.min(corner);
    let from_above = left.max(corner) - left.min(corner);
    // Both on the same side of the corner: the distances add up, and where they would not fit they are the largest anyhow.
    let same_side = left.simd_ge(corner) ^ above.simd_lt(corner);
    let apart = from_left.max(from_above) - from_left.min(from_above);
    let from_corner = same_side.select(from_left.saturating_add(from_above), apart);
    let above_or_corner = from_above.simd_le(from_corner).select(above, corner);
    from_left.simd_le(from_above.min(from_corner)).select(left, above_or_corner)
}

#[cfg(test)]
mod tests;
