//! The journal: what each commit writes, where it is made durable.
//!
//! A commit is one write to the end of a file that has its length already, and one sync of it: nothing is quicker on a disk. The
//! database follows behind (`log.rs`), many commits at a time, and an open reads here what it does not have yet. Two files take turns:
//! one is begun anew only when the database has all of it. Databases call this a write-ahead log; Mohan et al., "ARIES" (1992), say why
//! it is enough.
//!
//! ```text
//! file   = magic (8) · salt (8) · commit*
//! commit = bytes of the writes (u32) · checksum (u32) · number (u64) · write*
//! write  = bytes of the key (u16) · bytes of the value (u32, all ones for none: removed) · key · value
//! ```
//!
//! Numbers are little-endian. A checksum is that of everything before it in the file, and of its commit. So what is left from an earlier
//! turn behind the newest commit never passes for one, nor does anything that a client put into a payload: nobody outside knows the salt.

mod found;
mod prepared;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use self::found::End;
pub(super) use self::found::Found;
use super::writes::Writes;

/// The two files.
const NAMES: [&str; 2] = ["journal.0", "journal.1"];
const MAGIC: &[u8; 8] = b"dropjrn\x01";
/// What is before the commits of a file.
const HEADER_BYTES: usize = 16;
/// What is before the writes of a commit.
const HEAD_BYTES: usize = 16;
/// With so much in a file it is the other one's turn.
const FULL_BYTES: u64 = 1 << 20;
/// With so much commits wait for it.
const OVERFULL_BYTES: u64 = 4 << 20;
/// What a file has from the beginning, for its last commit as well unless that is large. Where a write makes a file longer, syncing it
/// writes the length as well, which takes twice as long and now and then twenty times.
const LENGTH: u64 = FULL_BYTES + (512 << 10);
/// What the memory for a commit comes down to.
const BUFFER_BYTES: usize = 256 << 10;
/// With the next turn a file that some large commit has made longer than this has its length again; until then it need not grow anew.
const LENGTH_MAX: u64 = 2 * OVERFULL_BYTES;
/// In place of a value's size.
const REMOVED: u32 = u32::MAX;

/// The end of the journal, where commits go.
#[derive(Debug)]
pub(super) struct Journal {
    files: [File; 2],
    current: usize,
    /// Where the next commit goes; at 0 the file is still to be begun.
    end: End,
    /// The commit being written, kept for its memory.
    buffer: Vec<u8>,
}

impl Journal {
    /// Goes on behind what was found, or with an empty file if the newest commit, which has this number, is not in it, or may not be on the
    /// disk: then the database has all of them.
    pub(super) fn open(folder: &Path, found: Found, newest: u64) -> io::Result<Self> {
        let (files, are_whole) = prepared::files(folder, &found)?;
        let (current, end) = found.end_of(newest).filter(|(place, _)| are_whole[*place]).unwrap_or_default();
        Ok(Self { files, current, end, buffer: Vec::new() })
    }

    /// Whether the other file is to be begun as soon as the database has all of it.
    pub(super) fn is_full(&self) -> bool {
        self.end.at >= FULL_BYTES
    }

    /// How far beyond that it is on the way to where no commit may be made any more, which is 1.
    pub(super) fn excess(&self) -> f64 {
        self.end.at.saturating_sub(FULL_BYTES) as f64 / (OVERFULL_BYTES - FULL_BYTES) as f64
    }

    /// Begins the other file anew with the next commit. The database must have all of it.
    pub(super) fn turn(&mut self) {
        self.current = 1 - self.current;
        self.end = End::default();
        // A large commit must not keep its memory for good.
        self.buffer.shrink_to(BUFFER_BYTES);
    }

    /// Writes a commit, and returns when a power cut could not take it back.
    pub(super) fn append(&mut self, number: u64, writes: &Writes) -> io::Result<()> {
        let (file, End { at, mut checksum }) = (&self.files[self.current], self.end);
        self.buffer.clear();
        if at == 0 {
            checksum = begin(&mut self.buffer)?;
            if file.metadata()?.len() > LENGTH_MAX {
                file.set_len(LENGTH)?;
            }
        }
        let checksum = encode(&mut self.buffer, checksum, number, writes)?;
        file.write_all_at(&self.buffer, at)?;
        file.sync_data()?;
        self.end = End { at: at + self.buffer.len() as u64, checksum };
        Ok(())
    }
}

