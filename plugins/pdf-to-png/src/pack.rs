//! Packs the filtered rows of a PNG: literals and runs of zeros, in a code that never changes.
//!
//! The code and the idea are those of `fdeflate`, whose compressor looks at every word of every row and writes single bytes in loops.
//! In the sandbox each turn of a loop costs as much as what it does, and this one turn handles eight bytes wherever they begin; a row
//! that is equal to the one above is not looked at.

use crate::checksum::Checksum;

/// How many bits each symbol has: the 256 bytes, the end, and the lengths of a match. Made for the differences that filters leave, most
/// of which are near zero.
const LENGTHS: [u8; 286] = [
    2, 3, 4, 5, 5, 6, 6, 7, 7, 7, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 11, 11, 11,
    11, 11, 11, 11, 11, 11, 11, 11, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
    12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
    12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
    12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
    12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
    12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
    12, 12, 12, 12, 12, 12, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 10, 11, 10, 10, 10, 10, 10, 10, 10, 10, 10, 9, 9,
    9, 9, 9, 8, 9, 8, 8, 8, 8, 8, 7, 7, 7, 6, 6, 6, 5, 4, 3, 12, 12, 12, 9, 9, 11, 10, 11, 11, 10, 11, 11, 11, 11, 11,
    11, 12, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 9,
];

/// How the stream begins: the two bytes of its format, and the one block's description of the code above. Of the last byte, only the
/// lowest bits are used.
const HEADER: [u8; 54] = [
    120, 1, 237, 192, 3, 160, 36, 89, 150, 198, 241, 255, 119, 238, 141, 200, 204, 167, 114, 75, 99, 174, 109, 219,
    182, 109, 219, 182, 109, 219, 182, 109, 105, 140, 158, 150, 74, 175, 158, 50, 51, 34, 238, 249, 118, 183, 106, 122,
    166, 135, 59, 107, 213, 15,
];
const HEADER_LAST_BITS: u32 = 5;

