//! The last good version of each kind, kept in the data folder: a broken new one must not stop a kind, not even
//! across a restart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::NamedTempFile;

/// Ends the names of kept files.
const SUFFIX: &str = ".kept";

/// One version of a kind: the file, and the text of the settings it serves with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// `NAME.wasm`
    pub(super) wasm: Vec<u8>,
    /// `NAME.toml`, empty if there is none.
    pub(super) toml: String,
}

/// The folder of kept versions. What is in it was checked when it was put there, and is checked again when it is used.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

impl Kept {
    /// Opens the folder, which need not exist.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Keeps a version that serves, in place of the one before. All or nothing, also when the power goes: both files lie in
    /// one, the settings first, so that no program can end up with the grants of another.
    pub(super) fn keep(&self, name: &str, version: &Version) -> io::Result<()> {
        if self.get(name).is_ok_and(|kept| kept == *version) {
            return Ok(());
        }
        let mut file = NamedTempFile::new_in(&self.0)?;
        file.write_all(&(version.toml.len() as u64).to_le_bytes())?;
        file.write_all(version.toml.as_bytes())?;
        file.write_all(&version.wasm)?;
        file.as_file().sync_all()?;
        file.persist(self.path(name)).map_err(|error| error.error)?;
        File::open(&self.0)?.sync_all()
    }

    /// The kept version.
    pub(super) fn get(&self, name: &str) -> io::Result<Version> {
        let mut bytes = fs::read(self.path(name))?;
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let size = bytes.first_chunk().map(|size| u64::from_le_bytes(*size)).ok_or_else(damaged)?;
        let end = usize::try_from(size).ok().and_then(|size| size.checked_add(8)).ok_or_else(damaged)?;
        let toml = String::from_utf8(bytes.get(8..end).ok_or_else(damaged)?.to_vec()).map_err(|_| damaged())?;
        bytes.drain(..end);
        Ok(Version { wasm: bytes, toml })
    }

    /// Forgets a version: its kind was retired.
    pub(super) fn forget(&self, name: &str) {
        self.remove(self.path(name));
    }

    /// Forgets every version that `is_there` does not know: it was removed while no host ran.
    pub(super) fn forget_others(&self, is_there: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let strange = names.filter(|name| !name.strip_suffix(SUFFIX).is_some_and(&is_there));
        strange.for_each(|name| self.remove(self.0.join(name)));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}{SUFFIX}"))
    }

    fn remove(&self, path: PathBuf) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let file = path.display();
                tracing::warn!(%file, %error, "could not forget the kept version of a removed plugin");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_kept_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kept = Kept::open(folder.path().join("kept")).expect("can be made");
        let version = |toml: &str| Version { wasm: b"\0asm and more".to_vec(), toml: toml.to_owned() };
        for toml in ["", "timeout = \"1s\"\n"] {
            kept.keep("a.wasm", &version(toml)).expect("it can be written");
            assert_eq!(kept.get("a.wasm").expect("it is there"), version(toml));
        }
        for damaged in [b"".as_slice(), b"\x01", b"\xff\xff\xff\xff\xff\xff\xff\xffabc", b"\x04\0\0\0\0\0\0\0abc"] {
            fs::write(kept.path("b.wasm"), damaged).expect("it can be written");
            assert!(kept.get("b.wasm").is_err(), "{damaged:?}");
        }
        kept.forget_others(|name| name == "a.wasm");
        assert!(kept.get("a.wasm").is_ok() && !kept.path("b.wasm").exists());
    }
}
