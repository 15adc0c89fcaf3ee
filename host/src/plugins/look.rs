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

/// What the file of a secret is recognised by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Nothing for one that cannot be looked at.
    pub(super) stamp: Option<Stamp>,
    /// Whether it does not answer any more. That is a change, for which the kind is checked once, and so is the next answer; the stamp is
    /// what was known before, so that nothing else is.
    pub(super) is_silent: bool,
}

/// A kind's files: `NAME.wasm`, `NAME.toml` if there is one, and the secrets that it names. A version is all of them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps {
    wasm: Stamp,
    toml: Option<Stamp>,
    /// Those that its settings named when they were read last.
    pub(super) secrets: BTreeMap<PathBuf, Mark>,
}

impl Stamps {
    /// Takes note of the secrets as a check has found them. What the looks have found holds where the check had no answer, and whether they
    /// have one is theirs to say: else the next look would take the difference for a change, and so would each one after it.
    pub(super) fn learn(&mut self, mut secrets: BTreeMap<PathBuf, Mark>) {
        for (path, mark) in &mut secrets {
            let before = self.secrets.get(path).copied().unwrap_or_default();
            if mark.is_silent {
                *mark = before;
            }
            mark.is_silent = before.is_silent;
        }
        self.secrets = secrets;
    }
}

/// What comes of looking at a file that may be on a disk or a server that does not answer.
#[derive(Debug)]
pub(super) enum Turn {
    /// This was found, with links followed.
    Now(io::Result<Metadata>),
    /// Somebody still looks at it, and has not done so for long.
    Later,
    /// Somebody has looked at it for so long that it counts as one that cannot be looked at.
    Never,
}

/// Looks at a file, if it is its turn.
pub(super) type Turns<'a> = &'a dyn Fn(&Path) -> Turn;

/// The files as they are found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) wasm: Metadata,
    pub(super) toml: Option<Metadata>,
    /// But for those that somebody still looks at.
    secrets: HashMap<PathBuf, Secret>,
}

#[derive(Debug, Clone)]
enum Secret {
    /// Looked at; nothing if it cannot be.
    Found(Option<Metadata>),
    /// Somebody has looked at it for so long that it is not waited for.
    Silent,
}

impl Found {
    /// Looks at a file, the settings beside it and the secrets that these are known to name; nothing if there is no such file.
    pub(super) fn at(path: &Path, secrets: &[PathBuf], turns: Turns<'_>) -> io::Result<Option<Self>> {
        let Some(wasm) = look_at(path, turns)? else { return Ok(None) };
        let toml = look_at(&path.with_extension("toml"), turns)?;
        let look = |secret: &PathBuf| match turns(secret) {
            Turn::Now(metadata) => Some((secret.clone(), Secret::Found(metadata.ok()))),
            Turn::Later => None,
            Turn::Never => Some((secret.clone(), Secret::Silent)),
        };
        Ok(Some(Self { wasm, toml, secrets: secrets.iter().filter_map(look).collect() }))
    }

    /// What they are recognised by. Of a secret that somebody still looks at that is what it was `before`.
    pub(super) fn stamps(&self, before: Option<&Stamps>) -> Stamps {
        let of = |file: &Option<Metadata>| file.as_ref().map(Stamp::of);
        let mark = |path, before: &Mark| match self.secrets.get(path) {
            Some(Secret::Found(metadata)) => Mark { stamp: of(metadata), is_silent: false },
            // What could not be looked at before is not known to have changed.
            Some(Secret::Silent) => Mark { is_silent: before.stamp.is_some(), ..*before },
            None => *before,
        };
        let named = before.into_iter().flat_map(|before| &before.secrets);
        let secrets = named.map(|(path, before)| (path.clone(), mark(path, before)));
        Stamps { wasm: Stamp::of(&self.wasm), toml: of(&self.toml), secrets: secrets.collect() }
    }

    /// Whether nothing has happened to them for a while.
    pub(super) fn have_rested(&self) -> bool {
        has_rested(&self.wasm) && self.toml.as_ref().is_none_or(has_rested)
    }

    /// Whether something happened to each after its last byte was written.
    pub(super) fn were_moved_here(&self) -> bool {
        let was_moved = |file: &Metadata| (file.ctime(), file.ctime_nsec()) != (file.mtime(), file.mtime_nsec());
        let secrets = self.secrets.values().filter_map(|secret| match secret {
            Secret::Found(metadata) => metadata.as_ref(),
            Secret::Silent => None,
        });
        was_moved(&self.wasm) && self.toml.iter().chain(secrets).all(was_moved)
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
    let found = match turns(path) {
        Turn::Now(found) => found,
        Turn::Later => return Err(ErrorKind::WouldBlock.into()),
        Turn::Never => {
            return Err(io::Error::other(format!(
                "{} does not answer, as on a disk or server that is gone",
                path.display()
            )));
        }
    };
    match found.or_else(|_| fs::symlink_metadata(path)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault: where looks and checks do not agree on whether a secret answers, its kind is checked again and again.
    #[test]
    fn a_secret_that_answers_only_looks_or_only_checks_is_a_change_once() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (wasm, secret) = (folder.path().join("kind.wasm"), folder.path().join("secret"));
        for path in [&wasm, &secret] {
            fs::write(path, "its text").expect("the folder can be written");
        }
        let answers = |path: &Path| Turn::Now(fs::metadata(path));
        let silent = |path: &Path| if path == secret { Turn::Never } else { answers(path) };
        let look = |turns: Turns<'_>, before: Option<&Stamps>| {
            let found = Found::at(&wasm, std::slice::from_ref(&secret), turns);
            found.expect("it can be looked at").expect("it is there").stamps(before)
        };
        let noted = |stamp, is_silent| BTreeMap::from([(secret.clone(), Mark { stamp, is_silent })]);
        let mut stamps = look(&answers, None);
        stamps.learn(noted(None, true));
        // Only now the looks know of the secret.
        stamps = look(&answers, Some(&stamps));
        stamps.learn(noted(None, true));
        assert_eq!(look(&answers, Some(&stamps)), stamps);

        let after = look(&silent, Some(&stamps));
        assert_ne!(after, stamps);
        stamps = after;
        stamps.learn(noted(Stamp::at(&secret), false));
        assert_eq!(look(&silent, Some(&stamps)), stamps);
        assert_ne!(look(&answers, Some(&stamps)), stamps);
    }
}
