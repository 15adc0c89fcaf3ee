//! Compiled code kept in the data folder, so that a file is compiled once and not at every start.
//!
//! An entry holds the machine code of one plugin file and what the plugin said of itself. It is found by the SHA-256 of the
//! plugin file and the fingerprint of the engine: its version, its settings, the processor's features.
//!
//! What is loaded from here runs as machine code, outside of any sandbox, so it matters who can write it. The folder and every
//! entry must belong to this user and nobody else may be able to write them; else they are not used. Somebody who acts as
//! this user, or as root, can change the host itself and is not held off. A checksum over the whole entry finds
//! what disks and interrupted copies do. The bytes that were checked are the bytes that are loaded: the file is read once
//! and not mapped, so nothing that happens to it later matters. Whatever is not right is ignored, and written anew.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::Description;

/// The first bytes of an entry; another layout gets others.
const MAGIC: &[u8; 8] = b"dropcode";
/// Changes with what is done to a component before it is compiled: what was compiled in another way is compiled anew.
const WAY: u8 = 1;
const CHECKSUM_BYTES: usize = 32;
/// Magic, checksum, length of the description.
const HEAD_BYTES: usize = MAGIC.len() + CHECKSUM_BYTES + 4;
/// A larger entry is neither written nor read. Machine code is about twice as large as the file it comes from.
const ENTRY_BYTES_MAX: u64 = 2 << 30;
/// Others may neither look into the folder nor change it.
const FOLDER_MODE: u32 = 0o700;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The folder of compiled code, for one engine.
pub(super) struct CompiledCode {
    folder: PathBuf,
    fingerprint: String,
}

impl CompiledCode {
    /// Opens the folder, which need not exist.
    pub(super) fn open(folder: PathBuf, engine: &Engine) -> io::Result<Self> {
        match DirBuilder::new().mode(FOLDER_MODE).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let metadata = fs::symlink_metadata(&folder)?;
        if !metadata.is_dir() || !is_ours(&metadata) {
            return Err(io::Error::other("it is no folder that belongs to this user"));
        }
        fs::set_permissions(&folder, Permissions::from_mode(FOLDER_MODE))?;
        Ok(Self { folder, fingerprint: fingerprint(engine) })
    }

