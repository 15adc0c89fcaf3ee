//! Opening the database itself: what the disk has of it, whatever sled makes of that.

use std::fs::File;
use std::io;
use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use crate::store::StoreError;

/// How long sled may take to let go of a database that this process has just closed.
const STILL_CLOSING_MAX: Duration = Duration::from_secs(10);
/// Memory sled may use for pages it could read again.
const CACHE_BYTES: u64 = 64 << 20;

/// Has a database that nobody has open be on the disk, and be read from there. What is found in it counts as brought, and the journal is let
/// go for it; but what a process that died had written may be with the kernel alone, and where a sync has failed it never leaves that.
pub(in crate::store) fn read_from_disk(database: &Path) -> io::Result<()> {
    match File::open(database.join("db")) {
        Ok(file) => {
            file.sync_data()?;
            // Where the file system knows no such thing it goes on as before.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a database by itself.
pub(in crate::store) fn open_sled(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let end = Instant::now() + STILL_CLOSING_MAX;
    // sled 0.34 panics on some kinds of damage; for us that is one more way of saying that it cannot be opened.
    match panic::catch_unwind(AssertUnwindSafe(|| open_when_closed(&config, end))) {
        Ok(Ok(db)) => Ok(db),
        // Of these nothing is damaged; others sled may well call the same for what it has found.
        Ok(Err(sled::Error::Io(error)))
            if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied) =>
        {
            Err(StoreError::Disk(io::Error::new(error.kind(), format!("{}: {error}", path.display()))))
        }
        Ok(Err(error)) => Err(StoreError::damaged(format!("{} cannot be opened: {error}", path.display()))),
        Err(_) => Err(StoreError::damaged(format!("{} cannot be opened: sled panicked", path.display()))),
    }
}

/// sled's threads may hold a database for a moment after it was dropped. Our own lock says that no other process has it.
fn open_when_closed(config: &sled::Config, end: Instant) -> sled::Result<sled::Db> {
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") && Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}
