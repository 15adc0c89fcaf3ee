//! The last good file of each kind, kept in the data folder: a broken new version must not stop a kind, not even
//! across a restart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::NamedTempFile;

/// The folder of kept files. What is in it was checked when it was put there, and is checked again when it is used.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

impl Kept {
    /// Opens the folder, which need not exist.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Keeps a file that serves, in place of the one before. All or nothing, also when the power goes.
    pub(super) fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.get(name).is_ok_and(|kept| kept == bytes) {
            return Ok(());
        }
        let mut file = NamedTempFile::new_in(&self.0)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.0.join(name)).map_err(|error| error.error)?;
        File::open(&self.0)?.sync_all()
    }

    /// The kept file.
    pub(super) fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name))
    }

    /// Forgets a file: its kind was retired.
    pub(super) fn forget(&self, name: &str) {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(plugin.file = name, %error, "could not forget the kept version of a removed plugin");
            }
            _ => {}
        }
    }

    /// Forgets every file that `is_there` does not know: it was removed while no host ran.
    pub(super) fn forget_others(&self, is_there: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| !is_there(name)).for_each(|name| self.forget(&name));
    }
}