    /// The code of a plugin file and what it says of itself, if there is a sound entry.
    pub(super) fn get(&self, engine: &Engine, digest: &str) -> Option<(Component, Description)> {
        let loaded = self.read(digest).and_then(|entry| self.load(engine, digest, &entry));
        loaded
            .inspect_err(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(plugin.digest = digest, %error, "compiled code is not used; compiling anew");
                }
            })
            .ok()
    }

    /// Keeps the code of a plugin file. All or nothing, also when the power goes.
    pub(super) fn put(&self, digest: &str, component: &Component, about: &Description) -> io::Result<()> {
        let code = component.serialize().map_err(|error| io::Error::other(format!("{error:#}")))?;
        let about = serde_json::to_vec(about)?;
        let length = u32::try_from(about.len()).map_err(io::Error::other)?.to_le_bytes();
        if (HEAD_BYTES + about.len() + code.len()) as u64 > ENTRY_BYTES_MAX {
            return Err(io::Error::other(format!("it is larger than {ENTRY_BYTES_MAX} bytes")));
        }
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(MAGIC)?;
        for part in [&self.checksum(digest, &[&length, &about, &code])[..], &length, &about, &code] {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        file.persist(self.path(digest)).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes every entry that is of another engine or of a file that is not `used`, and what an interrupted host left.
    pub(super) fn sweep(&self, used: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut last = Ok(());
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.split_once('.'));
            let is_used = digest.is_some_and(|(digest, engine)| engine == self.fingerprint && used(digest));
            if !is_used {
                // One that cannot be removed must not keep the others.
                last = fs::remove_file(entry.path()).and(last);
            }
        }
        last
    }

    /// Removes the entries that were not used for the longest time, those of other engines and what interrupted processes left among
    /// them, until there are at most so many with at most so many bytes. The entry of this file counts as used now, and stays.
    pub(super) fn keep_newest(&self, used: &str, files_max: usize, bytes_max: u64) -> io::Result<()> {
        let path = self.path(used);
        match File::options().append(true).open(&path).and_then(|entry| entry.set_modified(SystemTime::now())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // What is gone meanwhile was removed by another process that does the same.
            let Ok(metadata) = entry.metadata() else { continue };
            entries.push((entry.path() == path, metadata.modified()?, metadata.len(), entry.path()));
        }
        entries.sort_by(|one, other| other.cmp(one));
        let (mut last, mut bytes) = (Ok(()), 0_u64);
        for (number, (is_used, _, size, path)) in entries.into_iter().enumerate() {
            bytes = bytes.saturating_add(size);
            if !is_used && (number >= files_max || bytes > bytes_max) {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => last = Err(error),
                    _ => {}
                }
            }
        }
        last
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{}", self.fingerprint))
    }

    fn read(&self, digest: &str) -> io::Result<Vec<u8>> {
        let no_links = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().read(true).custom_flags(no_links).open(self.path(digest))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || !is_ours(&metadata) || metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(io::Error::other("it is no file that only this user can write"));
        }
        if metadata.len() > ENTRY_BYTES_MAX {
            return Err(io::Error::other(format!("it is larger than {ENTRY_BYTES_MAX} bytes")));
        }
        let mut entry = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        let _ = (&mut file).take(ENTRY_BYTES_MAX).read_to_end(&mut entry)?;
        Ok(entry)
    }

    fn load(&self, engine: &Engine, digest: &str, entry: &[u8]) -> io::Result<(Component, Description)> {
        let damaged = || io::Error::other("it is damaged: its checksum is wrong");
        let rest = entry.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (checksum, rest) = rest.split_at_checked(CHECKSUM_BYTES).ok_or_else(damaged)?;
        if *checksum != self.checksum(digest, &[rest]) {
            return Err(damaged());
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (about, code) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
        let about = serde_json::from_slice(about)?;
        Ok((machine_code(engine, code).map_err(|error| io::Error::other(format!("{error:#}")))?, about))
    }

    /// Covers the name as well, so that an entry cannot stand in for another one.
    fn checksum(&self, digest: &str, parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
        let mut hash = Sha256::new();
        hash.update(digest);
        hash.update(&self.fingerprint);
        parts.iter().for_each(|part| hash.update(part));
        hash.finalize().into()
    }
}

