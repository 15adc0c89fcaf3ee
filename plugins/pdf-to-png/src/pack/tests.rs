//! What is packed can be unpacked again, and is no longer than what the library makes whose code it is.

use super::*;

const CHUNK: usize = 1000;

/// The rows as a stream, taken out in pieces.
fn pack(rows: &[Vec<u8>]) -> Vec<u8> {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut packer = Packer::new(longest, CHUNK);
    let mut packed = Vec::new();
    for row in rows {
        match row.split_first() {
            Some((&first, behind)) if behind.iter().all(|&byte| byte == 0) => packer.add_zeros_behind(first, row.len()),
            _ => packer.add(row),
        }
        if packer.packed().len() >= CHUNK {
            packed.extend_from_slice(packer.packed());
            packer.clear();
        }
    }
    packer.finish();
    packed.extend_from_slice(packer.packed());
    packed
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    fdeflate::decompress_to_vec(packed).expect("a whole stream with the right checksum")
}

/// Numbers that look random, the same each time.
fn noise() -> impl FnMut() -> usize {
    let mut state = 1_u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize
    }
}

#[test]
fn nothing_is_packed() {
    assert_eq!(pack(&[]), fdeflate::compress_to_vec(&[]));
}

#[test]
fn rows_of_any_bytes_can_be_read_back() {
    let mut noise = noise();
    for length in (1..200).chain([4960, 196_606]) {
        let rows: Vec<Vec<u8>> = (0..4).map(|_| (0..length).map(|_| noise() as u8).collect()).collect();
        assert!(unpack(&pack(&rows)) == rows.concat(), "of {length} bytes");
    }
}

#[test]
fn zeros_of_any_number_can_be_read_back() {
    for zeros in (0..600).chain([1289, 1290, 1291, 1292, 4959, 196_605]) {
        let between = [vec![4, 7, 7], vec![0; zeros], vec![9]].concat();
        let at_the_end = [vec![4, 7], vec![0; zeros]].concat();
        let behind = [vec![2], vec![0; zeros]].concat();
        let rows = [between, behind.clone(), at_the_end, behind];
        assert!(unpack(&pack(&rows)) == rows.concat(), "{zeros}");
    }
}

#[test]
fn sums_of_rows_that_are_not_looked_at_are_right() {
    let row = [vec![255], vec![0; 196_605]].concat();
    let rows = vec![row; 300];
    assert!(unpack(&pack(&rows)) == rows.concat());
}

#[test]
fn bytes_among_zeros_are_packed_as_well_as_by_the_library() {
    let mut noise = noise();
    for gap in [1, 2, 3, 5, 8, 13, 40, 300] {
        let mut row = vec![1];
        while row.len() < 50_000 {
            row.extend((0..1 + noise() % 20).map(|_| (noise() % 9) as u8));
            row.resize(row.len() + noise() % (2 * gap), 0);
        }
        let (packed, library) = (pack(std::slice::from_ref(&row)), fdeflate::compress_to_vec(&row));
        assert!(unpack(&packed) == row);
        assert!(packed.len() * 1000 <= library.len() * 1002, "{} and {}, {gap}", packed.len(), library.len());
    }
}
