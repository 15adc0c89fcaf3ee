//! Kinds that an operator has paused: remembered until resumed, whatever happens to the process.
//!
//! What memory knows follows each durable commit and is changed by the writer alone, so that it says what the disk says
//! however many pause and resume at the same time, and whether or not they wait for the answer.

use std::collections::HashSet;
use std::sync::PoisonError;

use super::disk::Disk;
use super::group::Group;
use super::keys::{self, PAUSED_PREFIX};
use super::table::Table;
use super::writer::Change;
use super::{Store, StoreError};
use crate::job::Kind;

impl Store {
    /// Remembers that a kind is paused, or forgets it. Durable when this returns.
    pub async fn set_paused(&self, kind: Kind, paused: bool) -> Result<(), StoreError> {
        self.change(|reply| Change::Pause { kind, paused, reply }).await
    }

    /// Whether a kind is paused.
    pub fn is_paused(&self, kind: &Kind) -> bool {
        self.paused(|paused| paused.contains(kind))
    }

    /// Looks at the kinds that are paused.
    pub fn paused<T>(&self, look: impl FnOnce(&HashSet<Kind>) -> T) -> T {
        look(&self.disk.paused.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Disk {
    /// Takes up whether kinds are paused, once that is durable, in the order in which it was asked for.
    pub(super) fn set_paused(&self, kinds: impl IntoIterator<Item = (Kind, bool)>) {
        let mut all = self.paused.write().unwrap_or_else(PoisonError::into_inner);
        for (kind, paused) in kinds {
            if paused {
                all.insert(kind)
            } else {
                all.remove(&kind)
            };
        }
    }
}

/// The kinds that are paused in a database.
pub(super) fn paused(db: &Table) -> impl Iterator<Item = Result<Kind, StoreError>> {
    db.scan_prefix(PAUSED_PREFIX).map(|entry| kind_of(&entry?.0))
}

/// The kind in the key of a record that says it is paused.
pub(super) fn kind_of(key: &[u8]) -> Result<Kind, StoreError> {
    let name = key.strip_prefix(PAUSED_PREFIX).and_then(|name| std::str::from_utf8(name).ok());
    name.and_then(Kind::new).ok_or_else(|| StoreError::damaged("a paused kind has no proper name"))
}

impl Group<'_> {
    pub(super) fn pause(&mut self, kind: Kind, paused: bool) -> Result<(), StoreError> {
        let key = keys::paused_key(&kind);
        if paused {
            self.writes.record(&key, &1u64)?;
        } else {
            self.writes.remove(&key);
        }
        self.paused.push((kind, paused));
        Ok(())
    }
}