/// Adds the beginning of a file, and answers its checksum.
fn begin(buffer: &mut Vec<u8>) -> io::Result<u32> {
    let mut header = [0; HEADER_BYTES];
    let (magic, salt) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    getrandom::fill(salt).map_err(io::Error::other)?;
    buffer.extend_from_slice(&header);
    Ok(crc32fast::hash(&header))
}

/// Adds a commit, and answers its checksum, given the one before it.
fn encode(buffer: &mut Vec<u8>, before: u32, number: u64, writes: &Writes) -> io::Result<u32> {
    let begin = buffer.len();
    buffer.resize(begin + HEAD_BYTES, 0);
    let too_large = |_| io::Error::other("a commit is too large for the journal");
    for (key, value) in writes.entries() {
        let size = value.as_ref().map_or(Ok(REMOVED), |value| u32::try_from(value.len())).map_err(too_large)?;
        buffer.extend_from_slice(&u16::try_from(key.len()).map_err(too_large)?.to_le_bytes());
        buffer.extend_from_slice(&size.to_le_bytes());
        buffer.extend_from_slice(key);
        buffer.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let size = u32::try_from(buffer.len() - begin - HEAD_BYTES).map_err(too_large)?;
    let head = &mut buffer[begin..];
    head[..4].copy_from_slice(&size.to_le_bytes());
    head[8..HEAD_BYTES].copy_from_slice(&number.to_le_bytes());
    let checksum = checksum_of(before, head);
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(checksum)
}

/// The checksum of a commit and of all before it.
fn checksum_of(before: u32, commit: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(&commit[..4]);
    hasher.update(&commit[8..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A journal that nothing was found in.
    fn new_in(folder: &Path) -> Journal {
        Journal::open(folder, Found::default(), 0).expect("it can be made")
    }

    fn append(journal: &mut Journal, number: u64) {
        journal.append(number, &write_of(number)).expect("the disk works");
    }

    fn write_of(number: u64) -> Writes {
        let mut writes = Writes::of(&number.to_be_bytes(), vec![7; 100]);
        writes.remove(b"gone");
        writes
    }

    /// The numbers of the commits in both files, the older file first. Each must be what was written.
    fn numbers_in(folder: &Path) -> [Vec<u64>; 2] {
        let mut found = Found::read(folder).expect("readable");
        found.take_above(0).map(|commits| {
            commits.iter().for_each(|commit| assert_eq!(commit.writes, write_of(commit.number).into_entries()));
            commits.iter().map(|commit| commit.number).collect()
        })
    }

    #[test]
    fn commits_are_found_as_they_were_written_and_go_on_where_they_ended() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut journal = new_in(folder.path());
        (1..=3).for_each(|number| append(&mut journal, number));
        assert_eq!(numbers_in(folder.path()), [vec![], vec![1, 2, 3]]);
        journal.turn();
        append(&mut journal, 4);
        assert_eq!(numbers_in(folder.path()), [vec![1, 2, 3], vec![4]]);
        let found = Found::read(folder.path()).expect("readable");
        let mut journal = Journal::open(folder.path(), found, 4).expect("writable");
        append(&mut journal, 5);
        assert_eq!(numbers_in(folder.path()), [vec![1, 2, 3], vec![4, 5]]);
        journal.turn();
        append(&mut journal, 6);
        assert_eq!(numbers_in(folder.path()), [vec![4, 5], vec![6]], "the others made room");
        let found = Found::read(folder.path()).expect("readable");
        let mut journal = Journal::open(folder.path(), found, 9).expect("writable");
        append(&mut journal, 10);
        assert!(numbers_in(folder.path()).concat().contains(&10), "where commits are missing it begins anew");
        // The database has all of it, and it goes on all the same; so the beginning has to stay.
        append(&mut journal, 11);
        let mut found = Found::read(folder.path()).expect("readable");
        assert!(found.take_above(11).iter().all(Vec::is_empty));
        append(&mut Journal::open(folder.path(), found, 11).expect("writable"), 12);
        assert!(numbers_in(folder.path()).contains(&vec![10, 11, 12]));
    }

    /// Fault: of a commit that a power cut came upon a part passes for the whole, or takes others with it.
    #[test]
    fn whatever_becomes_of_the_end_all_before_it_is_found() {
        let (folder, cut) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut journal = new_in(folder.path());
        let ends = [1, 2, 3].map(|number| {
            append(&mut journal, number);
            usize::try_from(journal.end.at).expect("small")
        });
        let mut whole = fs::read(folder.path().join(NAMES[0])).expect("readable");
        whole.truncate(ends[2] + 64);
        let begins = [HEADER_BYTES, ends[0], ends[1]];
        for at in (0..ends[2]).step_by(3) {
            let (mut hole, mut flipped) = (whole.clone(), whole.clone());
            hole[at..at + 16].fill(0);
            flipped[at] ^= 1;
            let left = begins.iter().filter(|begin| at >= **begin).count();
            let expected: Vec<u64> = (1..left.max(1) as u64).collect();
            for damaged in [&whole[..at], &hole, &flipped] {
                // All but the end of what was written may be zeros already.
                if damaged[..] != whole[..] {
                    fs::write(cut.path().join(NAMES[0]), damaged).expect("writable");
                    assert_eq!(numbers_in(cut.path()).concat(), expected, "at {at}");
                }
            }
        }
    }

    /// Fault: a commit from an earlier turn, or one that a client has put into a payload, is taken up again.
    #[test]
    fn what_is_behind_the_newest_commit_never_passes_for_the_next() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut journal = new_in(folder.path());
        (1..=3).for_each(|number| append(&mut journal, number));
        // It has the length that the old one had, and the numbers go on behind it.
        append(&mut new_in(folder.path()), 1);
        assert_eq!(numbers_in(folder.path()).concat(), [1]);
    }

    /// Fault: what a file has is written anew at the wrong place, or is not left as it is where it counts.
    #[test]
    fn whatever_length_a_file_has_its_commits_stay_and_it_has_its_length_then() {
        let lengths = [0, 5, 4_095, 4_097, LENGTH - 1, LENGTH + 5, LENGTH_MAX];
        for (length, has_all) in lengths.into_iter().flat_map(|length| [(length, false), (length, true)]) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let file = folder.path().join(NAMES[0]);
            let mut journal = new_in(folder.path());
            (1..=200).for_each(|number| append(&mut journal, number));
            fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(length)).expect("writable");
            let mut found = Found::read(folder.path()).expect("readable");
            let left = numbers_in(folder.path()).concat();
            let newest = left.last().copied().unwrap_or(0);
            assert_eq!(newest == 200, length > 4_097 * 8, "of {length} bytes");
            found.take_above(if has_all { newest } else { 0 });
            let mut journal = Journal::open(folder.path(), found, newest).expect("writable");
            append(&mut journal, newest + 1);
            assert_eq!(numbers_in(folder.path()).concat(), [left, vec![newest + 1]].concat(), "of {length} bytes");
            assert_eq!(fs::metadata(&file).expect("it is there").len(), length.max(LENGTH));
        }
    }

    #[test]
    fn a_file_that_a_large_commit_made_much_longer_has_its_length_again_with_the_next_turn() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut journal = new_in(folder.path());
        let length = || fs::metadata(folder.path().join(NAMES[0])).expect("it is there").len();
        assert_eq!(length(), LENGTH);
        let mut large = Writes::default();
        (0..2_500u32).for_each(|key| large.append(Writes::of(&key.to_be_bytes(), vec![7; 4_000])));
        journal.append(1, &large).expect("the disk works");
        assert!(length() > LENGTH_MAX && journal.is_full() && journal.excess() > 1.0);
        journal.turn();
        append(&mut journal, 2);
        journal.turn();
        append(&mut journal, 3);
        assert_eq!(length(), LENGTH);
        assert_eq!(numbers_in(folder.path()), [vec![2], vec![3]]);
    }
}
