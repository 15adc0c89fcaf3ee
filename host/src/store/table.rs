//! Every record, as the newest commit left it: the database, and over it what the database does not have yet.
//!
//! A commit is durable once the journal has it. Until the database has it as well, what it wrote lies in a layer in memory: the newer one
//! takes up commits; the older one, while there is one, is on its way to the database. So the database is written seldom and much at a
//! time, and nobody waits for it; and what is written twice in between, as the record of a quick job may be, gets there once. Stores that
//! are logs throughout call the layers memtables.

mod merged;
mod opening;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sled::IVec;

use self::merged::{Merged, Range};
pub(super) use self::opening::{open_sled, read_from_disk};
use super::StoreError;
use super::journal::Found;
use super::keys::COMMIT_KEY;
use super::record;
use super::writes::Writes;

/// A key with what it is set to, or nothing where it is removed.
pub(super) type Write = (IVec, Option<IVec>);

/// What commits in a row leave of what they wrote, with the number of the last one.
pub(super) type Layer = BTreeMap<IVec, Option<IVec>>;

/// Clones are the same table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    db: sled::Db,
    layers: Arc<RwLock<Layers>>,
}

/// What the database does not have yet.
#[derive(Debug, Default)]
struct Layers {
    newer: Layer,
    older: Option<Arc<Layer>>,
}

impl Table {
    /// Opens a database, with nothing over it.
    pub(super) fn open(database: &Path) -> Result<Self, StoreError> {
        Ok(Self { db: open_sled(database)?, layers: Arc::default() })
    }

    /// Lays over the database what the journal has beyond it. Changes neither, and nothing at all if the one does not follow on the other.
    pub(super) fn lay_over(&self, journal: &mut Found) -> Result<(), StoreError> {
        let mut newest = self.newest_commit()?;
        let [mut older, mut newer] = <[Layer; 2]>::default();
        for (layer, commits) in [&mut older, &mut newer].into_iter().zip(journal.take_above(newest)) {
            for commit in commits {
                if commit.number != newest + 1 {
                    return Err(StoreError::damaged(format!(
                        "the database ends at commit {newest}, but its journal goes on at commit {}; restore the whole folder from a backup",
                        commit.number
                    )));
                }
                newest = commit.number;
                add(layer, newest, commit.writes)?;
            }
        }
        *self.layers_mut() = Layers { newer, older: (!older.is_empty()).then(|| Arc::new(older)) };
        Ok(())
    }

    /// The number of the newest commit.
    pub(super) fn newest_commit(&self) -> Result<u64, StoreError> {
        Ok(record::read(self, COMMIT_KEY)?.unwrap_or(0))
    }

    /// What a key is set to.
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>, StoreError> {
        let key = key.as_ref();
        if let Some(found) = self.layers().find(key) {
            return Ok(found.clone());
        }
        // Not there a moment ago: then it is here, however far the older layer has come meanwhile.
        Ok(self.db.get(key)?)
    }

