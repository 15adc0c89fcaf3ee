//! What a journal is found to have at an open.

use std::fs;
use std::io;
use std::path::Path;

use super::{HEAD_BYTES, HEADER_BYTES, LENGTH, MAGIC, NAMES, REMOVED, checksum_of};
use crate::store::table::Write;

/// What one commit wrote.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Commit {
    pub(in crate::store) number: u64,
    pub(in crate::store) writes: Vec<Write>,
}

/// The commits in both files, the older file first.
#[derive(Debug, Default)]
pub(in crate::store) struct Found([Part; 2]);

/// One file, and the commits in it.
#[derive(Debug, Default)]
struct Part {
    place: usize,
    commits: Vec<Commit>,
    /// The number of the last one, and where it ends.
    newest: u64,
    end: End,
    /// What the file has up to there, if the database lacks any of it, and in any case what it is to have when it is begun anew.
    bytes: Vec<u8>,
    is_needed: bool,
}

/// Where a file's commits end, and the checksum up to there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    pub(super) at: u64,
    pub(super) checksum: u32,
}

impl Found {
    /// Reads the journal of a data folder, which may have none. Each file counts up to where it makes sense: what is behind is a commit
    /// that was under way when the power went, or is left from an earlier turn.
    pub(in crate::store) fn read(folder: &Path) -> io::Result<Self> {
        let mut parts = <[Part; 2]>::default();
        for (place, part) in parts.iter_mut().enumerate() {
            match fs::read(folder.join(NAMES[place])) {
                Ok(bytes) => *part = Part::of(place, bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        parts.sort_by_key(|part| part.newest);
        Ok(Self(parts))
    }

    /// Takes out the commits with numbers above this one, which is what the database has, by the file they are in, the older file first. The
    /// first need not follow on that number, nor the second file on the first. To be called once.
    pub(in crate::store) fn take_above(&mut self, number: u64) -> [Vec<Commit>; 2] {
        let Self(parts) = self;
        parts.each_mut().map(|part| {
            let mut commits = std::mem::take(&mut part.commits);
            commits.retain(|commit| commit.number > number);
            part.is_needed = !commits.is_empty();
            part.shorten();
            commits
        })
    }

    /// What each file has, by its place: the bytes at its beginning that the database lacks something of, and what follows.
    pub(super) fn content(&self) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
        let Self(parts) = self;
        parts.iter().map(|part| {
            let (needed, rest) = part.bytes.split_at(part.needed_bytes());
            (part.place, needed, rest)
        })
    }

    /// Which file ends with this commit, and where; nothing if the newer one does not.
    pub(super) fn end_of(&self, number: u64) -> Option<(usize, End)> {
        let Self([_, newer]) = self;
        (newer.newest == number && newer.end.at > 0).then_some((newer.place, newer.end))
    }
}

impl Part {
    fn of(place: usize, bytes: Vec<u8>) -> Self {
        let (commits, end) = commits_in(&bytes).unwrap_or_default();
        let newest = commits.last().map_or(0, |last| last.number);
        let mut part = Self { place, newest, end, is_needed: !commits.is_empty(), commits, bytes };
        part.shorten();
        part
    }

    fn needed_bytes(&self) -> usize {
        if self.is_needed { self.end.at as usize } else { 0 }
    }

    /// Lets go of what is of no use any more: where the disk was full for long, a file may have become as long as there was room.
    fn shorten(&mut self) {
        self.bytes.truncate(self.needed_bytes().max(LENGTH as usize));
        self.bytes.shrink_to_fit();
    }
}

/// The commits of a file, in order and without a gap, and where they end; nothing if there are none.
fn commits_in(bytes: &[u8]) -> Option<(Vec<Commit>, End)> {
    let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
    if !header.starts_with(MAGIC) {
        return None;
    }
    let (mut commits, mut checksum) = (Vec::<Commit>::new(), crc32fast::hash(header));
    while let Some((commit, checksum_after, behind)) = first_in(rest, checksum) {
        if commits.last().is_some_and(|before| before.number.checked_add(1) != Some(commit.number)) {
            break;
        }
        commits.push(commit);
        (rest, checksum) = (behind, checksum_after);
    }
    let end = End { at: (bytes.len() - rest.len()) as u64, checksum };
    (!commits.is_empty()).then_some((commits, end))
}

/// The commit at the beginning of these bytes, if it is whole and belongs behind what has this checksum; its own, and what follows.
fn first_in(bytes: &[u8], before: u32) -> Option<(Commit, u32, &[u8])> {
    let (size, _) = number(bytes)?;
    let (commit, behind) = bytes.split_at_checked(HEAD_BYTES.checked_add(u32::from_le_bytes(size) as usize)?)?;
    let (checksum, _) = number(&commit[4..])?;
    let expected = checksum_of(before, commit);
    if u32::from_le_bytes(checksum) != expected {
        return None;
    }
    let (number, mut rest) = number(&commit[8..])?;
    let mut writes = Vec::new();
    while !rest.is_empty() {
        let (write, behind) = first_write(rest)?;
        writes.push(write);
        rest = behind;
    }
    Some((Commit { number: u64::from_le_bytes(number), writes }, expected, behind))
}

fn first_write(bytes: &[u8]) -> Option<(Write, &[u8])> {
    let (key_size, rest) = number(bytes)?;
    let (value_size, rest) = number(rest)?;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes(key_size) as usize)?;
    match u32::from_le_bytes(value_size) {
        REMOVED => Some(((key.into(), None), rest)),
        size => {
            let (value, rest) = rest.split_at_checked(size as usize)?;
            Some(((key.into(), Some(value.into())), rest))
        }
    }
}

/// The bytes of a number, and what follows.
fn number<const BYTES: usize>(bytes: &[u8]) -> Option<([u8; BYTES], &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (*number, rest))
}
