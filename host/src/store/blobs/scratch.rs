//! The two folders of one attempt of a program: what it may read, and what it leaves.
//!
//! They lie among the temporary files, so that nothing of them outlives the process for long. A guest chooses what the second one
//! holds and how deep it is; nothing here follows a link, recurses, or keeps more than one folder open.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::content::read;
use super::syncer::Closed;
use super::upload::{Large, Written, no_room};
use super::{Blobs, Content, Folder, Room, Upload};
use crate::store::space::Space;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Folders for one attempt. Dropped, they are removed with all that is in them, soon.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
    folder: Arc<Folder>,
}

/// A file that was left behind.
#[derive(Debug)]
pub struct Leftover {
    /// Its path below the folder, with slashes.
    pub path: String,
    file: PathBuf,
}

/// Says whether a guest may still write.
#[derive(Debug, Clone)]
pub struct RoomForOutput(Space);

impl RoomForOutput {
    /// To be asked before so many bytes are written. Fails with [`io::ErrorKind::StorageFull`] as soon as new jobs are refused, long
    /// before the disk is full: what a guest writes here may be gone in a moment, and what others have done is to be recorded.
    pub fn check(&self, bytes: u64) -> io::Result<()> {
        if self.0.room_after(bytes) >= Room::Scarce { Err(no_room()) } else { Ok(()) }
    }
}

impl Blobs {
    /// Makes the folders of an attempt, both empty. Blocks on the disk.
    pub fn scratch(&self) -> io::Result<Scratch> {
        let root = tempfile::Builder::new().prefix("scratch-").tempdir_in(&self.0.temporary)?.keep();
        let scratch = Scratch { root, folder: Arc::clone(&self.0) };
        scratch.room().check(0)?;
        fs::create_dir(scratch.input())?;
        fs::create_dir(scratch.output())?;
        Ok(scratch)
    }
}

impl Scratch {
    /// Where the guest reads.
    pub fn input(&self) -> PathBuf {
        self.root.join("in")
    }

    /// Where the guest writes.
    pub fn output(&self) -> PathBuf {
        self.root.join("out")
    }

    /// Watches the disk they are on.
    pub fn room(&self) -> RoomForOutput {
        RoomForOutput(self.folder.space.clone())
    }

    /// Puts a content among what the guest reads. A blob takes no room for it, and is read once, since nobody checks its bytes while
    /// the guest reads them. `name` is the caller's, and no path. `go_on` is asked before each piece, and ends it by failing. Blocks on the
    /// disk.
    pub fn place(&self, name: &str, content: &Content, go_on: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let path = self.input().join(name);
        let is_linked = match content {
            Content::Inline(_) => false,
            // Not every file system can do this.
            Content::Blob(blob) => fs::hard_link(self.folder.path_of(&blob.sha256), &path).is_ok(),
        };
        let mut copy = if is_linked { None } else { Some(File::create_new(&path)?) };
        let mut reader = content.open(0)?;
        loop {
            go_on()?;
            let chunk = reader.next_chunk(CHUNK_BYTES)?;
            if chunk.is_empty() {
                return Ok(());
            }
            if let Some(file) = &mut copy {
                self.room().check(chunk.len() as u64)?;
                io::Write::write_all(file, &chunk)?;
            }
        }
    }