    /// Everything whose key begins so, in the order of keys: as it was when it was called, or newer. Of what is committed meanwhile some may be
    /// seen and some not.
    pub(super) fn scan_prefix(&self, prefix: impl AsRef<[u8]>) -> Merged {
        let prefix = prefix.as_ref();
        let end = behind_all_with(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Merged::new(self.clone(), (Bound::Included(prefix.into()), end), false)
    }

    /// Everything from one key up to before another, from the end; else the same.
    pub(super) fn backwards(&self, from: &[u8], to: &[u8]) -> Merged {
        Merged::new(self.clone(), (Bound::Included(from.into()), Bound::Excluded(to.into())), true)
    }

    /// How many records there are, about.
    pub(super) fn len(&self) -> usize {
        self.db.len()
    }

    /// Takes up a commit that the journal has.
    pub(super) fn put(&self, number: u64, writes: Writes) -> Result<(), StoreError> {
        add(&mut self.layers_mut().newer, number, writes.into_entries())
    }

    /// Has what commits have written so far lie in the older layer, where nothing may be.
    pub(super) fn hand_over(&self) {
        let mut layers = self.layers_mut();
        layers.older = Some(Arc::new(std::mem::take(&mut layers.newer)));
    }

    /// The older layer, if there is one.
    pub(super) fn older(&self) -> Option<Arc<Layer>> {
        self.layers().older.clone()
    }

    /// Has the older layer go, when the database has all of it.
    pub(super) fn forget_older(&self) {
        let older = self.layers_mut().older.take();
        // Only now that nobody waits for the layers.
        drop(older);
    }

    /// Brings writes to the database itself, all or nothing. They still have to be synced.
    pub(super) fn write(&self, writes: sled::Batch) -> Result<(), StoreError> {
        self.db.apply_batch(writes)?;
        self.db.flush()?;
        Ok(())
    }

    fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn layers_mut(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layers {
    /// What a key was set to, or that it was removed, if either was.
    fn find(&self, key: &[u8]) -> Option<&Option<IVec>> {
        let older = || self.older.as_ref().and_then(|older| older.get(key));
        self.newer.get(key).or_else(older)
    }

    /// Up to so much of what lies over a range of the database, from its beginning or its end.
    fn within(&self, range: &Range, is_backwards: bool, most: usize) -> Vec<Write> {
        let bounds = (range.0.as_ref().map(AsRef::as_ref), range.1.as_ref().map(AsRef::as_ref));
        let mut over = Layer::new();
        for layer in self.older.as_deref().into_iter().chain([&self.newer]) {
            let writes = layer.range::<[u8], _>(bounds);
            let write = |(key, value): (&IVec, &Option<IVec>)| (key.clone(), value.clone());
            match is_backwards {
                false => over.extend(writes.take(most).map(write)),
                true => over.extend(writes.rev().take(most).map(write)),
            }
        }
        match is_backwards {
            false => over.into_iter().take(most).collect(),
            true => over.into_iter().rev().take(most).collect(),
        }
    }
}

/// The first key behind all that begin so, if there can be one.
fn behind_all_with(prefix: &[u8]) -> Option<IVec> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

fn add(layer: &mut Layer, number: u64, writes: Vec<Write>) -> Result<(), StoreError> {
    layer.extend(writes);
    layer.insert(COMMIT_KEY.into(), Some(record::encode(&number)?.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a table has, by scanning it forwards.
    fn content(table: &Table) -> BTreeMap<IVec, IVec> {
        let all: Vec<_> = table.scan_prefix("").map(|entry| entry.expect("readable")).collect();
        assert!(all.is_sorted_by(|(a, _), (b, _)| a < b), "each once, in order");
        all.into_iter().collect()
    }

    #[test]
    fn what_begins_with_a_prefix_ends_before_what_does_not() {
        let behind = |prefix: &[u8]| behind_all_with(prefix).map(|key| key.to_vec());
        assert_eq!(behind(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(behind(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!((behind(b""), behind(b"\xff")), (None, None));
    }

    /// Fault: where much lies over the database, something between two stretches of it is left out or comes twice.
    #[test]
    fn of_much_that_lies_over_the_database_nothing_is_left_out_and_nothing_comes_twice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let table = Table::open(folder.path()).expect("it opens");
        let mut seen = BTreeMap::new();
        for key in 0..2_000u32 {
            let (name, layer) = (key.to_be_bytes(), key % 7);
            match layer {
                0 | 1 => drop(table.db.insert(name, vec![0]).expect("writable")),
                _ => table.put(1, Writes::of(&name, vec![layer as u8])).expect("small"),
            }
            if layer == 1 || layer == 2 {
                let mut removed = Writes::default();
                removed.remove(&name);
                table.put(1, removed).expect("small");
            } else {
                seen.insert(IVec::from(&name), IVec::from(vec![layer as u8]));
            }
            if key == 900 {
                table.hand_over();
            }
        }
        let is_ours = |entry: Result<(IVec, IVec), StoreError>| entry.ok().filter(|(key, _)| key.len() == 4);
        assert!(table.scan_prefix("").filter_map(is_ours).eq(seen.clone()));
        assert!(table.backwards(&[], &[9]).filter_map(is_ours).eq(seen.clone().into_iter().rev()));
        assert!(
            table
                .scan_prefix([0, 0, 5])
                .map(|entry| entry.expect("readable").0)
                .eq(seen.into_keys().filter(|key| key[2] == 5))
        );
    }

    /// Keys that were set, removed or left alone in the database, in the older layer and in the newer one, in all 27 ways; and what is to be seen.
    fn layered(folder: &Path) -> (Table, BTreeMap<IVec, IVec>) {
        let table = Table::open(folder).expect("it opens");
        let mut seen = BTreeMap::new();
        for layer in 0..3u8 {
            let mut writes = Writes::default();
            for key in 0..27u8 {
                let name = [b'k', key];
                match key / 3u8.pow(layer.into()) % 3 {
                    1 => {
                        writes.append(Writes::of(&name, vec![layer]));
                        seen.insert(name.as_slice().into(), vec![layer].into());
                    }
                    2 => {
                        writes.remove(&name);
                        seen.remove(name.as_slice());
                    }
                    _ => {}
                }
            }
            table.put(layer.into(), writes).expect("small");
            if layer < 2 {
                table.hand_over();
            }
            if layer == 0 {
                let mut batch = sled::Batch::default();
                let older = table.older().expect("it was handed over");
                older.iter().for_each(|(key, value)| value.iter().for_each(|value| batch.insert(key, value)));
                table.write(batch).expect("writable");
                table.forget_older();
            }
        }
        seen.insert(COMMIT_KEY.into(), record::encode(&2u64).expect("small").into());
        (table, seen)
    }

    #[test]
    fn what_lies_over_the_database_goes_before_it_whichever_way_it_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (table, seen) = layered(folder.path());
        assert_eq!(content(&table), seen);
        for key in 0..30u8 {
            let name = [b'k', key];
            assert_eq!(table.get(name).expect("readable"), seen.get(&name[..]).cloned(), "{key}");
        }
        let (from, to) = (&b"k\x03"[..], &b"k\x14"[..]);
        let back: Vec<_> = table.backwards(from, to).map(|entry| entry.expect("readable")).collect();
        let expected = seen.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))).rev();
        assert_eq!(back, expected.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>());
    }
}
