//! Files as guests see them: the folders they were granted, and those of their attempt, `/in` and `/out`.
//!
//! The engine's own implementation does the work and keeps every path inside its folder. Here stands what it leaves open: the
//! files and streams a guest holds are counted, and what it writes to `/out` is held against a quota before it is written. `/out`
//! is the only folder that can be written. Calls there are answered on the worker's own thread, through the page cache, like
//! all other streams; calls to other folders may wait for a slow disk, or for one that is gone, and do so elsewhere.

mod descriptors;
mod granted;
mod opening;
mod out;
mod read;
mod roots;
mod write;

use std::any::Any;
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};

use rustix::fs::AtFlags;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{self, ErrorCode, HostDescriptor, PathFlags};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use self::granted::{Calls, Held, alone};
pub(super) use self::out::{Full, Out};
use self::out::{Refusal, key_of};
use self::read::{GrantedInput, Reading};
use self::roots::Root;
pub(super) use self::roots::open_folders;
use self::write::{Offset, OutStream};
use super::contract::Guest;
use super::meter::Meter;
use crate::running::Running;

/// Files and folders a guest may hold open at a time.
const OPEN_FILES_MAX: usize = 256;
/// Folders a guest may be listing at a time: each list is held in memory.
const LISTINGS_MAX: usize = 16;

/// The files a guest has open, and the folders it begins with. To be dropped after the guest's handles: see [`Held`].
pub(super) struct Open {
    files: Vec<Weak<dyn Any + Send + Sync>>,
    /// Those in granted folders, by their handles.
    granted: HashMap<u32, Arc<Held>>,
    listings: usize,
    calls: Calls,
    roots: Vec<Root>,
}

/// Answers all calls that concern files, in the place of the engine, which is linked already.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    preopens::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Open {
    /// Nothing but the folders that were granted and opened.
    fn new(calls: Calls, roots: Vec<Root>) -> Self {
        Self { files: Vec::new(), granted: HashMap::new(), listings: 0, calls, roots }
    }

    /// Nothing at all.
    pub(super) fn none(running: &Arc<Running>) -> Self {
        Self::new(Calls::new(running), Vec::new())
    }

    fn check(&mut self) -> FsResult<()> {
        if self.files.len() >= OPEN_FILES_MAX {
            self.files.retain(|file| file.strong_count() > 0);
        }
        // There is no word for too many open files.
        if self.files.len() < OPEN_FILES_MAX { Ok(()) } else { Err(ErrorCode::Quota.into()) }
    }

    fn granted(&self, descriptor: &Resource<Descriptor>) -> Option<Arc<Held>> {
        self.granted.get(&descriptor.rep()).cloned()
    }
}

impl Guest {
    /// What every call begins with.
    fn step(&self) -> FsResult<()> {
        if self.running.is_over() { Err(FsError::trap(wasmtime::format_err!("the attempt is over"))) } else { Ok(()) }
    }

    /// The same, and whether it is about `/out`.
    fn step_at(&self, descriptor: &Resource<Descriptor>) -> FsResult<bool> {
        self.step()?;
        Ok(self.out_file(descriptor)?.is_some())
    }

