//! What a check reads of the operator's: the file, its settings and the secrets that these name. Each may lie on a disk or a server that
//! is gone. It is waited for on a thread that nobody else needs, and read again when it answers.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::{Checker, Learnt, Rejection};
use crate::plugins::look::{Mark, Stamp};
use crate::plugins::{KindSettings, settings};
use crate::sandbox::{Folder, LOOK_MAX};
use crate::secrets::SecretSource;

/// Bytes that have to come in the time that a file has to answer. Few, as what comes slowly is not gone.
const STEP_BYTES: u64 = 64 << 10;
/// What is said of a file that does not.
const SILENT: &str = "does not answer, as on a disk or server that is gone; it is read again when it does";

/// Files and folders that did not answer, and how many calls had returned late from each before it was asked.
pub(in crate::plugins) type Silent = Vec<(Arc<Folder>, u64)>;

impl Checker {
    /// The settings beside a file, or none.
    pub(in crate::plugins) fn read_toml(
        &self,
        name: &str,
        metadata: Option<&Metadata>,
        silent: &mut Silent,
    ) -> Result<String, Rejection> {
        let Some(metadata) = metadata else { return Ok(String::new()) };
        let bytes = match self.read_up_to(settings::FILE_BYTES_MAX, name, metadata, silent) {
            Err(Rejection::NotUsable(reason)) => return Err(format!("{name}: {reason}").into()),
            read => read?,
        };
        String::from_utf8(bytes).map_err(|_| format!("{name}: the file is not UTF-8 text").into())
    }

    /// The program itself.
    pub(in crate::plugins) fn read(
        &self,
        name: &str,
        before: &Metadata,
        silent: &mut Silent,
    ) -> Result<Vec<u8>, Rejection> {
        self.read_up_to(self.settings.file_bytes_max, name, before, silent)
    }

    /// Takes note of the files of a kind's secrets as they are before they are read. After one that does not answer of no other: the kind
    /// has to wait for that one.
    pub(super) fn note_secrets(&self, settings: &KindSettings, learnt: &mut Learnt) {
        for path in settings.secret_files(&self.settings.folder) {
            if learnt.secrets.contains_key(&path) {
                continue;
            }
            let asked = path.clone();
            let stamp = self.ask(&path, &mut learnt.silent, move |_| Stamp::at(&asked));
            let is_silent = stamp.is_none();
            learnt.secrets.insert(path, Mark { stamp: stamp.flatten(), is_silent });
            if is_silent {
                return;
            }
        }
    }

    /// A secret; what is said of a failure names the place, never the content.
    pub(super) fn read_secret(&self, source: &SecretSource, silent: &mut Silent) -> Result<String, String> {
        let base = self.settings.folder.clone();
        let Some(file) = source.file() else { return source.read(&base) };
        let (path, asked) = (base.join(file), source.clone());
        let read = self.ask(&path, silent, move |_| asked.read(&base));
        read.unwrap_or_else(|| Err(format!("the file {file:?} {SILENT}")))
    }

    fn read_up_to(&self, most: u64, name: &str, before: &Metadata, silent: &mut Silent) -> Result<Vec<u8>, Rejection> {
        if !before.is_file() {
            return Err("this is not a regular file".to_owned().into());
        }
        if before.len() > most {
            return Err(format!("the file has {} bytes; {most} is the most", before.len()).into());
        }
        let (path, before) = (self.settings.folder.join(name), before.clone());
        let asked = path.clone();
        let read = self.ask(&path, silent, move |gets_on| read_whole(&asked, most, &before, gets_on));
        read.unwrap_or_else(|| Err(format!("the file {SILENT}").into()))
    }

    /// Makes a call that may never return to a file; nothing if it does not, now or earlier in this check.
    fn ask<T: Send + 'static>(
        &self,
        path: &Path,
        silent: &mut Silent,
        call: impl FnOnce(&dyn Fn()) -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.sandbox.folders().at(path);
        if silent.iter().any(|(known, _)| Arc::ptr_eq(known, &place)) {
            return None;
        }
        // Before it is asked: what returns meanwhile is not to be missed.
        let returned = place.returned();
        let answer = place.ask(LOOK_MAX, call);
        if answer.is_none() {
            silent.push((place, returned));
        }
        answer
    }
}

/// The content of a file, if it is as it was `before`. Says each time that some more of it has come.
fn read_whole(path: &Path, most: u64, before: &Metadata, gets_on: &dyn Fn()) -> Result<Vec<u8>, Rejection> {
    let unreadable = |error: io::Error| format!("the file cannot be read: {error}");
    // One byte more than allowed is enough to notice a file that has grown meanwhile.
    let mut file = File::open(path).map_err(unreadable)?.take(most + 1);
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    while file.by_ref().take(STEP_BYTES).read_to_end(&mut bytes).map_err(unreadable)? > 0 {
        gets_on();
    }
    // The next looks will find the newer content; this one must not be blamed on it.
    if is_unchanged(path, before) { Ok(bytes) } else { Err(Rejection::Changed) }
}

fn is_unchanged(path: &Path, before: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|now| Stamp::of(&now) == Stamp::of(before))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Fault: a large file is taken for one that does not answer, as only a large part of it counts as getting on.
    #[test]
    fn each_small_part_of_a_file_shows_that_it_gets_on() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (path, size) = (folder.path().join("file"), 1 << 20);
        fs::write(&path, vec![7; size]).expect("the folder can be written");
        let before = fs::metadata(&path).expect("it is there");
        let steps = Cell::new(0);
        let read = read_whole(&path, 1 << 20, &before, &|| steps.set(steps.get() + 1));
        assert_eq!(read.expect("it can be read").len(), size);
        assert!(steps.get() >= 16, "{} steps", steps.get());
    }
}
