//! Kinds that an operator has paused: remembered until resumed, whatever happens to the process.

use super::record::{self, PAUSED_PREFIX};
use super::writer::{Change, Group};
use super::{Store, StoreError};
use crate::job::Kind;

impl Store {
    /// Remembers that a kind is paused, or forgets it. Durable when this returns.
    pub async fn set_paused(&self, kind: Kind, paused: bool) -> Result<(), StoreError> {
        self.change(|reply| Change::Pause { kind, paused, reply }).await
    }

    /// The kinds that are paused.
    pub fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        paused(&self.disk.db)
    }
}

/// The kinds that are paused in a database.
pub(super) fn paused(db: &sled::Db) -> Result<Vec<Kind>, StoreError> {
    let mut kinds = Vec::new();
    for entry in db.scan_prefix(PAUSED_PREFIX) {
        let (key, _) = entry?;
        let name = key.strip_prefix(PAUSED_PREFIX).and_then(|name| std::str::from_utf8(name).ok());
        let kind = name.and_then(Kind::new).ok_or_else(|| StoreError::damaged("a paused kind has no proper name"))?;
        kinds.push(kind);
    }
    Ok(kinds)
}

impl Group<'_> {
    pub(super) fn pause(&mut self, kind: &Kind, paused: bool) -> Result<(), StoreError> {
        let key = record::paused_key(kind);
        if paused {
            self.writes.record(&key, &1u64)?;
        } else {
            self.writes.remove(&key);
        }
        Ok(())
    }
}
