//! Files as guests see them: the folders they were granted, and those of their attempt, `/in` and `/out`.
//!
//! The engine's own implementation does the work and keeps every path inside its folder. Here stands what it leaves open: the
//! files and streams a guest holds are counted, and what it writes to `/out` is held against a quota before it is written. `/out`
//! is the only folder that can be written. Calls there are answered on the worker's own thread, through the page cache, like
//! all other streams; calls to other folders may wait for a slow disk, and do so elsewhere.

mod out;
mod stream;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use rustix::fs::AtFlags;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

pub(super) use self::out::{Full, Out};
use self::out::{Refusal, key_of};
use self::stream::{CountedInput, OutStream, Place};
use super::contract::Guest;
use super::meter::Meter;
use crate::job::shorten;

/// Files and folders a guest may hold open at a time.
const OPEN_FILES_MAX: usize = 256;
/// Folders a guest may be listing at a time: each list is held in memory.
const LISTINGS_MAX: usize = 16;

/// The files a guest has open.
#[derive(Default)]
pub(super) struct Open {
    files: Vec<Weak<File>>,
    listings: usize,
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
    fn check(&mut self) -> FsResult<()> {
        if self.files.len() >= OPEN_FILES_MAX {
            self.files.retain(|file| file.strong_count() > 0);
        }
        // There is no word for too many open files.
        if self.files.len() < OPEN_FILES_MAX { Ok(()) } else { Err(ErrorCode::Quota.into()) }
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

    /// Takes note of a file or folder that was opened.
    fn note_opened(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<()> {
        let (file, is_file) = match self.handles.get(descriptor)? {
            Descriptor::File(file) => (&file.file, true),
            Descriptor::Dir(folder) => (&folder.dir, false),
        };
        self.open.files.push(Arc::downgrade(file));
        if let Some(file) = self.out_file(descriptor)?.filter(|_| is_file) {
            let metadata = file.metadata().map_err(|error| failed(&self.meter, error))?;
            self.out()?.opened(key_of(&file)?, metadata.len(), &file);
        }
        Ok(())
    }

    /// Refuses what is neither a file nor a folder. To open a pipe is to wait until somebody writes to it, on a thread that nothing can
    /// stop, and to open a device may do anything. What cannot be looked at is left to the engine, which says why.
    async fn check_openable(&mut self, folder: &Resource<Descriptor>, flags: PathFlags, path: &str) -> FsResult<()> {
        let Ok(found) = self.filesystem().stat_at(borrow(folder), flags, path.to_owned()).await else { return Ok(()) };
        if matches!(found.type_, DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink)
        {
            return Ok(());
        }
        let path = shorten(path.to_owned(), 100);
        self.denials.refuse(&format!("opening {path:?} in a granted folder: it is neither a file nor a folder"));
        Err(ErrorCode::NotPermitted.into())
    }

    /// A stream into a file of `/out`.
    fn out_stream(
        &mut self,
        descriptor: &Resource<Descriptor>,
        file: Arc<File>,
        place: Place,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.check_streams()?;
        if matches!(self.handles.get(descriptor)?, Descriptor::Dir(_)) {
            return Err(ErrorCode::IsDirectory.into());
        }
        let stream = OutStream {
            key: key_of(&file)?,
            file,
            place,
            out: self.out()?.clone(),
            meter: Arc::clone(&self.meter),
            running: Arc::clone(&self.running),
            _open: Arc::clone(&self.open_streams),
        };
        let stream: DynOutputStream = Box::new(stream);
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
    if stream::is_disk_error(meter, &error) { FsError::trap(error) } else { error.into() }
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
        let mut folders = preopens::Host::get_directories(&mut self.filesystem())?;
        if let Some(out) = &mut self.out {
            let mut view = WasiFilesystemCtxView { ctx: &mut out.context, table: &mut self.handles };
            folders.extend(preopens::Host::get_directories(&mut view)?);
        }
        Ok(folders)
    }
}

impl HostDescriptor for Guest {
    async fn open_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let is_out = self.step_at(&folder)?;
        self.open.check()?;
        if !is_out {
            self.check_openable(&folder, path_flags, &path).await?;
            let opened = self.filesystem().open_at(folder, path_flags, path, open_flags, flags).await?;
            self.note_opened(&opened)?;
            return Ok(opened);
        }
        if open_flags.contains(OpenFlags::CREATE) && self.key_at(&folder, &path).await?.is_none() {
            self.out()?.check_one_more().map_err(|error| stopped(&self.meter, error))?;
        }
        let out = self.out.as_mut().ok_or(ErrorCode::NotPermitted)?;
        let mut view = WasiFilesystemCtxView { ctx: &mut out.context, table: &mut self.handles };
        let opened = view.open_at(folder, path_flags, path, open_flags, flags).await?;
        self.note_opened(&opened)?;
        Ok(opened)
    }

    async fn write(&mut self, file: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.step()?;
        let Some(open) = self.out_file(&file)? else {
            return self.filesystem().write(file, bytes, offset).await;
        };
        let key = key_of(&open)?;
        let out = self.out()?;
        let end = offset.saturating_add(bytes.len() as u64);
        out.check_write(key, end, bytes.len() as u64).map_err(|error| stopped(&self.meter, error))?;
        let written = open.write_at(&bytes, offset);
        out.is_now(key, &open);
        Ok(written.map_err(|error| failed(&self.meter, error))? as u64)
    }

    fn write_via_stream(
        &mut self,
        file: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        match self.out_file(&file)? {
            Some(open) => self.out_stream(&file, open, Place::At(offset)),
            None => self.filesystem().write_via_stream(file, offset),
        }
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        match self.out_file(&file)? {
            Some(open) => self.out_stream(&file, open, Place::End),
            None => self.filesystem().append_via_stream(file),
        }
    }

    async fn set_size(&mut self, file: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.step()?;
        let Some(open) = self.out_file(&file)? else {
            return self.filesystem().set_size(file, size).await;
        };
        let key = key_of(&open)?;
        self.out()?.check_write(key, size, 0).map_err(|error| stopped(&self.meter, error))?;
        let done = self.filesystem().set_size(file, size).await;
        self.out()?.is_now(key, &open);
        done
    }

    async fn create_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        if self.step_at(&folder)? {
            self.out()?.check_one_more_folder().map_err(|error| stopped(&self.meter, error))?;
            self.filesystem().create_directory_at(folder, path).await?;
            self.out()?.folder_made();
            return Ok(());
        }
        self.filesystem().create_directory_at(folder, path).await
    }

