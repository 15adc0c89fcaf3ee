//! The ZIP format (APPNOTE 6.3), as much of it as storing files needs: no compression, names in UTF-8, and the 64-bit forms
//! where a size, an offset or the number of files asks for them.
//!
//! Checksum and size stand before each file, so that readers that cannot jump understand it as well.

use crate::time::Time;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const DIRECTORY_HEADER: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
/// Made on Unix, where the upper half of the attributes is a file mode.
const MADE_BY: u16 = 3 << 8 | VERSION_64;
const REGULAR_FILE: u32 = 0o100_644 << 16;
const EXTRA_64: u16 = 1;

/// A file of an archive.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) size: u64,
    name: String,
    offset: u64,
    checksum: u32,
    date: u16,
    time: u16,
}

impl Entry {
    /// A file; where it lies and its checksum come later, by [`Entry::place`].
    pub(super) fn new(name: &str, size: u64, modified: Time) -> Self {
        let (date, time) = dos_time(modified);
        Self { name: name.to_owned(), size, offset: 0, checksum: 0, date, time }
    }

    /// Says where its header begins, and the CRC-32 of its bytes.
    pub(super) fn place(&mut self, offset: u64, checksum: u32) {
        (self.offset, self.checksum) = (offset, checksum);
    }

    /// What stands before its bytes.
    pub(super) fn local_header(&self) -> Vec<u8> {
        let is_large = is_large(self.size);
        let mut header = Vec::with_capacity(64 + self.name.len());
        put32(&mut header, LOCAL_HEADER);
        put16(&mut header, if is_large { VERSION_64 } else { VERSION });
        self.facts(&mut header);
        put16(&mut header, if is_large { 20 } else { 0 });
        header.extend_from_slice(self.name.as_bytes());
        if is_large {
            put16(&mut header, EXTRA_64);
            put16(&mut header, 16);
            put64(&mut header, self.size);
            put64(&mut header, self.size);
        }
        header
    }

    fn directory_header(&self) -> Vec<u8> {
        let sizes = if is_large(self.size) { vec![self.size, self.size] } else { Vec::new() };
        let offset = is_large(self.offset).then_some(self.offset);
        let extra: Vec<u64> = sizes.into_iter().chain(offset).collect();
        let mut header = Vec::with_capacity(96 + self.name.len());
        put32(&mut header, DIRECTORY_HEADER);
        put16(&mut header, MADE_BY);
        put16(&mut header, if extra.is_empty() { VERSION } else { VERSION_64 });
        self.facts(&mut header);
        put16(&mut header, if extra.is_empty() { 0 } else { 4 + 8 * low16(extra.len() as u64) });
        // No comment, the first disk, no internal attributes.
        header.extend_from_slice(&[0; 6]);
        put32(&mut header, REGULAR_FILE);
        put32(&mut header, low32(self.offset));
        header.extend_from_slice(self.name.as_bytes());
        if !extra.is_empty() {
            put16(&mut header, EXTRA_64);
            put16(&mut header, 8 * low16(extra.len() as u64));
            extra.into_iter().for_each(|value| put64(&mut header, value));
        }
        header
    }

    /// What both headers say in the same words.
    fn facts(&self, header: &mut Vec<u8>) {
        put16(header, FLAGS);
        // Stored as it is.
        put16(header, 0);
        put16(header, self.time);
        put16(header, self.date);
        put32(header, self.checksum);
        put32(header, low32(self.size));
        put32(header, low32(self.size));
        put16(header, low16(self.name.len() as u64));
    }
}

/// What stands after the last file, `offset` bytes into the archive.
pub(super) fn directory(entries: &[Entry], offset: u64) -> Vec<u8> {
    let mut directory: Vec<u8> = entries.iter().flat_map(Entry::directory_header).collect();
    let (count, size) = (entries.len() as u64, directory.len() as u64);
    if count >= 0xffff || is_large(size) || is_large(offset) {
        put32(&mut directory, END_64);
        put64(&mut directory, 44);
        put16(&mut directory, MADE_BY);
        put16(&mut directory, VERSION_64);
        put32(&mut directory, 0);
        put32(&mut directory, 0);
        for value in [count, count, size, offset] {
            put64(&mut directory, value);
        }
        put32(&mut directory, END_64_LOCATOR);
        put32(&mut directory, 0);
        put64(&mut directory, offset + size);
        put32(&mut directory, 1);
    }
    put32(&mut directory, END);
    put32(&mut directory, 0);
    put16(&mut directory, low16(count));
    put16(&mut directory, low16(count));
    put32(&mut directory, low32(size));
    put32(&mut directory, low32(offset));
    put16(&mut directory, 0);
    directory
}

/// How long the archive of these files will be. Places them on the way.
pub(super) fn size(entries: &[Entry]) -> u64 {
    let (mut offset, mut directory) = (0, 0);
    for entry in entries {
        let placed = Entry { name: entry.name.clone(), offset, ..*entry };
        directory += placed.directory_header().len() as u64;
        offset += placed.local_header().len() as u64 + placed.size;
    }
    let end_64 = entries.len() >= 0xffff || is_large(directory) || is_large(offset);
    offset + directory + if end_64 { 56 + 20 } else { 0 } + 22
}