/// Turns bytes into code that can run. They must be exactly what an engine like this one has made.
#[expect(
    unsafe_code,
    reason = "loading machine code cannot be checked by the engine; this is the only place that does it"
)]
pub(super) fn machine_code(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes come from a file that only this user can write, in a folder that only this user can write, and
    // their checksum says that they are what `put` wrote, for an engine with this fingerprint; or this same program has just made them,
    // in a process that nobody else could write to, for an engine with this configuration.
    unsafe { Component::deserialize(engine, bytes) }
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Two engines with the same one can run each other's code. Covers the engine's full version, and the [`WAY`] to it.
fn fingerprint(engine: &Engine) -> String {
    let mut hash = Fingerprint(Sha256::new());
    hash.write(&[WAY]);
    engine.precompile_compatibility_hash().hash(&mut hash);
    hex::encode(&hash.0.finalize()[..8])
}

/// Collects what is hashed, without the shortness of the usual 64 bits on the way.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Only the digest itself is asked for.
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "00ff";

    /// A folder with one entry.
    fn kept(folder: &std::path::Path) -> (Engine, CompiledCode) {
        let engine = Engine::default();
        let code = CompiledCode::open(folder.join("compiled"), &engine).expect("a folder can be made");
        let component = Component::new(&engine, wat::parse_str("(component)").expect("valid")).expect("valid");
        let about = Description { summary: "Something.".to_owned(), ..Description::default() };
        code.put(DIGEST, &component, &about).expect("it can be written");
        (engine, code)
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (engine, code) = kept(folder.path());
        let (_, about) = code.get(&engine, DIGEST).expect("it is there");
        assert_eq!(about.summary, "Something.");
        assert!(code.get(&engine, "00fe").is_none());
        assert_eq!(fs::metadata(&code.folder).expect("it is there").mode() & 0o777, 0o700);
    }

    #[test]
    fn a_changed_byte_anywhere_makes_an_entry_useless() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (engine, code) = kept(folder.path());
        let entry = fs::read(code.path(DIGEST)).expect("it is there");
        for place in (0..entry.len()).step_by(97).chain([entry.len() - 1]) {
            let mut changed = entry.clone();
            changed[place] ^= 1;
            fs::write(code.path(DIGEST), changed).expect("it can be written");
            assert!(code.get(&engine, DIGEST).is_none(), "byte {place} of {}", entry.len());
        }
        for length in [0, 7, 20, HEAD_BYTES, entry.len() - 1] {
            fs::write(code.path(DIGEST), &entry[..length]).expect("it can be written");
            assert!(code.get(&engine, DIGEST).is_none(), "{length} bytes of {}", entry.len());
        }
        fs::write(code.path(DIGEST), entry).expect("it can be written");
        assert!(code.get(&engine, DIGEST).is_some());
    }

    #[test]
    fn an_entry_under_another_name_or_that_others_can_write_is_useless() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (engine, code) = kept(folder.path());
        fs::copy(code.path(DIGEST), code.path("0000")).expect("it can be written");
        assert!(code.get(&engine, "0000").is_none());
        std::os::unix::fs::symlink(code.path(DIGEST), code.path("0001")).expect("it can be written");
        assert!(code.get(&engine, "0001").is_none());
        fs::set_permissions(code.path(DIGEST), Permissions::from_mode(0o620)).expect("it is ours");
        assert!(code.get(&engine, DIGEST).is_none());
        fs::set_permissions(code.path(DIGEST), Permissions::from_mode(0o600)).expect("it is ours");
        assert!(code.get(&engine, DIGEST).is_some());
    }

    #[test]
    fn another_engine_does_not_find_it_and_sweeps_it_away() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (_, code) = kept(folder.path());
        let other = Engine::new(wasmtime::Config::new().consume_fuel(true)).expect("valid");
        let others = CompiledCode::open(folder.path().join("compiled"), &other).expect("it is there");
        assert!(others.get(&other, DIGEST).is_none());
        code.sweep(|digest| digest == DIGEST).expect("it can be read");
        assert!(code.path(DIGEST).exists());
        fs::write(code.folder.join(".tmp123"), "").expect("it can be written");
        others.sweep(|digest| digest == DIGEST).expect("it can be read");
        assert_eq!(fs::read_dir(&code.folder).expect("it can be read").count(), 0);
    }

    #[test]
    fn of_many_entries_those_used_last_stay() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (_, code) = kept(folder.path());
        for (age, digest) in [(4, "a"), (3, "b"), (2, "c"), (1, "d")] {
            fs::write(code.path(digest), [0; 100]).expect("it can be written");
            let entry = File::options().append(true).open(code.path(digest)).expect("it is there");
            entry.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).expect("it is ours");
        }
        let there = || ["a", "b", "c", "d", DIGEST].map(|digest| code.path(digest).exists());
        code.keep_newest("a", 5, u64::MAX).expect("they can be read");
        assert_eq!(there(), [true; 5]);
        code.keep_newest("a", 4, u64::MAX).expect("they can be read");
        assert_eq!(there(), [true, false, true, true, true], "a was used later than b");
        let entry_bytes = fs::metadata(code.path(DIGEST)).expect("it is there").len();
        code.keep_newest("a", 4, 200 + entry_bytes).expect("they can be read");
        assert_eq!(there(), [true, false, false, true, true]);
        code.keep_newest("a", 1, 0).expect("they can be read");
        assert_eq!(there(), [true, false, false, false, false], "what is used stays, however large");
        code.keep_newest("gone", 0, 0).expect("they can be read");
        assert_eq!(there(), [false; 5]);
    }

    #[test]
    fn entries_of_files_that_are_gone_are_swept_away() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (_, code) = kept(folder.path());
        code.sweep(|_| false).expect("it can be read");
        assert!(!code.path(DIGEST).exists());
    }
}
