//! How files and folders are opened: those of granted folders elsewhere, those of `/out` within its quota.

use std::fs::File;
use std::sync::{Arc, Weak};

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::granted::{Held, alone, at_once};
use super::out::key_of;
use super::{borrow, failed, stopped};
use crate::job::shorten;
use crate::sandbox::contract::Guest;

/// How a file is to be opened: flags of its path, the path, and flags of the file.
pub(super) type How = (PathFlags, String, OpenFlags, DescriptorFlags);

impl Guest {
    /// Opens what a guest asks for.
    pub(super) async fn open_file_at(
        &mut self,
        folder: Resource<Descriptor>,
        (path_flags, path, open_flags, flags): How,
    ) -> FsResult<Resource<Descriptor>> {
        let is_out = self.step_at(&folder)?;
        self.open.check()?;
        if let Some(held) = self.open.granted(&folder) {
            return self.open_granted(folder, held, (path_flags, path, open_flags, flags)).await;
        }
        if is_out && open_flags.contains(OpenFlags::CREATE) && self.key_at(&folder, &path).await?.is_none() {
            self.out()?.check_one_more().map_err(|error| stopped(&self.meter, error))?;
        }
        let opened = self.filesystem().open_at(folder, path_flags, path, open_flags, flags).await?;
        self.note_opened(&opened)?;
        Ok(opened)
    }

    async fn open_granted(
        &mut self,
        folder: Resource<Descriptor>,
        held: Arc<Held>,
        (path_flags, path, open_flags, flags): How,
    ) -> FsResult<Resource<Descriptor>> {
        let (place, shown) = (held.place.clone(), path.clone());
        place.folder.until_few_unclosed().await;
        let open = move |files: &mut WasiFilesystemCtxView<'_>, folder: Resource<Descriptor>| {
            let found = at_once(files.stat_at(borrow(&folder), path_flags, path.clone()));
            // What cannot be looked at is left to the engine, which says why.
            if found.is_ok_and(|found| !is_openable(found.type_)) {
                return Ok(None);
            }
            let opened = at_once(files.open_at(folder, path_flags, path, open_flags, flags))?;
            let opened = files.table.delete(opened)?;
            let held = Arc::new(Held::new(&opened, held.place.clone()));
            Ok(Some((opened, held)))
        };
        let descriptor = self.handles.get(&folder)?.clone();
        match self.open.calls.make(&place, move || alone(descriptor, open)).await? {
            Some((opened, held)) => self.hand_out(opened, held),
            None => Err(self.not_openable(shown)),
        }
    }

    /// Takes note of a file or folder of `/out` that was opened.
    fn note_opened(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<()> {
        let (file, is_file) = match self.handles.get(descriptor)? {
            Descriptor::File(file) => (Arc::clone(&file.file), true),
            Descriptor::Dir(folder) => (Arc::clone(&folder.dir), false),
        };
        let weak: Weak<File> = Arc::downgrade(&file);
        self.open.files.push(weak);
        if is_file {
            let metadata = file.metadata().map_err(|error| failed(&self.meter, error))?;
            self.out()?.opened(key_of(&file)?, metadata.len(), &file);
        }
        Ok(())
    }

    /// Hands the guest a file or folder in a granted folder.
    fn hand_out(&mut self, descriptor: Descriptor, held: Arc<Held>) -> FsResult<Resource<Descriptor>> {
        let descriptor = self.handles.push(descriptor)?;
        let weak: Weak<Held> = Arc::downgrade(&held);
        self.open.files.push(weak);
        self.open.granted.insert(descriptor.rep(), held);
        Ok(descriptor)
    }

    /// Says that what is neither a file nor a folder was not opened.
    fn not_openable(&self, path: String) -> FsError {
        let path = shorten(path, 100);
        self.denials.refuse(&format!("opening {path:?} in a granted folder: it is neither a file nor a folder"));
        ErrorCode::NotPermitted.into()
    }
}

/// Refuses what is neither a file nor a folder. To open a pipe is to wait until somebody writes to it, and to open a device may do
/// anything.
fn is_openable(found: DescriptorType) -> bool {
    matches!(found, DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink)
}
