//! The checksum at the end of a stream, Adler-32: one more than the sum of all bytes, and the sum of what that has been after each byte.
//!
//! The library for it multiplies each byte by how often it counts, 32 bytes in each turn of a loop. Here sums are summed instead, in 16
//! bits for as long as these suffice, which takes half the time in the sandbox.

use std::array;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x16, u16x8, u32x4};

const MODULUS: u32 = 65_521;

const VECTOR: usize = 16;
/// Bytes that one turn of the loop takes. Their sums of sums fit into 16 bits: 255 times 1 + 2 + ... + 16.
const TURN: usize = 16 * VECTOR;
/// Turns whose sums of sums fit into 32 bits.
const TURNS_SUMMED: usize = 16;

pub(crate) struct Checksum {
    level: Level,
    sum: u32,
    sum_of_sums: u32,
}

impl Checksum {
    pub(crate) fn new() -> Self {
        Self { level: Level::new(), sum: 1, sum_of_sums: 0 }
    }

    /// Adds bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let (beginning, turns) = bytes.as_rchunks();
        // Zeros in front count for nothing, so that the beginning is a turn as well.
        let mut first = [0; TURN];
        first[TURN - beginning.len()..].copy_from_slice(beginning);
        self.add_turns(&[first], beginning.len());
        for turns in turns.chunks(TURNS_SUMMED) {
            self.add_turns(turns, turns.len() * TURN);
        }
    }

    /// Adds one byte and zeros behind it, so many bytes together.
    pub(crate) fn add_zeros_behind(&mut self, first: u8, count: usize) {
        let sum = (self.sum + u32::from(first)) % MODULUS;
        let added = u64::from(sum) * count as u64 % u64::from(MODULUS);
        (self.sum, self.sum_of_sums) = (sum, (self.sum_of_sums + added as u32) % MODULUS);
    }

    pub(crate) fn finish(&self) -> u32 {
        self.sum_of_sums << u16::BITS | self.sum
    }

    fn add_turns(&mut self, turns: &[[u8; TURN]], bytes: usize) {
        let (sum, sum_of_sums) = sums(self.level, turns);
        self.sum_of_sums = (self.sum_of_sums + bytes as u32 * self.sum % MODULUS + sum_of_sums % MODULUS) % MODULUS;
        self.sum = (self.sum + sum) % MODULUS;
    }
}

// By itself, so that it has all registers.
#[inline(never)]
fn sums(level: Level, turns: &[[u8; TURN]]) -> (u32, u32) {
    dispatch!(level, simd => sums_with(simd, turns))
}

/// The sum of the bytes, and the sum of what it has been after each.
#[inline(always)]
fn sums_with<S: Simd>(simd: S, turns: &[[u8; TURN]]) -> (u32, u32) {
    let none = u32x4::splat(simd, 0);
    let [first_places, last_places] =
        [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]].map(|places| u16x8::load_array(simd, places));
    // Each once for every turn: the bytes of those before, after each vector the bytes so far, and how much less than a whole vector's
    // each byte counts in its own.
    let (mut before, mut within, mut less) = (none, none, none);
    let mut sum = none;
    for turn in turns {
        before += sum;
        let mut bytes = [u16x8::splat(simd, 0); 2];
        let mut sums = bytes;
        let mut add = |quarter: &[u8; TURN / 4]| {
            for vector in quarter.as_chunks::<VECTOR>().0 {
                let (first, last) = u8x16::load_array_ref(simd, vector).widen();
                bytes[0] += first;
                bytes[1] += last;
                sums[0] += bytes[0];
                sums[1] += bytes[1];
            }
        };
        // Not in a loop, of which each turn would put the vectors into memory and take them out again.
        let [a, b, c, d] = quarters(turn);
        add(a);
        add(b);
        add(c);
        add(d);
        sum += (bytes[0] + bytes[1]).pairwise_widening_add();
        within += sums[0].pairwise_widening_add() + sums[1].pairwise_widening_add();
        less += (bytes[0] * first_places).pairwise_widening_add() + (bytes[1] * last_places).pairwise_widening_add();
    }
    let [before, within, less, sum] = [before, within, less, sum].map(|lanes| lanes.as_slice().iter().sum::<u32>());
    (sum, before * TURN as u32 + within * VECTOR as u32 - less)
}

fn quarters(turn: &[u8; TURN]) -> [&[u8; TURN / 4]; 4] {
    array::from_fn(|quarter| &turn.as_chunks().0[quarter])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(pieces: &[&[u8]]) -> u32 {
        let mut checksum = Checksum::new();
        for piece in pieces {
            checksum.add(piece);
        }
        checksum.finish()
    }

    /// As the standard says it.
    fn plain(bytes: &[u8]) -> u32 {
        let sums = |(sum, sum_of_sums): (u32, u32), &byte: &u8| {
            let sum = (sum + u32::from(byte)) % MODULUS;
            (sum, (sum_of_sums + sum) % MODULUS)
        };
        let (sum, sum_of_sums) = bytes.iter().fold((1, 0), sums);
        sum_of_sums << 16 | sum
    }

    #[test]
    fn bytes_of_any_number_and_size_have_their_sum() {
        assert_eq!(checksum(&[b"Wikipedia"]), 0x11e6_0398, "what every encyclopedia says");
        let noise: Vec<u8> = (0_u32..20_000).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        // The largest sums that there are.
        let largest = vec![255; 20_000];
        for bytes in [noise, largest] {
            for count in (0..600).chain([4_095, 4_096, 4_097, 4_352, 8_192, 20_000]) {
                let (one, other) = bytes[..count].split_at(count / 3);
                assert_eq!(checksum(&[one, other]), plain(&bytes[..count]), "{count}");
            }
        }
    }

    #[test]
    fn zeros_need_not_be_looked_at() {
        for count in [1, 2, 17, 4_963, 196_606, 20_000_000] {
            let mut bytes = vec![0; count];
            bytes[0] = 250;
            let mut checksum = Checksum::new();
            checksum.add(&[255; 300]);
            checksum.add_zeros_behind(250, count);
            assert_eq!(checksum.finish(), plain(&[vec![255; 300], bytes].concat()), "{count}");
        }
    }
}
