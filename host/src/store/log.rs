//! How a commit becomes durable: it is written to the journal, then seen in the table, and comes to the database later.
//!
//! When a file of the journal is full, what the database lacks of it is handed over to a thread that brings it there, and commits go on in
//! the other file. That one takes more than its share while the database does not have all of the first: commits become slower then, the
//! more so the more it has, until they wait. Where nothing is brought there because the disk has no room, they go on as long as there is
//! room for them. While nobody commits, what was not handed over stays in memory and in the journal.

mod mover;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;

use self::mover::Mover;
use super::StoreError;
use super::commits::CommitFile;
use super::journal::{Found, Journal};
use super::table::Table;
use super::writes::Writes;

/// How long a commit waits at the most for the other file, and how often one that has to wait looks whether it still has.
const PACE_MAX: Duration = Duration::from_millis(10);

/// Where commits are made. One at a time.
#[derive(Debug)]
pub(super) struct Log {
    table: Table,
    journal: Journal,
    mover: Mover,
    acknowledged: CommitFile,
}

/// What a log is told by the rest of the store, and tells it.
pub(super) struct Surroundings {
    /// Whether the disk has room for so many more bytes.
    pub(super) has_room: Box<dyn Fn(u64) -> bool + Send>,
    /// Whether the store is being closed, so that nothing waits for room any longer.
    pub(super) closing: Arc<AtomicBool>,
    /// Told why, when nothing comes to the database any more.
    pub(super) failed: watch::Sender<Option<String>>,
}

impl Log {
    /// Goes on in the journal of a data folder, behind what was found in it and lies over the table. From here on the folder changes.
    pub(super) fn begin(folder: &Path, table: Table, found: Found, around: Surroundings) -> Result<Self, StoreError> {
        let newest = table.newest_commit()?;
        let mover = Mover::start(&folder.join("db"), table.clone(), around)?;
        let journal = Journal::open(folder, found, newest)?;
        Ok(Self { table, journal, mover, acknowledged: CommitFile::open(&folder.join("commit"))? })
    }

    /// Writes all of them or nothing, and returns when a power cut could not take any of it back.
    pub(super) fn commit(&mut self, number: u64, writes: Writes) -> Result<(), StoreError> {
        self.mover.check()?;
        if self.journal.is_full() {
            self.keep_pace()?;
        }
        self.journal.append(number, &writes)?;
        self.table.put(number, writes)?;
        self.acknowledged.acknowledge(number)
    }

    /// Brings to the database all that it lacks, so that the next open finds it there.
    pub(super) fn bring_all(&mut self) -> Result<(), StoreError> {
        self.hand_over()?;
        self.mover.wait()
    }

    /// Begins the other file if the database has all of it; else waits for that, not at all to begin with, and as long as it takes in the end.
    fn keep_pace(&mut self) -> Result<(), StoreError> {
        let excess = self.journal.excess();
        while !self.mover.wait_for(PACE_MAX.mul_f64(excess.min(1.0)))? {
            if excess < 1.0 || self.mover.waits_for_room() {
                return Ok(());
            }
        }
        self.hand_over()?;
        self.journal.turn();
        Ok(())
    }