/// A value of all ones says that the real one stands in the 64-bit form, so it counts as too large itself.
fn is_large(value: u64) -> bool {
    value >= u64::from(u32::MAX)
}

fn low16(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn put16(bytes: &mut Vec<u8>, value: u16) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

/// Date and time as the format has them: in UTC here, with two-second steps, from 1980 on.
fn dos_time(time: Time) -> (u16, u16) {
    let timestamp = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    let moment = timestamp.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let number = |value: i8| u16::try_from(value).unwrap_or(0);
    let Some(year) =
        u16::try_from(moment.year()).ok().and_then(|year| year.checked_sub(1980)).filter(|year| *year < 128)
    else {
        return (1 << 5 | 1, 0);
    };
    let date = year << 9 | number(moment.month()) << 5 | number(moment.day());
    (date, number(moment.hour()) << 11 | number(moment.minute()) << 5 | (number(moment.second()) / 2))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Seek, SeekFrom, Write};

    use super::*;

    const MOMENT: Time = Time(1_795_253_400_123);

    #[test]
    fn an_independent_reader_finds_every_file() {
        let contents = [("page 1.png", "one"), ("Übersicht.txt", ""), ("z", "three")];
        let mut entries: Vec<Entry> =
            contents.iter().map(|(name, text)| Entry::new(name, text.len() as u64, MOMENT)).collect();
        let mut archive = Vec::new();
        for (entry, (_, text)) in entries.iter_mut().zip(contents) {
            entry.place(archive.len() as u64, crc32fast::hash(text.as_bytes()));
            archive.extend(entry.local_header());
            archive.extend(text.as_bytes());
        }
        let offset = archive.len() as u64;
        archive.extend(directory(&entries, offset));
        assert_eq!(archive.len() as u64, size(&entries));
        let mut reader = ::zip::ZipArchive::new(Cursor::new(archive)).expect("an archive");
        for (number, (name, text)) in contents.into_iter().enumerate() {
            let mut file = reader.by_index(number).expect("a file");
            assert_eq!((file.name().expect("UTF-8").as_ref(), file.size()), (name, text.len() as u64));
            let moment = file.last_modified().expect("a time");
            assert_eq!((moment.year(), moment.month(), moment.day(), moment.hour()), (2026, 11, 21, 9));
            let mut found = String::new();
            file.read_to_string(&mut found).expect("the checksum is right");
            assert_eq!(found, text);
        }
    }

    #[test]
    fn files_and_offsets_beyond_4_gib_are_found_as_well() {
        // Nothing but headers is written; the rest of the file is a hole.
        let mut file = tempfile::tempfile().expect("a temporary file");
        let sizes = [u64::from(u32::MAX) - 1, u64::from(u32::MAX), 5 << 30, 3];
        let mut entries: Vec<Entry> =
            sizes.iter().enumerate().map(|(n, size)| Entry::new(&format!("file-{n}"), *size, MOMENT)).collect();
        let mut offset = 0;
        for entry in &mut entries {
            entry.place(offset, crc32fast::hash(&[0; 3]));
            let header = entry.local_header();
            file.seek(SeekFrom::Start(offset)).expect("seekable");
            file.write_all(&header).expect("writable");
            offset += header.len() as u64 + entry.size;
        }
        file.seek(SeekFrom::Start(offset)).expect("seekable");
        file.write_all(&directory(&entries, offset)).expect("writable");
        assert_eq!(file.metadata().expect("a file").len(), size(&entries));
        let mut reader = ::zip::ZipArchive::new(file).expect("an archive");
        for (number, entry) in entries.iter().enumerate() {
            let file = reader.by_index(number).expect("its header is where the directory says");
            assert_eq!(
                (file.name().expect("UTF-8").as_ref(), file.size(), file.header_start()),
                (&*entry.name, entry.size, entry.offset)
            );
        }
        let mut last = Vec::new();
        reader.by_index(3).expect("there").read_to_end(&mut last).expect("the checksum is right");
        assert_eq!(last, [0; 3]);
    }

    #[test]
    fn an_archive_may_be_empty_or_hold_more_files_than_16_bits_count() {
        for count in [0, 0xfffe, 0xffff, 0x1_0001] {
            let mut entries: Vec<Entry> = (0..count).map(|n| Entry::new(&n.to_string(), 0, MOMENT)).collect();
            let mut archive = Vec::new();
            for entry in &mut entries {
                entry.place(archive.len() as u64, 0);
                archive.extend(entry.local_header());
            }
            let offset = archive.len() as u64;
            archive.extend(directory(&entries, offset));
            assert_eq!(archive.len() as u64, size(&entries));
            assert_eq!(::zip::ZipArchive::new(Cursor::new(archive)).expect("an archive").len(), count);
        }
    }
}
