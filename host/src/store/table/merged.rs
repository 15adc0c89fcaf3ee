//! Records in the order of their keys, of the database and what lies over it.

use std::iter::Peekable;

use sled::IVec;

use super::{Layer, Write};
use crate::store::StoreError;

/// A record of the database.
type Found = sled::Result<(IVec, IVec)>;

/// Records one after the other.
pub(in crate::store) struct Merged {
    over: Peekable<Box<dyn Iterator<Item = Write>>>,
    under: Peekable<Box<dyn Iterator<Item = Found>>>,
    /// Whether the first key comes before the second.
    is_before: fn(&IVec, &IVec) -> bool,
}

impl Merged {
    pub(super) fn forwards(over: Layer, under: sled::Iter) -> Self {
        Self::of(Box::new(over.into_iter()), Box::new(under), |a, b| a < b)
    }

    pub(super) fn backwards(over: Layer, under: sled::Iter) -> Self {
        Self::of(Box::new(over.into_iter().rev()), Box::new(under.rev()), |a, b| a > b)
    }

    fn of(
        over: Box<dyn Iterator<Item = Write>>,
        under: Box<dyn Iterator<Item = Found>>,
        is_before: fn(&IVec, &IVec) -> bool,
    ) -> Self {
        Self { over: over.peekable(), under: under.peekable(), is_before }
    }

    /// The next key that lies over the database and is not behind the database's next one, whose place it takes if they are the same.
    fn next_over(&mut self) -> Option<Write> {
        let (over, _) = self.over.peek()?;
        match self.under.peek() {
            Some(Err(_)) => return None,
            Some(Ok((under, _))) if (self.is_before)(under, over) => return None,
            Some(Ok((under, _))) if under == over => drop(self.under.next()),
            _ => {}
        }
        self.over.next()
    }
}

impl Iterator for Merged {
    type Item = Result<(IVec, IVec), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((key, value)) = self.next_over() {
            if let Some(value) = value {
                return Some(Ok((key, value)));
            }
        }
        self.under.next().map(|entry| Ok(entry?))
    }
}