    /// Has the engine do something with a file or folder, where it may wait for it.
    async fn at<T: Send + 'static>(
        &mut self,
        descriptor: Resource<Descriptor>,
        call: impl FnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T> + Send + 'static,
    ) -> FsResult<T> {
        self.step()?;
        let Some(held) = self.open.granted(&descriptor) else { return call(&mut self.filesystem(), descriptor) };
        let descriptor = self.handles.get(&descriptor)?.clone();
        self.open.calls.make(&held.place, move || alone(descriptor, call)).await
    }

    /// The open file or folder, if it is in `/out`.
    fn out_file(&self, descriptor: &Resource<Descriptor>) -> FsResult<Option<Arc<File>>> {
        let (perms, file) = match self.handles.get(descriptor)? {
            Descriptor::File(file) => (file.perms, &file.file),
            Descriptor::Dir(folder) => (folder.perms, &folder.dir),
        };
        Ok((perms == FsPerms::ReadWrite).then(|| Arc::clone(file)))
    }

    fn out(&self) -> FsResult<&Out> {
        self.out.as_ref().ok_or_else(|| ErrorCode::NotPermitted.into())
    }

    /// What identifies the file of this name in a folder of `/out`, if there is one.
    async fn key_at(&mut self, folder: &Resource<Descriptor>, path: &str) -> FsResult<Option<u64>> {
        let Some(open) = self.out_file(folder)? else { return Ok(None) };
        // The engine says first that the path stays inside; there are no links that could lead elsewhere.
        if self.filesystem().stat_at(borrow(folder), PathFlags::empty(), path.to_owned()).await.is_err() {
            return Ok(None);
        }
        Ok(rustix::fs::statat(&open, path, AtFlags::SYMLINK_NOFOLLOW).ok().map(|found| found.st_ino))
    }

    /// A stream into a file of `/out`.
    fn out_stream(
        &mut self,
        descriptor: &Resource<Descriptor>,
        file: Arc<File>,
        offset: Offset,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.check_streams()?;
        if matches!(self.handles.get(descriptor)?, Descriptor::Dir(_)) {
            return Err(ErrorCode::IsDirectory.into());
        }
        let stream = OutStream {
            key: key_of(&file)?,
            file,
            offset,
            out: self.out()?.clone(),
            meter: Arc::clone(&self.meter),
            running: Arc::clone(&self.running),
            _open: Arc::clone(&self.open_streams),
        };
        let stream: DynOutputStream = Box::new(stream);
        Ok(self.handles.push(stream)?)
    }

    /// A stream out of a file of a granted folder.
    fn granted_stream(
        &mut self,
        descriptor: &Resource<Descriptor>,
        held: Arc<Held>,
        position: u64,
    ) -> FsResult<Resource<DynInputStream>> {
        if matches!(self.handles.get(descriptor)?, Descriptor::Dir(_)) {
            return Err(ErrorCode::IsDirectory.into());
        }
        let stream: DynInputStream = Box::new(GrantedInput {
            held,
            calls: self.open.calls.clone(),
            position,
            state: Reading::Idle,
            running: Arc::clone(&self.running),
            _open: Arc::clone(&self.open_streams),
        });
        Ok(self.handles.push(stream)?)
    }

    fn check_streams(&self) -> FsResult<()> {
        if self.has_too_many_streams() { Err(ErrorCode::Quota.into()) } else { Ok(()) }
    }
}

/// A second handle on the same resource.
fn borrow(descriptor: &Resource<Descriptor>) -> Resource<Descriptor> {
    Resource::new_borrow(descriptor.rep())
}

/// What the guest is told of a write that failed. If it was the host's disk that failed, it is told nothing any more: whatever it did
/// next, the attempt could not count as a success.
fn failed(meter: &Meter, error: std::io::Error) -> FsError {
    if write::is_disk_error(meter, &error) { FsError::trap(error) } else { error.into() }
}

/// The same of what may not be written at all.
fn stopped(meter: &Meter, refusal: Refusal) -> FsError {
    match refusal {
        Refusal::Full(full) => FsError::trap(full),
        Refusal::NoRoom(error) => failed(meter, error),
    }
}

impl types::Host for Guest {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.filesystem().filesystem_error_code(error)
    }
}

impl preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let roots: Vec<_> = self.open.roots.iter().map(|root| (root.dir.clone(), Arc::clone(&root.held))).collect();
        let mut folders = Vec::with_capacity(roots.len() + 1);
        for (dir, held) in roots {
            let guest = held.place.guest.to_string();
            let descriptor = self.handles.push(Descriptor::Dir(dir))?;
            self.open.granted.insert(descriptor.rep(), held);
            folders.push((descriptor, guest));
        }
        folders.extend(preopens::Host::get_directories(&mut self.filesystem())?);
        Ok(folders)
    }
}
