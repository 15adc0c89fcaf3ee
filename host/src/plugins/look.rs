//! What lies in the plugin folder at this moment: which files, and what they are recognised by without being read.
//!
//! A look that fails, wholly or for one file, says so: a file counts as removed only where the folder could be read
//! and the file was not in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// At the first look, a file untouched for so long counts as complete.
const RESTED: Duration = Duration::from_secs(2);

/// What a file is recognised by without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    inode: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            inode: metadata.ino(),
            modified_ns: (metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Of the file at `path` now, if it can be looked at.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

/// A kind's files: `NAME.wasm`, `NAME.toml` if there is one, and the secrets that it names. A version is all of them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps {
    wasm: Stamp,
    toml: Option<Stamp>,
    /// Those that its settings named when they were read last; nothing for one that cannot be looked at.
    pub(super) secrets: BTreeMap<PathBuf, Option<Stamp>>,
}

/// What is done about a file that may be on a disk or a server that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is looked at.
    Now,
    /// Somebody still looks at it, and has not done so for long.
    Later,
    /// Somebody has looked at it for so long that it counts as one that cannot be looked at.
    Never,
}

/// Called before a file is looked at, with nothing before the folder itself is.
pub(super) type Turns<'a> = &'a dyn Fn(Option<&Path>) -> Turn;

/// The files as they are found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) wasm: Metadata,
    pub(super) toml: Option<Metadata>,
    /// But for those that somebody still looks at.
    secrets: HashMap<PathBuf, Option<Metadata>>,
}

impl Found {
    /// Looks at a file, the settings beside it and the secrets that these are known to name; nothing if there is no such file.
    pub(super) fn at(path: &Path, secrets: &[PathBuf], turns: Turns<'_>) -> io::Result<Option<Self>> {
        let Some(wasm) = look_at(path, turns)? else { return Ok(None) };
        let toml = look_at(&path.with_extension("toml"), turns)?;
        let look = |secret: &PathBuf| match turns(Some(secret)) {
            Turn::Now => Some((secret.clone(), fs::metadata(secret).ok())),
            Turn::Later => None,
            Turn::Never => Some((secret.clone(), None)),
        };
        Ok(Some(Self { wasm, toml, secrets: secrets.iter().filter_map(look).collect() }))
    }

    /// What they are recognised by. Of a secret that somebody still looks at that is what it was `before`.
    pub(super) fn stamps(&self, before: Option<&Stamps>) -> Stamps {
        let of = |file: &Option<Metadata>| file.as_ref().map(Stamp::of);
        let named = before.into_iter().flat_map(|before| &before.secrets);
        let secrets = named.map(|(path, before)| (path.clone(), self.secrets.get(path).map_or(*before, of)));
        Stamps { wasm: Stamp::of(&self.wasm), toml: of(&self.toml), secrets: secrets.collect() }
    }

    /// Whether nothing has happened to them for a while.
    pub(super) fn have_rested(&self) -> bool {
        has_rested(&self.wasm) && self.toml.as_ref().is_none_or(has_rested)
    }

    /// Whether something happened to each after its last byte was written.
    pub(super) fn were_moved_here(&self) -> bool {
        let was_moved = |file: &Metadata| (file.ctime(), file.ctime_nsec()) != (file.mtime(), file.mtime_nsec());
        was_moved(&self.wasm) && self.toml.iter().chain(self.secrets.values().flatten()).all(was_moved)
    }
}

/// Which folder it is: another one may come to stand under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// All that was found in a folder.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) identity: Identity,
    /// Every `*.wasm` that is not hidden, with the settings beside it.
    pub(super) files: BTreeMap<String, Found>,
    /// Those that are there, but could not be looked at.
    pub(super) unknown: BTreeSet<String>,
    /// Why one of them could not.
    pub(super) reason: Option<String>,
    /// Whether somebody still looks at one of them, and may be done in a moment.
    pub(super) is_partial: bool,
}

impl Look {
    /// Looks at a folder, and at the secrets that a file of a name is known to have.
    pub(super) fn at(folder: &Path, secrets: &HashMap<String, Vec<PathBuf>>, turns: Turns<'_>) -> io::Result<Self> {
        turns(None);
        let identity = identity_of(folder)?;
        let (files, unknown) = (BTreeMap::new(), BTreeSet::new());
        let mut look = Self { identity, files, unknown, reason: None, is_partial: false };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.ends_with(".wasm") || name.starts_with('.') {
                continue;
            }
            match Found::at(&path, secrets.get(&name).map_or(&[], Vec::as_slice), turns) {
                Ok(Some(found)) => drop(look.files.insert(name, found)),
                // A file that has just been removed is simply not there.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    look.is_partial = true;
                    look.unknown.insert(name);
                }
                Err(error) => {
                    look.reason.get_or_insert_with(|| format!("{name} cannot be looked at: {error}"));
                    look.unknown.insert(name);
                }
            }
            turns(None);
        }
        // A list that was begun in one folder says nothing about another.
        if identity_of(folder)? != identity {
            return Err(io::Error::other("it was replaced while it was read"));
        }
        Ok(look)
    }

    /// Whether a file of this name is there, as far as anybody can tell.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.unknown.contains(name)
    }

    /// The names of all files there are.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().chain(&self.unknown).map(String::as_str)
    }

    /// Whether no file is there, as far as anybody can tell.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unknown.is_empty()
    }
}

fn identity_of(folder: &Path) -> io::Result<Identity> {
    fs::metadata(folder).map(|metadata| Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// Follows links, but also looks at one that leads nowhere.
fn look_at(path: &Path, turns: Turns<'_>) -> io::Result<Option<Metadata>> {
    match turns(Some(path)) {
        Turn::Now => {}
        Turn::Later => return Err(ErrorKind::WouldBlock.into()),
        Turn::Never => {
            return Err(io::Error::other(format!(
                "{} does not answer, as on a disk or server that is gone",
                path.display()
            )));
        }
    }
    match fs::metadata(path).or_else(|_| fs::symlink_metadata(path)) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn has_rested(metadata: &Metadata) -> bool {
    // A clock that runs backwards makes the file wait for a second look, nothing more.
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age >= RESTED)
}
