//! How writes come to the database, to be flushed.

use super::Writes;

/// More writes than these are a batch. While a batch is written, sled notes nowhere how much of its log is whole; without, it does at the
/// beginning of each segment, as far as writes have ended that no disk has been told to keep yet, and trusts that after a power cut. It can
/// note nothing of writes that come to less than a segment, 512 KiB. These come to less: 1.4 KiB each, as a rule, and for one of five a
/// page written anew, and one moved, of 17 records each.
const APART_MAX: usize = 16;
const APART_BYTES_MAX: usize = 32 << 10;

impl Writes {
    /// Brings them to the database with the number of their commit, to be flushed. All of them or none, unless they are few and each is a
    /// change of its own: then some of the first may be there after a crash, and a change that nobody was told of has happened. sled
    /// writes a batch in two steps, one after the other, and a flush takes a third less without.
    pub(in crate::store) fn apply(self, db: &sled::Db, number: (&[u8], Vec<u8>)) -> sled::Result<()> {
        let (key, value) = number;
        if !self.may_be_apart() {
            let mut batch = self.into_batch();
            batch.insert(key, value);
            return db.apply_batch(batch);
        }
        for (at, (key, value)) in self.entries.iter().enumerate() {
            if self.entries.iter().skip(at + 1).any(|(later, _)| later == key) {
                continue;
            }
            match value {
                Some(value) => db.insert(key, value)?,
                None => db.remove(key)?,
            };
        }
        // Last, as sled finds its log again up to some point and nothing behind it.
        db.insert(key, value).map(drop)
    }

    /// Whether a power cut may leave some of them.
    pub(in crate::store) fn may_be_apart(&self) -> bool {
        let count = self.entries.len();
        self.alone == count && count <= APART_MAX && self.bytes <= APART_BYTES_MAX
    }

    /// The batch, in the order of writing.
    pub(in crate::store) fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.entries {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use tokio::sync::oneshot;

    use super::*;
    use crate::job::JobId;
    use crate::store::disk::open_sled;
    use crate::store::group::Group;
    use crate::store::group::early::tests::{Place, kind};
    use crate::store::keys::job_key;
    use crate::store::writer::Change;

    const NUMBER: &[u8] = b"n";

    fn job(id: u128) -> Writes {
        let mut writes = Writes::default();
        writes.add(&job_key(JobId::from_u128(id)), Some(vec![7; 100]));
        writes
    }

    /// Commits on top of job 1, and says which jobs are found, and whether the number, wherever a power cut ends the file, or leaves a hole
    /// of so many bytes in it.
    fn found_after_cuts(writes: Writes, hole: Option<usize>) -> Vec<(Vec<u128>, bool)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (kept, cut) = (folder.path().join("kept"), folder.path().join("cut"));
        let written = |path: &Path| fs::metadata(path.join("db")).expect("it is there").len();
        let db = open_sled(&kept).expect("it opens");
        job(1).apply(&db, (b"first", vec![0; 8])).and_then(|()| db.flush()).expect("writable");
        let before = written(&kept);
        writes.apply(&db, (NUMBER, vec![0; 8])).and_then(|()| db.flush()).expect("writable");
        let found = (before..=written(&kept)).step_by(5).chain([written(&kept)]).map(|end| {
            fs::create_dir(&cut).expect("a new folder");
            for name in ["db", "conf"] {
                fs::copy(kept.join(name), cut.join(name)).expect("it can be copied");
            }
            let file = File::options().write(true).open(cut.join("db")).expect("it can be opened");
            hole.map_or_else(|| file.set_len(end), |bytes| file.write_all_at(&vec![0; bytes], end))
                .expect("it can be cut");
            let db = open_sled(&cut).expect("it opens");
            let has = |id: &u128| db.contains_key(job_key(JobId::from_u128(*id))).expect("readable");
            let found = ((1..=4).filter(has).collect(), db.contains_key(NUMBER).expect("readable"));
            drop(db);
            fs::remove_dir_all(&cut).expect("it can be removed");
            found
        });
        found.collect()
    }

    #[test]
    fn of_changes_by_themselves_a_power_cut_leaves_the_first_ones_and_never_the_number_without_all() {
        let jobs = |last: &[u128], number| ([&[1], last].concat(), number);
        let steps = [jobs(&[], false), jobs(&[3], false), jobs(&[2, 3], false), jobs(&[2, 3, 4], false)];
        for hole in [None, Some(16)] {
            let mut writes = Writes::default();
            [2, 3, 2, 4].into_iter().for_each(|id| writes.append(job(id)));
            let mut found = found_after_cuts(writes, hole);
            found.dedup();
            assert_eq!(found, [steps.to_vec(), vec![jobs(&[2, 3, 4], true)]].concat(), "{hole:?}");
        }
    }

    #[test]
    fn a_job_of_one_record_may_be_apart_and_what_belongs_together_is_a_batch() {
        let place = Place::new();
        let after = |change: &dyn Fn(&mut Group<'_>)| {
            let mut group = place.group();
            let _answer = place.submit(&mut group, 9, 9);
            assert!(group.writes.may_be_apart());
            change(&mut group);
            group.writes.may_be_apart()
        };
        assert!(after(&|group| drop(place.submit(group, 9, 9))));
        assert!(!after(&|group| drop(place.submit(group, 9_000, 9))), "its input is not in its record");
        assert!(!after(&|group| {
            let pause = Change::Pause { kind: kind(), paused: true, reply: oneshot::channel().0 };
            group.take(pause, &mut VecDeque::new());
        }));
    }

    #[test]
    fn many_changes_or_large_ones_are_a_batch() {
        let may_be_apart = |jobs: usize, bytes: usize| {
            let mut writes = Writes::default();
            (0..jobs).for_each(|id| writes.whole_job(JobId::from_u128(id as u128), vec![7; bytes]));
            writes.may_be_apart()
        };
        assert!(may_be_apart(APART_MAX, 400) && may_be_apart(7, 4_000) && may_be_apart(0, 0));
        assert!(!may_be_apart(APART_MAX + 1, 400) && !may_be_apart(9, 4_000));
    }

    #[test]
    fn of_a_change_with_several_writes_a_power_cut_leaves_all_or_nothing() {
        for hole in [None, Some(16)] {
            let mut writes = job(4);
            let mut change = job(2);
            change.add(&job_key(JobId::from_u128(3)), Some(vec![7; 100]));
            writes.append(change);
            let mut found = found_after_cuts(writes, hole);
            found.dedup();
            assert_eq!(found, [(vec![1], false), (vec![1, 2, 3, 4], true)], "{hole:?}");
        }
    }
}
