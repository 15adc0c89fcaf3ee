//! The files of a data folder, checked: those that records name, and those that none does.

use std::fs;

use super::Check;
use crate::store::StoreError;
use crate::store::blobs;
use crate::store::stored::Stored;

/// Read at a time while a blob is hashed.
const CHUNK_BYTES: usize = 1 << 20;

impl Check<'_> {
    /// Checks the file of a blob that a record names.
    pub(super) fn blob(&mut self, stored: &Stored) -> Result<(), StoreError> {
        let sha256 = stored.blob().ok_or_else(|| StoreError::damaged("a blob has no address"))?;
        // Many jobs may share a blob; hashing it once is enough.
        if !self.hashed.insert(sha256) {
            return Ok(());
        }
        let name = hex::encode(sha256);
        let damaged = |what: String| StoreError::damaged(format!("blob {name}: {what}"));
        let path = self.path.join("blobs").join(&name);
        let opened = blobs::open_file(&path, stored.size, sha256);
        let mut reader = opened.map_err(|error| damaged(error.to_string()))?;
        // Read to its end it is whole; see there.
        while !reader.next_chunk(CHUNK_BYTES).map_err(|error| StoreError::damaged(error.to_string()))?.is_empty() {}
        self.verdict.blobs += 1;
        Ok(())
    }

    /// Counts the files that no record names. All records must have been checked.
    pub(super) fn files(&mut self) -> Result<(), StoreError> {
        for entry in fs::read_dir(self.path.join("blobs"))? {
            let name = entry?.file_name();
            let mut sha256 = [0; 32];
            match hex::decode_to_slice(name.as_encoded_bytes(), &mut sha256) {
                Ok(()) if self.hashed.contains(&sha256) => {}
                Ok(()) => self.verdict.unnamed_blobs += 1,
                Err(_) => self.problem(format!("blobs/{} is not ours", name.to_string_lossy())),
            }
        }
        Ok(())
    }
}