    /// What the guest has left, by path. A folder whose path has more than `path_bytes_max` bytes stands for all that is in it.
    pub fn leftovers(&self, path_bytes_max: usize) -> io::Result<Vec<Leftover>> {
        let mut found = Vec::new();
        let mut folders = vec![(self.output(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.file_type()?.is_dir() && path.len() <= path_bytes_max {
                    folders.push((entry.path(), format!("{path}/")));
                } else {
                    found.push(Leftover { path, file: entry.path() });
                }
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// Takes a file out of the folder. One of up to `small_bytes_max` bytes is read into memory, as any small content; a larger one stays
    /// the file it is. `look` sees its bytes, piece by piece, and ends it by failing. Blocks on the disk.
    pub fn take(
        &self,
        leftover: &Leftover,
        small_bytes_max: u64,
        mut look: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Upload> {
        let no_links = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().read(true).custom_flags(no_links).open(&leftover.file)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::other(format!("{:?} is not a file of its own", leftover.path)));
        }
        let mut upload = Blobs(Arc::clone(&self.folder)).upload();
        let is_large = metadata.len() > small_bytes_max.min(Content::INLINE_BYTES_MAX as u64);
        let mut hash = Sha256::new();
        loop {
            let chunk = read(&mut file, CHUNK_BYTES)?;
            if chunk.is_empty() {
                break;
            }
            look(&chunk)?;
            upload.size += chunk.len() as u64;
            if is_large {
                hash.update(&chunk);
            } else {
                upload.small.extend_from_slice(&chunk);
            }
        }
        if is_large {
            let path = NamedTempFile::new_in(&self.folder.temporary)?.into_temp_path();
            fs::rename(&leftover.file, &path)?;
            let file = Written::Closed(Arc::new(Closed::new(&path)));
            upload.large = Some(Box::new(Large { file, path, hash }));
        }
        Ok(upload)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.folder.remove_later(std::mem::take(&mut self.root));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let data = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(data.path()).expect("opens");
        (data, blobs)
    }

    /// Guards against removing folders by recursion: so many levels overflow the stack or use up all open files.
    #[test]
    fn a_folder_is_removed_however_deep_it_is() {
        let (data, blobs) = blobs();
        let scratch = blobs.scratch().expect("there is room");
        let mut bottom = File::open(scratch.output()).expect("it is there");
        for _ in 0..2_000 {
            rustix::fs::mkdirat(&bottom, "d", rustix::fs::Mode::RWXU).expect("it can be made");
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            bottom = rustix::fs::openat(&bottom, "d", flags, rustix::fs::Mode::empty()).expect("it is there").into();
        }
        let found = scratch.leftovers(255).expect("it can be read");
        assert_eq!(found.iter().map(|left| left.path.len()).collect::<Vec<_>>(), [257]);
        drop(scratch);
        let (started, temporary) = (Instant::now(), data.path().join("tmp"));
        while fs::read_dir(&temporary).expect("it is there").next().is_some() {
            assert!(started.elapsed() < Duration::from_secs(60), "it is still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_a_dead_process_left_is_removed_at_open() {
        let (data, blobs) = blobs();
        let scratch = blobs.scratch().expect("there is room");
        fs::create_dir(scratch.output().join("a")).expect("it can be made");
        fs::write(scratch.output().join("a/file"), "x").expect("it can be written");
        std::mem::forget(scratch);
        Blobs::open(data.path()).expect("opens");
        assert_eq!(fs::read_dir(data.path().join("tmp")).map(Iterator::count).ok(), Some(0));
    }

    #[test]
    fn files_are_taken_as_they_are_and_links_are_not() {
        let (_data, blobs) = blobs();
        let scratch = blobs.scratch().expect("there is room");
        let out = scratch.output();
        fs::create_dir(out.join("sub")).expect("it can be made");
        for (name, size) in [("sub/small", 10), ("large", 100_000)] {
            fs::write(out.join(name), vec![b'x'; size]).expect("it can be written");
        }
        std::os::unix::fs::symlink("/etc/hostname", out.join("symbolic")).expect("it can be made");
        fs::hard_link(out.join("sub/small"), out.join("hard")).expect("it can be made");
        let found = scratch.leftovers(255).expect("it can be read");
        let paths: Vec<&str> = found.iter().map(|left| left.path.as_str()).collect();
        assert_eq!(paths, ["hard", "large", "sub/small", "symbolic"]);
        let mut seen = 0;
        let look = |bytes: &[u8]| {
            seen += bytes.len();
            Ok(())
        };
        let upload = scratch.take(&found[1], u64::MAX, look).expect("it is a file");
        assert_eq!((upload.size(), seen), (100_000, 100_000));
        let content = upload.finish().expect("the disk works");
        assert_eq!(content.sha256()[..], Sha256::digest(vec![b'x'; 100_000])[..]);
        for refused in [&found[0], &found[2], &found[3]] {
            assert!(scratch.take(refused, u64::MAX, |_| Ok(())).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_blob_is_placed_without_a_copy_and_only_if_its_bytes_are_right() {
        let (data, blobs) = blobs();
        let mut upload = blobs.upload();
        upload.write(&vec![7; 150_000]).expect("the disk works");
        let content = upload.finish().expect("the disk works");
        let scratch = blobs.scratch().expect("there is room");
        scratch.place("input", &content, || Ok(())).expect("it is sound");
        assert_eq!(fs::metadata(scratch.input().join("input")).map(|metadata| metadata.nlink()).ok(), Some(2));
        fs::write(data.path().join("blobs").join(hex::encode(content.sha256())), vec![8; 150_000]).expect("writable");
        assert!(scratch.place("again", &content, || Ok(())).is_err());
    }

    /// Fault: the folders of an attempt that is over are filled and emptied to the end, file after file.
    #[test]
    fn a_large_file_is_placed_and_taken_piece_by_piece() {
        let (_data, blobs) = blobs();
        let mut upload = blobs.upload();
        upload.write(&vec![7; 5 * CHUNK_BYTES]).expect("the disk works");
        let content = upload.finish().expect("the disk works");
        let scratch = blobs.scratch().expect("there is room");
        let pieces = std::cell::Cell::new(0);
        let third_is_too_late = || {
            pieces.set(pieces.get() + 1);
            if pieces.get() == 3 { Err(io::Error::other("over")) } else { Ok(()) }
        };
        let placed = scratch.place("input", &content, third_is_too_late);
        assert_eq!((placed.map_err(|error| error.to_string()), pieces.get()), (Err("over".to_owned()), 3));
        fs::write(scratch.output().join("large"), vec![7; 5 * CHUNK_BYTES]).expect("it can be written");
        let found = scratch.leftovers(255).expect("it can be read");
        pieces.set(0);
        assert!(scratch.take(&found[0], 0, |_| third_is_too_late()).is_err_and(|error| error.to_string() == "over"));
        assert_eq!(pieces.get(), 3);
    }
}
