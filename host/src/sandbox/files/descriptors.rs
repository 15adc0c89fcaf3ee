//! The calls on open files and folders.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode, Filesize,
    HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::granted::{alone, at_once};
use super::out::key_of;
use super::read::CountedInput;
use super::write::Offset;
use super::{LISTINGS_MAX, failed, stopped};
use crate::sandbox::contract::Guest;

impl HostDescriptor for Guest {
    async fn open_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        self.open_file_at(folder, (path_flags, path, open_flags, flags)).await
    }

    async fn write(&mut self, file: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.step()?;
        let Some(open) = self.out_file(&file)? else {
            return self.at(file, move |files, file| at_once(files.write(file, bytes, offset))).await;
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
            Some(open) => self.out_stream(&file, open, Offset::At(offset)),
            None => self.filesystem().write_via_stream(file, offset),
        }
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        match self.out_file(&file)? {
            Some(open) => self.out_stream(&file, open, Offset::End),
            None => self.filesystem().append_via_stream(file),
        }
    }

    async fn set_size(&mut self, file: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.step()?;
        let Some(open) = self.out_file(&file)? else {
            return self.at(file, move |files, file| at_once(files.set_size(file, size))).await;
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
        self.at(folder, move |files, folder| at_once(files.create_directory_at(folder, path))).await
    }

    async fn remove_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        let is_out = self.step_at(&folder)?;
        self.at(folder, move |files, folder| at_once(files.remove_directory_at(folder, path))).await?;
        if is_out {
            self.out()?.folder_gone();
        }
        Ok(())
    }

    async fn unlink_file_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.step()?;
        let key = self.key_at(&folder, &path).await?;
        self.at(folder, move |files, folder| at_once(files.unlink_file_at(folder, path))).await?;
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
        if self.step_at(&file)? { Ok(()) } else { self.at(file, |files, file| at_once(files.sync(file))).await }
    }

    async fn sync_data(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        if self.step_at(&file)? { Ok(()) } else { self.at(file, |files, file| at_once(files.sync_data(file))).await }
    }

    fn read_via_stream(&mut self, file: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.check_streams()?;
        if let Some(held) = self.open.granted(&file) {
            return self.granted_stream(&file, held, offset);
        }
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
        let list = |files: &mut WasiFilesystemCtxView<'_>, folder| {
            let listing = at_once(files.read_directory(folder))?;
            Ok(files.table.delete(listing)?)
        };
        let listing = self.at(folder, list).await?;
        self.open.listings += 1;
        Ok(self.handles.push(listing)?)
    }

    async fn read(
        &mut self,
        file: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.at(file, move |files, file| at_once(files.read(file, length, offset))).await
    }

    async fn advise(
        &mut self,
        file: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.at(file, move |files, file| at_once(files.advise(file, offset, length, advice))).await
    }

    async fn get_flags(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.at(file, |files, file| at_once(files.get_flags(file))).await
    }

    async fn get_type(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.at(file, |files, file| at_once(files.get_type(file))).await
    }

    async fn set_times(
        &mut self,
        file: Resource<Descriptor>,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        self.at(file, move |files, file| at_once(files.set_times(file, read, written))).await
    }

    async fn set_times_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        self.at(folder, move |files, folder| at_once(files.set_times_at(folder, path_flags, path, read, written))).await
    }

    async fn stat(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.at(file, |files, file| at_once(files.stat(file))).await
    }

    async fn stat_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.at(folder, move |files, folder| at_once(files.stat_at(folder, path_flags, path))).await
    }

    async fn readlink_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.at(folder, move |files, folder| at_once(files.readlink_at(folder, path))).await
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let Some(held) = self.open.granted(&one).or_else(|| self.open.granted(&other)) else {
            return self.filesystem().is_same_object(one, other).await;
        };
        let (one, other) = (self.handles.get(&one)?.clone(), self.handles.get(&other)?.clone());
        let compare = move |files: &mut WasiFilesystemCtxView<'_>, one| {
            let other = files.table.push(other)?;
            at_once(async { files.is_same_object(one, other).await.map_err(FsError::trap) })
        };
        let compared = self.open.calls.make(&held.place, move || alone(one, compare)).await;
        compared.map_err(|error| error.downcast().map_or_else(|trap| trap, wasmtime::Error::from))
    }

    async fn metadata_hash(&mut self, file: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.at(file, |files, file| at_once(files.metadata_hash(file))).await
    }

    async fn metadata_hash_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.at(folder, move |files, folder| at_once(files.metadata_hash_at(folder, path_flags, path))).await
    }

    fn drop(&mut self, file: Resource<Descriptor>) -> wasmtime::Result<()> {
        let number = file.rep();
        HostDescriptor::drop(&mut self.filesystem(), file)?;
        // After the handle, so that this is the last owner.
        self.open.granted.remove(&number);
        Ok(())
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
