//! Records in the order of their keys, of the database and what lies over it.

use std::iter::Peekable;
use std::ops::Bound;
use std::vec;

use sled::IVec;

use super::{Table, Write};
use crate::store::StoreError;

/// So much of what lies over the database is copied at a time, so that nobody waits for it who commits.
const STRETCH_WRITES: usize = 256;

/// Which keys, from the first to the last in their order.
pub(super) type Range = (Bound<IVec>, Bound<IVec>);

/// A record of the database.
type Found = sled::Result<(IVec, IVec)>;

/// Records one after the other, a stretch at a time.
pub(in crate::store) struct Merged {
    table: Table,
    is_backwards: bool,
    over: Peekable<vec::IntoIter<Write>>,
    under: Peekable<Box<dyn Iterator<Item = Found>>>,
    /// What comes after this stretch.
    rest: Option<Range>,
}

impl Merged {
    pub(super) fn new(table: Table, range: Range, is_backwards: bool) -> Self {
        let nothing: Box<dyn Iterator<Item = Found>> = Box::new(std::iter::empty());
        Self {
            table,
            is_backwards,
            over: Vec::new().into_iter().peekable(),
            under: nothing.peekable(),
            rest: Some(range),
        }
    }

    /// Goes on with the next stretch: it ends where what was copied of the layers does. They are looked at before the database is, so that
    /// nothing is overlooked that moves meanwhile.
    fn begin_stretch(&mut self, (from, to): Range) {
        let mut over = self.table.layers().within(&(from.clone(), to.clone()), self.is_backwards, STRETCH_WRITES);
        let end = if over.len() < STRETCH_WRITES { None } else { over.pop() };
        let (stretch, rest) = match (end, self.is_backwards) {
            (None, _) => ((from, to), None),
            (Some((end, _)), false) => ((from, Bound::Excluded(end.clone())), Some((Bound::Included(end), to))),
            (Some((end, _)), true) => ((Bound::Excluded(end.clone()), to), Some((from, Bound::Included(end)))),
        };
        self.rest = rest;
        self.over = over.into_iter().peekable();
        let under = self.table.db.range(stretch);
        let under: Box<dyn Iterator<Item = Found>> =
            if self.is_backwards { Box::new(under.rev()) } else { Box::new(under) };
        self.under = under.peekable();
    }

    /// The next key that lies over the database and is not behind the database's next one, whose place it takes if they are the same.
    fn next_over(&mut self) -> Option<Write> {
        let (over, _) = self.over.peek()?;
        match self.under.peek() {
            Some(Err(_)) => return None,
            Some(Ok((under, _))) if under == over => drop(self.under.next()),
            Some(Ok((under, _))) if (under < over) != self.is_backwards => return None,
            _ => {}
        }
        self.over.next()
    }
}

impl Iterator for Merged {
    type Item = Result<(IVec, IVec), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some((key, value)) = self.next_over() {
                if let Some(value) = value {
                    return Some(Ok((key, value)));
                }
            }
            if let Some(entry) = self.under.next() {
                return Some(entry.map_err(StoreError::from));
            }
            let rest = self.rest.take()?;
            self.begin_stretch(rest);
        }
    }
}
