//! The files of a journal, made ready for commits: all that was found in them is written anew, by the page.
//!
//! It may be with the kernel alone, or not even be written any more if the process died of a failed sync. And what was read of a file lies
//! in the kernel's memory in pieces of up to megabytes, each of which is gone through as a whole for every commit that comes to lie in it: a
//! tenth of the time that a small commit takes. Let go of, and written by the page, it lies there by the page.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::{Found, LENGTH, NAMES};

/// Written at a time: the least that the kernel keeps of a file, on most machines.
const PAGE_BYTES: usize = 4096;

/// Opens both files. What the database lacks is on the disk then; they have the rest of what was found in them, and their length, as far as
/// there is room. Says of each whether commits may go on behind those in it. A disk that fails otherwise is none to go on with.
pub(super) fn files(folder: &Path, found: &Found) -> io::Result<([File; 2], [bool; 2])> {
    let open = |name| OpenOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join(name));
    let [first, second] = NAMES.map(open);
    let (files, mut are_whole) = ([first?, second?], [true; 2]);
    for file in &files {
        // An advice; where it is not taken commits cost more.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
    }
    // Before all that could take the room for it: there are disks where to write anew takes room.
    for (place, needed, _) in found.content().filter(|(_, needed, _)| !needed.is_empty()) {
        write_by_page(&files[place], needed, 0)?;
        files[place].sync_data()?;
    }
    for (place, needed, rest) in found.content().filter(|(_, _, rest)| !rest.is_empty()) {
        let written = write_by_page(&files[place], rest, needed.len() as u64).and_then(|()| files[place].sync_data());
        // What the database has all of is begun anew instead.
        are_whole[place] = !is_full(written, "a file of the journal stays as it is")? || !needed.is_empty();
    }
    for file in &files {
        is_full(lengthen(file), "the journal is not as long as it should be; commits will take longer")?;
    }
    Ok((files, are_whole))
}

/// Gives a file the length that it has from the beginning.
fn lengthen(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length >= LENGTH {
        return Ok(());
    }
    // Written, not only reserved: the first write to what is reserved has to note that it is one.
    let zeros = vec![0; usize::try_from(LENGTH - length).map_err(io::Error::other)?];
    write_by_page(file, &zeros, length)?;
    file.sync_all()
}

fn write_by_page(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let in_page = (at % PAGE_BYTES as u64) as usize;
        let (page, rest) = bytes.split_at(bytes.len().min(PAGE_BYTES - in_page));
        file.write_all_at(page, at)?;
        (bytes, at) = (rest, at + page.len() as u64);
    }
    Ok(())
}

/// Whether the disk was full, which is said in the log, and is no reason not to open.
fn is_full(written: io::Result<()>, so: &str) -> io::Result<bool> {
    match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            tracing::warn!(%error, "{so}");
            Ok(true)
        }
        written => written.map(|()| false),
    }
}