/// The symbol that ends the block, and the first of those for lengths, with the shortest match each stands for and its extra bits.
const END: usize = 256;
const FIRST_MATCH: usize = 257;
const SHORTEST: [usize; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const EXTRA_BITS: [u32; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const MATCH_MAX: usize = 258;
/// A match goes back by one byte always: the code has one distance, of one bit.
const DISTANCE_BITS: u32 = 1;

/// What is written for something: bits, the lowest first, and their number.
#[derive(Clone, Copy)]
struct Code {
    bits: u32,
    count: u32,
}

const SYMBOLS: [Code; LENGTHS.len()] = symbols();
const REPEATS: [Code; MATCH_MAX + 1] = repeats();
/// Zeros have the shortest code, and its bits are zeros as well: to write more of them is to count more bits.
const ZERO_BITS: u32 = SYMBOLS[0].count;
const _: () = assert!(SYMBOLS[0].bits == 0);

/// Matches of the greatest length that are written at once.
const MATCHES_AT_ONCE: usize = 5;
const LONGEST: u64 = REPEATS[MATCH_MAX].bits as u64;
const LONGEST_BITS: u32 = REPEATS[MATCH_MAX].count;

/// The first seven bytes of a word: so many zeros are shorter as a match.
const SEVEN: u64 = u64::MAX >> u8::BITS;

/// Bytes that are looked at together, where zeros are likely.
const TURN: usize = 64;
const WORD: usize = size_of::<u64>();

/// Rows of one picture on their way into its file.
pub(crate) struct Packer {
    checksum: Checksum,
    /// Bits that do not fill a byte yet.
    bits: u64,
    bits_count: u32,
    /// Room for what is sent at once and one row more, and how much of it is taken.
    packed: Vec<u8>,
    packed_bytes: usize,
}

impl Packer {
    /// For rows of so many bytes, of which so many packed ones will be taken out at once.
    pub(crate) fn new(row_bytes: usize, sent_bytes: usize) -> Self {
        // No byte takes more than 12 bits, and the last word is written whole.
        let room = sent_bytes.max(HEADER.len()) + row_bytes * 3 / 2 + 4 * WORD;
        let mut packed = vec![0; room];
        let [whole @ .., last] = HEADER;
        packed[..whole.len()].copy_from_slice(&whole);
        Self {
            checksum: Checksum::new(),
            bits: last.into(),
            bits_count: HEADER_LAST_BITS,
            packed,
            packed_bytes: whole.len(),
        }
    }

    /// Adds a row.
    #[inline(never)]
    pub(crate) fn add(&mut self, row: &[u8]) {
        self.checksum.add(row);
        let mut writer = self.writer();
        let mut rest = row;
        while let Some(word) = rest.first_chunk() {
            let word = u64::from_le_bytes(*word);
            if word & SEVEN == 0 {
                let zeros = zeros_before(rest);
                writer.write_zeros(zeros);
                rest = &rest[zeros..];
            } else {
                // Zeros at its end may be the beginning of more.
                let zeros = word.leading_zeros() / u8::BITS;
                writer.write_bytes(word, zeros);
                rest = &rest[WORD - zeros as usize..];
            }
        }
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        writer.write_bytes(u64::from_le_bytes(last), (WORD - rest.len()) as u32);
        let state = writer.state();
        self.keep(state);
    }

    /// Adds a row of one byte and zeros behind it.
    pub(crate) fn add_zeros_behind(&mut self, first: u8, row_bytes: usize) {
        self.checksum.add_zeros_behind(first, row_bytes);
        let mut writer = self.writer();
        writer.write(SYMBOLS[usize::from(first)]);
        if row_bytes > 1 {
            writer.write_zeros(row_bytes - 1);
        }
        let state = writer.state();
        self.keep(state);
    }

    /// Ends the stream. No row follows.
    pub(crate) fn finish(&mut self) {
        let checksum = self.checksum.finish();
        let mut writer = self.writer();
        writer.write(SYMBOLS[END]);
        // The checksum begins with a byte of its own.
        let unused = writer.count.next_multiple_of(u8::BITS) - writer.count;
        writer.put(0, unused);
        writer.put(checksum.swap_bytes().into(), u32::BITS);
        let state = writer.state();
        self.keep(state);
    }

    /// What has been packed and not been taken yet.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.packed[..self.packed_bytes]
    }

    /// Makes room.
    pub(crate) fn clear(&mut self) {
        self.packed_bytes = 0;
    }

    fn writer(&mut self) -> BitWriter<'_> {
        BitWriter { out: &mut self.packed, at: self.packed_bytes, bits: self.bits, count: self.bits_count }
    }

    fn keep(&mut self, (at, bits, count): (usize, u64, u32)) {
        (self.packed_bytes, self.bits, self.bits_count) = (at, bits, count);
    }
}

/// Zeros that a row begins with.
#[inline(always)]
fn zeros_before(row: &[u8]) -> usize {
    let word = |bytes: &[u8; WORD]| u64::from_le_bytes(*bytes);
    let is_zero = |turn: &&[u8; TURN]| turn.as_chunks().0.iter().fold(0, |all, bytes| all | word(bytes)) == 0;
    let mut zeros = TURN * row.as_chunks::<TURN>().0.iter().take_while(is_zero).count();
    while let Some(bytes) = row[zeros..].first_chunk() {
        match word(bytes) {
            0 => zeros += WORD,
            word => return zeros + (word.trailing_zeros() / u8::BITS) as usize,
        }
    }
    zeros
}

/// Bits on their way into bytes: fewer than eight, and where to put them. It is copied, so that all of it can be in registers.
struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
    bits: u64,
    count: u32,
}

