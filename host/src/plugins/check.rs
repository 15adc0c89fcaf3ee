//! Takes one file through the checks of the plugin folder, without a host.

use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::checker::{Checker, Rejection, Silent};
use super::folder::kind_of;
use super::kept::{Kept, Version};
use super::look::{Found, Turn};
use super::{Plugin, Settings};
use crate::job::Kind;
use crate::sandbox::{Examination, Sandbox, examine};
use crate::store::Blobs;

/// What the checks say about a file.
pub struct Verdict {
    /// The kind it would serve, if the name allows one.
    pub kind: Option<Kind>,
    /// SHA-256, in hexadecimal, if it could be read.
    pub digest: Option<String>,
    /// Other files of its folder with the same bytes. Each would be a kind of its own, which may be meant.
    pub same_as: Vec<String>,
    /// What a look at it has found.
    pub examination: Examination,
    /// Whether its settings are wrong, and the file itself may be as good as any.
    pub blames_settings: bool,
    /// The plugin as it would serve, or the reason that would be listed.
    pub result: Result<Arc<Plugin>, String>,
}

/// Where a file is checked.
pub struct Bench {
    /// Compiles it, and can run it afterwards.
    pub sandbox: Arc<Sandbox>,
    /// Where guests write.
    pub blobs: Blobs,
    kept: Kept,
}

impl Bench {
    /// Makes every folder that is needed on the way, inside this one: no check makes another.
    pub fn new(sandbox: Arc<Sandbox>, folder: &Path) -> io::Result<Self> {
        Ok(Self { sandbox, blobs: Blobs::open(folder)?, kept: Kept::open(folder.join("kept"))? })
    }
}

/// The kind that a plugin folder would take the file for, or why it would take it for none.
pub fn kind_at(path: &Path) -> Result<Kind, String> {
    kind_of(&name_of(path))
}

/// Checks the file at `path` as a host with these settings would, as this kind or, with the reason, as none. Its settings are those of
/// the file `toml`, or those beside it. The folder of `settings` is not looked at.
pub fn check_at(
    bench: &Bench,
    path: &Path,
    kind: Result<Kind, String>,
    toml: Option<&Path>,
    settings: Settings,
) -> io::Result<Verdict> {
    let found = Found::at(path, &[], &|path| Turn::Now(fs::metadata(path)))?.ok_or(io::ErrorKind::NotFound)?;
    let checker = Checker {
        settings: Settings { folder: folder_of(path).to_owned(), ..settings },
        sandbox: Arc::clone(&bench.sandbox),
        blobs: bench.blobs.clone(),
        kept: bench.kept.clone(),
        toml: None,
    };
    let mut verdict = Verdict {
        kind: kind.clone().ok(),
        digest: None,
        same_as: Vec::new(),
        examination: Examination::default(),
        blames_settings: false,
        result: Err(String::new()),
    };
    let guarded = AssertUnwindSafe(|| take_through(checker, path, kind, &found, toml, &mut verdict));
    let result = panic::catch_unwind(guarded);
    verdict.result = result.unwrap_or_else(|_| Err("the host panicked while it checked this file".to_owned()));
    blame_settings(&mut verdict, toml);
    Ok(verdict)
}

/// Mistakes in settings are told of the file beside the plugin. The one that was named in its stead is meant.
fn blame_settings(verdict: &mut Verdict, toml: Option<&Path>) {
    let (Err(reason), Some(kind)) = (&mut verdict.result, &verdict.kind) else { return };
    let Some(mistake) = reason.strip_prefix(&format!("{kind}.toml: ")) else { return };
    verdict.blames_settings = true;
    if let Some(toml) = toml {
        *reason = format!("{}: {mistake}", toml.display());
    }
}

fn take_through(
    mut checker: Checker,
    path: &Path,
    kind: Result<Kind, String>,
    found: &Found,
    toml: Option<&Path>,
    verdict: &mut Verdict,
) -> Result<Arc<Plugin>, String> {
    let say = |rejection| match rejection {
        Rejection::NotUsable(reason) => reason,
        Rejection::Changed => "the file changed while it was read; check it again".to_owned(),
    };
    let name = name_of(path);
    let mut silent = Silent::new();
    let wasm = checker.read(&name, &found.wasm, &mut silent).map_err(say)?;
    let digest = hex::encode(Sha256::digest(&wasm));
    verdict.digest = Some(digest.clone());
    verdict.same_as = twins(&checker.settings.folder, &name, &wasm);
    verdict.examination = examine(&wasm);
    let kind = kind?;
    checker.toml = Some(toml.map_or_else(|| path.with_file_name(format!("{kind}.toml")), Path::to_owned));
    let toml = match toml {
        None => checker.read_toml(&format!("{kind}.toml"), found.toml.as_ref(), &mut silent).map_err(say)?,
        Some(path) => {
            let metadata = fs::metadata(path).map_err(|error| format!("{kind}.toml: {error}"))?;
            // Paths in it begin where it lies, as they do in a plugin folder.
            checker.settings.folder = folder_of(path).to_owned();
            let name = name_of(path);
            checker.read_toml(&name, Some(&metadata), &mut silent).map_err(say).map_err(|reason| {
                let mistake = reason.strip_prefix(&format!("{name}: ")).map(str::to_owned);
                format!("{kind}.toml: {}", mistake.unwrap_or(reason))
            })?
        }
    };
    checker.prepare(kind, &Version { wasm, toml }, &digest, &mut silent, &|_| ())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The other files of a folder that are the same. What cannot be read is not.
fn twins(folder: &Path, name: &str, wasm: &[u8]) -> Vec<String> {
    let is_twin = |entry: &fs::DirEntry| {
        let other = entry.file_name();
        other != name
            && other.to_str().is_some_and(|other| other.ends_with(".wasm") && !other.starts_with('.'))
            && fs::metadata(entry.path()).is_ok_and(|found| found.is_file() && found.len() == wasm.len() as u64)
            && fs::read(entry.path()).is_ok_and(|bytes| bytes == wasm)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().filter(is_twin);
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
