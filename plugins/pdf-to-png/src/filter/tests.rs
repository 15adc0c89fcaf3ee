//! The filters beside the words of the PNG specification.

use super::*;

/// As the specification has it.
fn paeth(a: u8, b: u8, c: u8) -> u8 {
    let [x, y, z] = [a, b, c].map(i32::from);
    let estimate = x + y - z;
    let [left, above, corner] = [x, y, z].map(|value| (estimate - value).abs());
    if left <= above && left <= corner {
        a
    } else if above <= corner {
        b
    } else {
        c
    }
}

/// Numbers that look random, the same each time.
fn noise() -> impl FnMut() -> u8 {
    let mut state = 1_u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }
}

/// What a decoder makes of a filtered row.
fn undo(filtered: &[u8], above: &[u8]) -> Vec<u8> {
    let mut row: Vec<u8> = Vec::new();
    for (index, byte) in filtered[1..].iter().enumerate() {
        let left = |row: &[u8]| if index < RGB { 0 } else { row[index - RGB] };
        let guess = match filtered[0] {
            1 => left(&row),
            2 => above[index],
            4 => paeth(left(&row), above[index], left(above)),
            other => panic!("filter {other}"),
        };
        row.push(byte.wrapping_add(guess));
    }
    row
}

fn whole(filtered: Filtered<'_>) -> Vec<u8> {
    match filtered {
        Filtered::Row(bytes) => bytes.to_vec(),
        Filtered::Zeros { behind, row_bytes } => {
            let mut bytes = vec![0; row_bytes];
            bytes[0] = behind;
            bytes
        }
    }
}

#[test]
fn predictions_are_those_of_the_specification() {
    fn predict<S: Simd>(simd: S, values: [[u8; VECTOR]; 3]) -> [u8; VECTOR] {
        let [a, b, c] = values.map(|values| u8x16::load_array(simd, values));
        let mut result = [0; VECTOR];
        predicted(a, b, c).store_array(&mut result);
        result
    }
    for a in (0..=255).step_by(5) {
        for b in 0..=255 {
            for first in (0..=255).step_by(VECTOR) {
                let corners = array::from_fn(|lane| first + lane as u8);
                let values = [[a; VECTOR], [b; VECTOR], corners];
                let found = dispatch!(Level::new(), simd => predict(simd, values));
                assert_eq!(found, corners.map(|c| paeth(a, b, c)), "{a} {b} {first}");
            }
        }
    }
}

#[test]
fn rows_of_any_width_can_be_read_back() {
    let mut noise = noise();
    for width in (1..200).chain([1653, 65_535]) {
        let mut filter = RowFilter::new(width);
        let (mut above, mut pixels_above) = (vec![0; RGB * width], None);
        for kind in 0..6 {
            let pixels: Vec<u8> = match (kind, &pixels_above) {
                // White, noise, the same again, a slope, the same but for its last pixel.
                (0, _) => vec![255; RGBA * width],
                (2, Some(before)) => Vec::clone(before),
                (3, _) => (0..RGBA * width).map(|index| (index / RGBA) as u8).collect(),
                (5, Some(before)) => before[..RGBA * (width - 1)].iter().copied().chain([1, 2, 3, 255]).collect(),
                _ => (0..RGBA * width).map(|_| noise()).collect(),
            };
            let row: Vec<u8> = pixels.chunks_exact(RGBA).flat_map(|pixel| pixel[..RGB].to_vec()).collect();
            let filtered = whole(filter.filter(&pixels, pixels_above.as_deref()));
            assert_eq!(filtered.len(), 1 + RGB * width);
            assert!(undo(&filtered, &above) == row, "row {kind} of width {width}");
            (above, pixels_above) = (row, Some(pixels));
        }
    }
}

#[test]
fn the_filter_that_leaves_least_is_chosen() {
    const WIDTH: usize = 100;
    let chosen = |rows: [fn(usize) -> u8; 2]| {
        let mut filter = RowFilter::new(WIDTH);
        let [above, row] = rows.map(|value| (0..RGBA * WIDTH).map(|index| value(index / RGBA)).collect::<Vec<u8>>());
        filter.filter(&above, None);
        whole(filter.filter(&row, Some(&above)))[0]
    };
    let steep = |pixel: usize| (pixel * 37) as u8;
    assert_eq!(chosen([steep, |_| 200]), 1);
    assert_eq!(chosen([steep, |pixel| (pixel * 37 + 1) as u8]), 2);
    // Steps of 40, and 30 brighter than above: only at a step is it better to look up.
    assert_eq!(chosen([|pixel| (pixel / 25 * 40) as u8, |pixel| (pixel / 25 * 40 + 30) as u8]), 4);
    assert_eq!(chosen([steep, steep]), 2);
}

#[test]
fn sums_do_not_overflow() {
    // The largest differences there are, in the widest row.
    let width = 65_535;
    let pixels: Vec<u8> =
        (0..RGBA * width).map(|index| if (index / RGBA).is_multiple_of(2) { 128 } else { 0 }).collect();
    let mut filter = RowFilter::new(width);
    let row = whole(filter.filter(&pixels, None));
    assert_eq!(row[0], 2, "beside black, half of the pixels differ; to their left, all of them");
}
