//! The folders that an attempt begins with: those that were granted, and its own `/in`.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

use super::Open;
use super::granted::{Calls, Held, Place};
use crate::running::Running;
use crate::sandbox::folders::Folders;
use crate::sandbox::grants::Grants;
use crate::store::Scratch;

/// An open folder that a guest begins with.
pub(super) struct Root {
    pub(super) dir: Dir,
    pub(super) held: Arc<Held>,
}

/// Opens them. Any of them may take for ever. Fails with a sentence.
pub(in crate::sandbox) async fn open_folders(
    folders: &Folders,
    grants: &Grants,
    scratch: Option<&(Arc<Scratch>, u64)>,
    running: &Arc<Running>,
) -> Result<Open, String> {
    let calls = Calls::new(running);
    let mut roots = Vec::with_capacity(grants.folders.len() + 1);
    for grant in &grants.folders {
        let place = Place { folder: folders.at(&grant.host), guest: grant.guest.as_str().into() };
        roots.push(open_at(&calls, place, grant.host.clone()).await?);
    }
    if let Some((scratch, _)) = scratch {
        let place = Place { folder: Arc::clone(folders.input()), guest: "/in".into() };
        roots.push(open_at(&calls, place, scratch.input().to_owned()).await?);
    }
    Ok(Open::new(calls, roots))
}

async fn open_at(calls: &Calls, place: Place, path: PathBuf) -> Result<Root, String> {
    let guest = Arc::clone(&place.guest);
    let opened = calls.make(&place.clone(), move || place.open(&path)).await;
    opened.map_err(|error| format!("the host could not open the folder it grants as {guest}: {error}"))
}

impl Place {
    /// Opens a folder that it is to begin with. Blocks.
    fn open(self, path: &Path) -> std::io::Result<Root> {
        // As the engine does it: for what lies below, and not to read it.
        let flags = (OFlags::DIRECTORY | OFlags::PATH).bits();
        let mut options = File::options();
        let file = options.read(true).custom_flags(flags.cast_signed()).open(path)?;
        let dir = Dir::new(file, FsPerms::ReadOnly, OpenMode::READ, true);
        let held = Arc::new(Held::of(&dir.dir, self));
        Ok(Root { dir, held })
    }
}