    /// When the database has all that was handed over before, hands over the rest.
    fn hand_over(&mut self) -> Result<(), StoreError> {
        self.mover.wait()?;
        self.table.hand_over();
        self.mover.wake()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::Ordering;

    use super::super::StoreError;
    use super::super::table::open_sled;
    use super::*;

    /// A data folder with a disk that can be full.
    struct Place {
        folder: tempfile::TempDir,
        has_room: Arc<AtomicBool>,
        closing: Arc<AtomicBool>,
    }

    type Content = BTreeMap<Vec<u8>, Vec<u8>>;

    impl Place {
        fn new() -> Self {
            let (has_room, closing) = (Arc::new(AtomicBool::new(true)), Arc::default());
            Self { folder: tempfile::tempdir().expect("a temporary folder"), has_room, closing }
        }

        fn database(&self) -> PathBuf {
            self.folder.path().join("db")
        }

        /// As a start after a crash, with the database that lies there.
        fn read(&self, database: &Path) -> Result<(Table, Found), StoreError> {
            let (table, mut found) = (Table::open(database)?, Found::read(self.folder.path())?);
            table.lay_over(&mut found)?;
            Ok((table, found))
        }

        fn open(&self) -> (Table, Log) {
            let (table, found) = self.read(&self.database()).expect("it is whole");
            self.closing.store(false, Ordering::Relaxed);
            let has_room = Arc::clone(&self.has_room);
            let around = Surroundings {
                has_room: Box::new(move |_| has_room.load(Ordering::Relaxed)),
                closing: Arc::clone(&self.closing),
                failed: watch::Sender::new(None),
            };
            let log = Log::begin(self.folder.path(), table.clone(), found, around).expect("writable");
            (table, log)
        }
    }

    /// What is to be found once so many commits were made.
    #[derive(Default)]
    struct Made {
        commits: u64,
        content: Content,
    }

    impl Made {
        /// Makes one more: it sets a key anew, and adds or removes one, with so many bytes.
        fn commit(&mut self, log: &mut Log, bytes: usize) {
            self.commits += 1;
            let (key, value) = ((self.commits % 50).to_be_bytes(), vec![self.commits as u8; bytes.min(4_000)]);
            let mut writes = Writes::default();
            for part in 0..bytes.div_ceil(4_000) {
                let key = [&key[..], &part.to_be_bytes()].concat();
                self.content.insert(key.clone(), value.clone());
                writes.append(Writes::of(&key, value.clone()));
            }
            if self.commits.is_multiple_of(3) {
                let gone = ((self.commits + 7) % 50).to_be_bytes();
                self.content.retain(|key, _| !key.starts_with(&gone));
                (0..60usize).for_each(|part| writes.remove(&[&gone[..], &part.to_be_bytes()].concat()));
            }
            log.commit(self.commits, writes).expect("the disk works");
        }

        fn assert_is(&self, table: &Table, when: &str) {
            let all = table.scan_prefix([0]).map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
            let found: Content = all.collect::<Result<_, _>>().expect("readable");
            assert!(found == self.content, "{when}: not what was committed");
            assert_eq!(table.newest_commit().expect("readable"), self.commits, "{when}");
        }
    }

    #[test]
    fn all_is_seen_while_it_moves_and_the_database_has_it_in_the_end() {
        let (place, mut made) = (Place::new(), Made::default());
        let (table, mut log) = place.open();
        let mut seen_moving = 0;
        for round in 0..60 {
            // In some rounds it is held up on the way, so that it is looked at there.
            place.has_room.store(round % 20 < 5, Ordering::Relaxed);
            made.commit(&mut log, 100_000);
            made.assert_is(&table, &format!("round {round}"));
            seen_moving += usize::from(table.older().is_some());
        }
        assert!(seen_moving > 0);
        place.has_room.store(true, Ordering::Relaxed);
        log.bring_all().expect("there is room");
        drop((table, log));
        fs::remove_file(place.folder.path().join("journal.0")).expect("it is there");
        fs::remove_file(place.folder.path().join("journal.1")).expect("it is there");
        let (table, _) = place.read(&place.database()).expect("it is whole");
        made.assert_is(&table, "without the journal");
    }

    /// Moves commits of so many bytes, and opens what is left wherever the database's file was cut short then, or has a hole of so many
    /// bytes. Answers in how many cases the database by itself had some of what was moved and not all.
    fn halves_found(bytes: usize, step: usize, holes: &[usize]) -> usize {
        let (place, mut made) = (Place::new(), Made::default());
        let cut = place.folder.path().join("cut");
        let (_table, mut log) = place.open();
        made.commit(&mut log, 100);
        log.bring_all().expect("there is room");
        let (brought, file) = (made.commits, place.database().join("db"));
        let last = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let before = last(&fs::read(&file).expect("readable"));
        (0..3).for_each(|_| made.commit(&mut log, bytes));
        log.bring_all().expect("there is room");
        let written = fs::read(&file).expect("readable");
        let mut halves = 0;
        for end in (before..last(&written)).step_by(step).chain([last(&written)]) {
            for hole in holes {
                fs::create_dir(&cut).expect("a new folder");
                fs::copy(place.database().join("conf"), cut.join("conf")).expect("it can be copied");
                let mut damaged = written.clone();
                damaged.iter_mut().skip(end).take(*hole).for_each(|byte| *byte = 0);
                fs::write(cut.join("db"), damaged).expect("writable");
                let (table, mut found) = (Table::open(&cut).expect("it is whole"), Found::read(place.folder.path()));
                let is_behind = table.newest_commit().expect("readable") == brought;
                halves += usize::from(is_behind && table.scan_prefix([0]).count() > 1);
                table.lay_over(found.as_mut().expect("readable")).expect("it is whole");
                made.assert_is(&table, &format!("{hole} bytes at {end} of {before} to {}", written.len()));
                drop(table);
                fs::remove_dir_all(&cut).expect("it can be removed");
            }
        }
        halves
    }

    /// Fault: a process dies while records move, and what was durable in the journal is half in the database.
    #[test]
    fn wherever_a_move_was_cut_short_the_journal_has_the_rest() {
        assert_eq!(halves_found(30_000, 1_201, &[16, usize::MAX]), 0, "what comes at once comes whole or not at all");
        assert!(halves_found(300_000, 9_001, &[usize::MAX]) > 0, "several pieces, one after the other");
    }

    /// Fault: where the database has no room, commits wait for it that make room, the end of the host does, or the next start.
    #[test]
    fn without_room_for_the_database_commits_go_on_and_so_do_the_end_and_the_next_start() {
        let (place, mut made) = (Place::new(), Made::default());
        place.has_room.store(false, Ordering::Relaxed);
        for start in 0..3 {
            let (table, mut log) = place.open();
            // In the first start alone more than commits wait for otherwise.
            for _ in 0..60 {
                made.commit(&mut log, 120_000);
            }
            made.assert_is(&table, &format!("start {start}"));
            place.closing.store(true, Ordering::Relaxed);
            made.commit(&mut log, 100);
            assert!(
                table.older().is_some() && matches!(log.bring_all(), Err(StoreError::DiskFull)),
                "it waits for room"
            );
            drop((table, log));
            let db = open_sled(&place.database()).expect("it is whole");
            assert!(db.is_empty(), "nothing was brought there");
        }
        place.has_room.store(true, Ordering::Relaxed);
        let (table, mut log) = place.open();
        log.bring_all().expect("there is room again");
        made.assert_is(&table, "in the end");
        assert!(table.older().is_none());
    }

    /// Fault: a database that is older than its journal, from a backup say, is served without what came in between.
    #[test]
    fn a_database_that_the_journal_does_not_follow_on_is_damaged_and_left_alone() {
        let (place, mut made) = (Place::new(), Made::default());
        let (table, mut log) = place.open();
        made.commit(&mut log, 100);
        log.bring_all().expect("there is room");
        (0..25).for_each(|_| made.commit(&mut log, 100_000));
        log.bring_all().expect("there is room");
        made.commit(&mut log, 100);
        drop((table, log));
        fs::remove_dir_all(place.database()).expect("it is there");
        let files =
            || ["journal.0", "journal.1"].map(|name| fs::read(place.folder.path().join(name)).expect("readable"));
        let before = files();
        let Err(StoreError::Damaged(what)) = place.read(&place.database()) else { panic!("it was opened") };
        assert!(what.contains("ends at commit 0") && what.contains("goes on at commit"), "{what}");
        assert!(files() == before);
    }
}
