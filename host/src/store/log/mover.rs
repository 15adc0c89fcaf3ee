//! The thread that brings to the database what is durable already.

use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Surroundings;
use crate::store::StoreError;
use crate::store::keys::COMMIT_KEY;
use crate::store::space::ROOM_EVERY;
use crate::store::table::{Layer, Table};

/// So much goes to the database at a time. More gains nothing, and those who read from it wait meanwhile.
const PIECE_WRITES_MAX: usize = 256;
const PIECE_BYTES_MAX: usize = 256 << 10;
/// What sled writes for each write besides, as a rule: now and then a page anew.
const WRITE_BYTES: usize = 1_500;
/// Two of its segments.
const SEGMENTS_BYTES: usize = 1 << 20;

/// Whoever hands over has it. Dropped, it waits until the thread has ended.
#[derive(Debug)]
pub(super) struct Mover {
    /// Nothing once the thread is to end.
    wake: Option<SyncSender<()>>,
    moved: Receiver<Result<(), StoreError>>,
    /// Whether something was handed over that has not arrived.
    is_moving: bool,
    closing: Arc<AtomicBool>,
    waits_for_room: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mover {
    /// Brings the table's older layer to the database at this place: at once if there is one, and each time it is woken.
    pub(super) fn start(database: &Path, table: Table, around: Surroundings) -> Result<Self, StoreError> {
        let file = File::open(database.join("db"))?;
        let (has_older, closing) = (table.older().is_some(), Arc::clone(&around.closing));
        let (wake, woken) = sync_channel(1);
        let (tell, moved) = sync_channel(1);
        let waits_for_room = Arc::new(AtomicBool::new(false));
        let way = Way { table, file, around, waits_for_room: Arc::clone(&waits_for_room) };
        let run = move || {
            let ended = panic::catch_unwind(AssertUnwindSafe(|| way.run(&woken, &tell)));
            if ended.is_err() {
                way.around.failed.send_replace(Some("what brings records to the database panicked".to_owned()));
            }
        };
        let thread = Some(thread::Builder::new().name("mover".into()).spawn(run)?);
        let mut mover = Self { wake: Some(wake), moved, is_moving: false, closing, waits_for_room, thread };
        if has_older {
            mover.wake()?;
        }
        Ok(mover)
    }

    /// Whether what was handed over does not arrive for want of room, or has been given up for that because the store is being closed.
    pub(super) fn waits_for_room(&self) -> bool {
        self.waits_for_room.load(Ordering::Relaxed)
    }

    /// Says that the table has an older layer again.
    pub(super) fn wake(&mut self) -> Result<(), StoreError> {
        self.is_moving = true;
        self.wake.as_ref().and_then(|wake| wake.send(()).ok()).ok_or_else(ended)
    }

    /// Fails if what was handed over could not be brought to the database. That there is no room while the store is being closed is no failure:
    /// the next open goes on with it.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        match self.moved.try_recv() {
            Ok(result) => self.arrived(result),
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) if self.waits_for_room() => Ok(()),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    /// Waits for so long, or until everything has arrived that was handed over, and says whether it has.
    pub(super) fn wait_for(&mut self, most: Duration) -> Result<bool, StoreError> {
        if self.is_moving {
            match self.moved.recv_timeout(most) {
                Ok(result) => self.arrived(result)?,
                Err(RecvTimeoutError::Disconnected) if !self.waits_for_room() => return Err(ended()),
                Err(_) => {}
            }
        }
        Ok(!self.is_moving)
    }

    /// Waits until everything has arrived that was handed over.
    pub(super) fn wait(&mut self) -> Result<(), StoreError> {
        if !self.is_moving {
            return Ok(());
        }
        match self.moved.recv() {
            Ok(result) => self.arrived(result),
            Err(_) if self.waits_for_room() => Err(StoreError::DiskFull),
            Err(_) => Err(ended()),
        }
    }

    fn arrived(&mut self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        result?;
        self.is_moving = false;
        Ok(())
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.wake = None;
        // It was told to whom it concerns if that thread panicked.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn ended() -> StoreError {
    StoreError::Disk(std::io::Error::other("nothing is brought to the database any more"))
}

/// What there is at the thread's end.
struct Way {
    table: Table,
    /// The database's, to be synced.
    file: File,
    around: Surroundings,
    waits_for_room: Arc<AtomicBool>,
}

impl Way {
    fn run(&self, woken: &Receiver<()>, tell: &SyncSender<Result<(), StoreError>>) {
        while let Ok(()) = woken.recv() {
            let result = self.table.older().map_or(Ok(true), |older| self.bring(&older));
            let result = match result {
                Ok(true) => {
                    self.table.forget_older();
                    Ok(())
                }
                // Without an answer: nobody waits for it who would not take the end of this for one.
                Ok(false) => return,
                Err(error) => {
                    self.around.failed.send_replace(Some(error.to_string()));
                    Err(error)
                }
            };
            let has_failed = result.is_err();
            if tell.send(result).is_err() || has_failed {
                return;
            }
        }
    }

    /// Brings a layer to the database, piece by piece. The number of its newest commit comes last: as long as the database does not have that,
    /// the journal has all of it, and what is there already changes nothing. Answers whether it has arrived, or had to give up for want of room.
    fn bring(&self, layer: &Layer) -> Result<bool, StoreError> {
        let number = layer.get_key_value(COMMIT_KEY);
        let (mut piece, mut writes, mut bytes) = (sled::Batch::default(), 0, 0);
        for (key, value) in layer.iter().filter(|(key, _)| *key != COMMIT_KEY).chain(number) {
            if writes == PIECE_WRITES_MAX || bytes >= PIECE_BYTES_MAX {
                if !self.bring_piece(std::mem::take(&mut piece), writes, bytes)? {
                    return Ok(false);
                }
                (writes, bytes) = (0, 0);
            }
            match value {
                Some(value) => piece.insert(key, value),
                None => piece.remove(key),
            }
            writes += 1;
            bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        }
        self.bring_piece(piece, writes, bytes)
    }

    /// Brings so much there, all or nothing, and waits until a power cut could not take it back. sled cannot go on after a write that found no
    /// room, and trusts after a power cut what it wrote long before: so none is begun without room, and the next one only when this one is on disk.
    fn bring_piece(&self, piece: sled::Batch, writes: usize, bytes: usize) -> Result<bool, StoreError> {
        let needed = (bytes + writes * WRITE_BYTES + SEGMENTS_BYTES) as u64;
        while !(self.around.has_room)(needed) {
            if !self.waits_for_room.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "the disk has no room for the database to grow; what was recorded lately stays in the journal"
                );
            }
            if self.around.closing.load(Ordering::Relaxed) {
                return Ok(false);
            }
            thread::sleep(ROOM_EVERY);
        }
        self.waits_for_room.store(false, Ordering::Relaxed);
        self.table.write(piece)?;
        // sled 0.34 only asks the kernel to start writing; this waits until the device has it.
        self.file.sync_data()?;
        Ok(true)
    }
}