    async fn remove_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        let is_out = self.step_at(&folder)?;
        self.filesystem().remove_directory_at(folder, path).await?;
        if is_out {
            self.out()?.folder_gone();
        }
        Ok(())
    }

    async fn unlink_file_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.step()?;
        let key = self.key_at(&folder, &path).await?;
        self.filesystem().unlink_file_at(folder, path).await?;
        if let Some(key) = key {
            self.out()?.has_no_name(key);
        }
        Ok(())
    }

    async fn rename_at(
        &mut self,
        old_folder: Resource<Descriptor>,
        old_path: String,
        new_folder: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        if !self.step_at(&old_folder)? {
            return self.filesystem().rename_at(old_folder, old_path, new_folder, new_path).await;
        }
        let moved = self.key_at(&old_folder, &old_path).await?;
        let replaced = self.key_at(&new_folder, &new_path).await?;
        self.filesystem().rename_at(old_folder, old_path, new_folder, new_path).await?;
        if let Some(replaced) = replaced.filter(|replaced| Some(*replaced) != moved) {
            self.out()?.was_replaced(replaced);
        }
        Ok(())
    }

    /// There are no links in `/out`, so none can lead out of it, and each file is counted once.
    async fn symlink_at(&mut self, folder: Resource<Descriptor>, _old_path: String, _new_path: String) -> FsResult<()> {
        self.step_at(&folder)?;
        Err(ErrorCode::NotPermitted.into())
    }

    async fn link_at(
        &mut self,
        folder: Resource<Descriptor>,
        _old_path_flags: PathFlags,
        _old_path: String,
        _new_folder: Resource<Descriptor>,
        _new_path: String,
    ) -> FsResult<()> {
        self.step_at(&folder)?;
        Err(ErrorCode::NotPermitted.into())
    }

    /// What is in `/out` need not survive anything before the attempt has ended, and the thread must not wait for the device.
    async fn sync(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        if self.step_at(&file)? { Ok(()) } else { self.filesystem().sync(file).await }
    }

    async fn sync_data(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        if self.step_at(&file)? { Ok(()) } else { self.filesystem().sync_data(file).await }
    }

    fn read_via_stream(&mut self, file: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.check_streams()?;
        let stream = self.filesystem().read_via_stream(file, offset)?;
        let inner = self.handles.delete(stream)?;
        let counted: DynInputStream =
            Box::new(CountedInput { inner, running: Arc::clone(&self.running), _open: Arc::clone(&self.open_streams) });
        Ok(self.handles.push(counted)?)
    }

    async fn read_directory(&mut self, folder: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        self.step()?;
        if self.open.listings >= LISTINGS_MAX {
            return Err(ErrorCode::Quota.into());
        }
        let listing = self.filesystem().read_directory(folder).await?;
        self.open.listings += 1;
        Ok(listing)
    }

    async fn read(
        &mut self,
        file: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.step()?;
        self.filesystem().read(file, length, offset).await
    }

    async fn advise(
        &mut self,
        file: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.step()?;
        self.filesystem().advise(file, offset, length, advice).await
    }

    async fn get_flags(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.step()?;
        self.filesystem().get_flags(file).await
    }

    async fn get_type(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.step()?;
        self.filesystem().get_type(file).await
    }

    async fn set_times(
        &mut self,
        file: Resource<Descriptor>,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        self.step()?;
        self.filesystem().set_times(file, read, written).await
    }

    async fn set_times_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        self.step()?;
        self.filesystem().set_times_at(folder, path_flags, path, read, written).await
    }

    async fn stat(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.step()?;
        self.filesystem().stat(file).await
    }

    async fn stat_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.step()?;
        self.filesystem().stat_at(folder, path_flags, path).await
    }

    async fn readlink_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.step()?;
        self.filesystem().readlink_at(folder, path).await
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        self.filesystem().is_same_object(one, other).await
    }

    async fn metadata_hash(&mut self, file: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.step()?;
        self.filesystem().metadata_hash(file).await
    }

    async fn metadata_hash_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.step()?;
        self.filesystem().metadata_hash_at(folder, path_flags, path).await
    }

    fn drop(&mut self, file: Resource<Descriptor>) -> wasmtime::Result<()> {
        HostDescriptor::drop(&mut self.filesystem(), file)
    }
}

impl HostDirectoryEntryStream for Guest {
    async fn read_directory_entry(
        &mut self,
        listing: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.step()?;
        self.filesystem().read_directory_entry(listing).await
    }

    fn drop(&mut self, listing: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        HostDirectoryEntryStream::drop(&mut self.filesystem(), listing)?;
        self.open.listings = self.open.listings.saturating_sub(1);
        Ok(())
    }
}