impl BitWriter<'_> {
    /// Adds up to 56 bits.
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32) {
        self.bits |= bits << self.count;
        self.count += count;
        self.out[self.at..][..WORD].copy_from_slice(&self.bits.to_le_bytes());
        self.at += (self.count / u8::BITS) as usize;
        self.bits >>= self.count & !(u8::BITS - 1);
        self.count %= u8::BITS;
    }

    #[inline(always)]
    fn write(&mut self, code: Code) {
        self.put(code.bits.into(), code.count);
    }

    /// The bytes of a word, but for so many zeros at its end.
    #[inline(always)]
    fn write_bytes(&mut self, word: u64, zeros: u32) {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        let zeros_in_first = zeros.saturating_sub(4);
        self.write_four([a, b, c, d], zeros_in_first);
        self.write_four([e, f, g, h], zeros - zeros_in_first);
    }

    #[inline(always)]
    fn write_four(&mut self, bytes: [u8; 4], zeros: u32) {
        let [a, b, c, d] = bytes.map(|byte| SYMBOLS[usize::from(byte)]);
        let [ab, cd] =
            [(a, b), (c, d)].map(|(one, other)| (one.bits | other.bits << one.count, one.count + other.count));
        let bits = u64::from(ab.0) | u64::from(cd.0) << ab.1;
        self.put(bits, ab.1 + cd.1 - zeros * ZERO_BITS);
    }

    /// One zero or more: the first as a byte, and the rest as repetitions of it.
    #[inline(always)]
    fn write_zeros(&mut self, zeros: usize) {
        self.put(0, ZERO_BITS);
        let mut rest = zeros - 1;
        while rest >= MATCHES_AT_ONCE * MATCH_MAX {
            self.put(LONGEST_MATCHES, MATCHES_AT_ONCE as u32 * LONGEST_BITS);
            rest -= MATCHES_AT_ONCE * MATCH_MAX;
        }
        while rest >= MATCH_MAX {
            self.put(LONGEST, LONGEST_BITS);
            rest -= MATCH_MAX;
        }
        self.write(REPEATS[rest]);
    }

    fn state(self) -> (usize, u64, u32) {
        (self.at, self.bits, self.count)
    }
}

const LONGEST_MATCHES: u64 = {
    let (mut bits, mut number) = (0, 0);
    while number < MATCHES_AT_ONCE {
        bits = bits << LONGEST_BITS | LONGEST;
        number += 1;
    }
    bits
};

/// Codes of equal length follow one another, the shorter before the longer, and their highest bit comes first.
const fn symbols() -> [Code; LENGTHS.len()] {
    let mut symbols = [Code { bits: 0, count: 0 }; LENGTHS.len()];
    let (mut next, mut count) = (0_u32, 1);
    while count <= 12 {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as u32 == count {
                symbols[symbol] = Code { bits: next.reverse_bits() >> (u32::BITS - count), count };
                next += 1;
            }
            symbol += 1;
        }
        next <<= 1;
        count += 1;
    }
    symbols
}

/// What is written for so many more of the byte before: a match, or for a few zeros their codes.
const fn repeats() -> [Code; MATCH_MAX + 1] {
    let symbols = symbols();
    let mut repeats = [Code { bits: 0, count: 0 }; MATCH_MAX + 1];
    let mut index = 0;
    while index < SHORTEST.len() {
        let (shortest, extra_bits) = (SHORTEST[index], EXTRA_BITS[index]);
        let symbol = symbols[FIRST_MATCH + index];
        let mut extra = 0;
        while extra < 1 << extra_bits && shortest + extra <= MATCH_MAX {
            repeats[shortest + extra] = Code {
                bits: symbol.bits | (extra as u32) << symbol.count,
                count: symbol.count + extra_bits + DISTANCE_BITS,
            };
            extra += 1;
        }
        index += 1;
    }
    let mut few = 0;
    while few <= 4 {
        repeats[few] = Code { bits: 0, count: few as u32 * symbols[0].count };
        few += 1;
    }
    repeats
}

#[cfg(test)]
mod tests;
