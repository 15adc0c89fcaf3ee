//! Counts the cells of a grid below a graph.
//!
//! The rectangle [a, b] x [c, d] is cut into `size` x `size` equal cells. A cell counts when its centre is at or
//! below the graph: `y <= f(x)`. The area is the share of cells that count, times the area of the rectangle.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grid {
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) c: f64,
    pub(crate) d: f64,
    pub(crate) size: u32,
}

/// Columns between two reports: well below a tenth of a second of work for all but the longest formulas.
const REPORT_EVERY: u32 = 4096;

/// How far the counting has come. What was counted is a whole number, so stopping and going on changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counted {
    /// Columns that are done.
    pub(crate) columns: u32,
    /// Cells in them that count.
    pub(crate) cells: u64,
}

impl Grid {
    /// The area below `f` inside the rectangle, where so much of it is counted already. `report` hears now and then how far
    /// the counting has come.
    ///
    /// A value of `f` that is no number (NaN) has no cell below it; infinity has all, minus infinity none.
    pub(crate) fn area_below(
        &self,
        mut f: impl FnMut(f64) -> f64,
        counted: Counted,
        mut report: impl FnMut(Counted),
    ) -> f64 {
        let mut cells = counted.cells;
        for columns in counted.columns..self.size {
            if columns % REPORT_EVERY == 0 {
                report(Counted { columns, cells });
            }
            cells += u64::from(self.cells_at_or_below(f(self.x(columns))));
        }
        self.area_of(cells)
    }

    /// Whether the counting of this grid can have come so far.
    pub(crate) fn can_have(&self, counted: Counted) -> bool {
        counted.columns <= self.size && counted.cells <= u64::from(counted.columns) * u64::from(self.size)
    }

    /// How many cell centres of one column are at or below `height`.
    ///
    /// The centres only ever rise with the row, in floating-point arithmetic too, so those that count are
    /// the lowest ones and a binary search finds where they end. The answer is the one that comparing every
    /// cell gives, to the last cell, but a column costs log2(size) comparisons instead of `size`.
    fn cells_at_or_below(&self, height: f64) -> u32 {
        let (mut low, mut high) = (0, self.size);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.y(middle) <= height {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn area_of(&self, cells: u64) -> f64 {
        let all = u64::from(self.size) * u64::from(self.size);
        (cells as f64 / all as f64) * (self.b - self.a) * (self.d - self.c)
    }

    /// The middle of a column.
    fn x(&self, column: u32) -> f64 {
        self.a + (f64::from(column) + 0.5) * ((self.b - self.a) / f64::from(self.size))
    }

    /// The middle of a row.
    fn y(&self, row: u32) -> f64 {
        self.c + (f64::from(row) + 0.5) * ((self.d - self.c) / f64::from(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_comparing_every_cell(grid: &Grid, f: impl Fn(f64) -> f64) -> f64 {
        let mut cells = 0;
        for column in 0..grid.size {
            let height = f(grid.x(column));
            cells += (0..grid.size).filter(|&row| grid.y(row) <= height).count() as u64;
        }
        grid.area_of(cells)
    }

    #[test]
    fn searching_gives_exactly_what_counting_gives() {
        type Named = (&'static str, fn(f64) -> f64);
        let functions: [Named; 10] = [
            ("quarter circle", |x| (4.0 - x * x).sqrt()),
            ("on the cell centres", |x| x),
            ("between the centres", |_| 0.5),
            ("waves", |x| (13.0 * x).sin()),
            ("never a number", |_| f64::NAN),
            ("infinity", |_| f64::INFINITY),
            ("minus infinity", |_| f64::NEG_INFINITY),
            ("a pole", |x| 1.0 / (x - 0.5)),
            ("sometimes a number", |x| x.ln()),
            ("huge", |x| 1e300 * x),
        ];
        let rectangles = [
            (0.0, 2.0, 0.0, 2.0),
            (-1.0, 1.0, -1.0, 1.0),
            (0.1, 0.7, 0.2, 0.3),
            (-3.0, 5.0, -7.5, 1e6),
            (1e15, 1e15 + 2.0, 1e15, 1e15 + 2.0),
            (0.0, 1e-300, 0.0, 1e-300),
        ];
        for (name, f) in functions {
            for (a, b, c, d) in rectangles {
                for size in [1, 2, 3, 10, 97, 128] {
                    let grid = Grid { a, b, c, d, size };
                    let expected = by_comparing_every_cell(&grid, f);
                    assert_eq!(grid.area_below(f, Counted::default(), |_| {}), expected, "{name} on {grid:?}");
                }
            }
        }
    }

    #[test]
    fn a_quarter_circle_of_radius_two_measures_pi() {
        let grid = |size| Grid { a: 0.0, b: 2.0, c: 0.0, d: 2.0, size };
        let f = |x: f64| (4.0 - x * x).sqrt();
        let area = |size| grid(size).area_below(f, Counted::default(), |_| {});
        assert!((area(100) - std::f64::consts::PI).abs() < 1e-2);
        assert!((area(10_000) - std::f64::consts::PI).abs() < 1e-5);
    }

    #[test]
    fn special_values_fill_all_or_nothing() {
        let grid = Grid { a: 0.0, b: 2.0, c: 0.0, d: 3.0, size: 10 };
        let area = |value| grid.area_below(|_| value, Counted::default(), |_| {});
        assert_eq!((area(f64::NAN), area(f64::NEG_INFINITY), area(f64::INFINITY)), (0.0, 0.0, 6.0));
    }

    #[test]
    fn large_grids_report_their_progress() {
        let grid = Grid { a: 0.0, b: 1.0, c: 0.0, d: 1.0, size: 10_000 };
        let mut reports = Vec::new();
        grid.area_below(|x| x, Counted::default(), |counted| reports.push(counted.columns));
        assert_eq!(reports, [0, 4096, 8192]);
    }

    #[test]
    fn going_on_from_any_report_gives_the_very_same_area() {
        let grid = Grid { a: 0.0, b: 3.0, c: -1.0, d: 1.0, size: 20_000 };
        let mut reports = Vec::new();
        let area = grid.area_below(f64::sin, Counted::default(), |counted| reports.push(counted));
        assert!(reports.len() > 3);
        for counted in reports {
            assert!(grid.can_have(counted));
            assert_eq!(grid.area_below(f64::sin, counted, |_| {}), area, "{counted:?}");
        }
    }

    #[test]
    fn what_another_grid_has_counted_is_told_apart() {
        let grid = Grid { a: 0.0, b: 1.0, c: 0.0, d: 1.0, size: 100 };
        assert!(grid.can_have(Counted { columns: 100, cells: 10_000 }));
        assert!(!grid.can_have(Counted { columns: 101, cells: 0 }));
        assert!(!grid.can_have(Counted { columns: 10, cells: 1_001 }));
    }
}
