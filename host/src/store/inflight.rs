//! Which jobs are inside a guest at this instant, in a form that survives the death of the process.
//!
//! A small memory-mapped file with a slot per claimed job: the kernel keeps what was last written to it, so a mark costs one
//! store to memory and no system call. After a process death the marked jobs are suspects; see `recover.rs`. After a
//! reboot, which the boot id in the head tells, the marks mean nothing: the machine died, not a guest.
#![allow(
    unsafe_code,
    reason = "mapping a file is unsafe: someone else could shorten it. The folder is locked and ours"
)]

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapRaw;

use crate::job::JobId;

/// Magic, the open's number, the boot id's digest.
const HEAD_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"inflight";
/// Id, mark, suspicion, and room to stay aligned.
const SLOT_BYTES: usize = 32;
const MARK_AT: usize = 16;
const SUSPECT_AT: usize = 17;

/// What the process before us left in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Which open of the store it was.
    pub(super) opens: u64,
    /// Whether the machine has been up since.
    pub(super) same_boot: bool,
    /// Jobs that were inside a guest, and whether each was being run under suspicion.
    pub(super) marked: Vec<(JobId, bool)>,
    /// Jobs that were claimed, those marked among them.
    pub(super) started: Vec<JobId>,
}

/// The file.
#[derive(Debug)]
pub(super) struct InFlight {
    map: MmapRaw,
    /// The one that is free for the longest goes first: what stands in it, the job that had it, is to be overwritten as late as can be, as
    /// its end may still be on its way to the disk.
    free: Mutex<VecDeque<usize>>,
}

/// A claimed job's slot. Dropped, the slot is free again.
#[derive(Debug)]
pub struct Mark(Option<(Arc<InFlight>, usize)>);

impl InFlight {
    /// Opens the file and reads what was left in it. Nothing is changed before [`InFlight::begin`].
    pub(super) fn open(path: &Path, slots: usize) -> io::Result<(Self, Left)> {
        let left = read_left(&fs::read(path).unwrap_or_default());
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let bytes = HEAD_BYTES + slots * SLOT_BYTES;
        if file.metadata()?.len() < bytes as u64 {
            file.set_len(bytes as u64)?;
        }
        let map = MmapRaw::map_raw(&file)?;
        Ok((Self { map, free: Mutex::new((0..slots).collect()) }, left))
    }

    /// Clears all slots and puts this open's name at the head.
    pub(super) fn begin(&self, opens: u64) {
        for at in 0..self.map.len() {
            self.byte(at).store(0, Ordering::Relaxed);
        }
        let head = MAGIC.iter().copied().chain(opens.to_le_bytes()).chain(boot_id());
        for (at, byte) in head.take(HEAD_BYTES).enumerate() {
            self.byte(at).store(byte, Ordering::Relaxed);
        }
    }

    /// A slot for a claimed job. With no slot free the job runs unmarked, and is never suspected.
    pub(super) fn slot(self: &Arc<Self>, id: JobId, suspect: bool) -> Mark {
        let slot = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(slot) = slot {
            for (at, byte) in id.as_bytes().iter().enumerate() {
                self.at(slot, at).store(*byte, Ordering::Relaxed);
            }
            self.at(slot, SUSPECT_AT).store(u8::from(suspect), Ordering::Relaxed);
        }
        Mark(slot.map(|slot| (Arc::clone(self), slot)))
    }

    fn at(&self, slot: usize, offset: usize) -> &AtomicU8 {
        self.byte(HEAD_BYTES + slot * SLOT_BYTES + offset)
    }

    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < self.map.len(), "slots are handed out within the file");
        // SAFETY: the byte lies within the mapping, which lives as long as `self`; it is only ever accessed as an
        // atomic, and an AtomicU8 has the layout of a byte.
        unsafe { AtomicU8::from_ptr(self.map.as_mut_ptr().add(at)) }
    }
}

impl Mark {
    /// A mark that marks nothing, for guests that are no jobs.
    pub fn none() -> Self {
        Self(None)
    }

    /// Says that the guest is about to run, or has just given the thread back.
    pub fn set(&self, inside: bool) {
        if let Some((file, slot)) = &self.0 {
            file.at(*slot, MARK_AT).store(u8::from(inside), Ordering::SeqCst);
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.set(false);
        if let Some((file, slot)) = self.0.take() {
            file.free.lock().unwrap_or_else(PoisonError::into_inner).push_back(slot);
        }
    }
}

fn read_left(bytes: &[u8]) -> Left {
    let Some((head, slots)) = bytes.split_at_checked(HEAD_BYTES).filter(|(head, _)| head.starts_with(MAGIC)) else {
        return Left::default();
    };
    let opens = head[8..16].try_into().map(u64::from_le_bytes).unwrap_or(0);
    let slots = slots.chunks_exact(SLOT_BYTES).filter_map(|slot| Some((JobId::from_slice(&slot[..16]).ok()?, slot)));
    // The name stays when a slot becomes free: whoever had it was started as well.
    let started = slots.clone().map(|(id, _)| id).filter(|id| !id.is_nil());
    let marked = slots.clone().filter(|(_, slot)| slot[MARK_AT] != 0).map(|(id, slot)| (id, slot[SUSPECT_AT] != 0));
    let same_boot = head[16..].starts_with(&boot_id());
    Left { opens, same_boot, marked: marked.collect(), started: started.collect() }
}

/// What tells one start of the machine from the next, cut to fit. Where there is none, every start is the same.
fn boot_id() -> [u8; 36] {
    let text = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut id = [0; 36];
    let length = text.len().min(id.len());
    id[..length].copy_from_slice(&text[..length]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_process_and_only_those_inside_a_guest_are_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("inflight");
        let (file, left) = InFlight::open(&path, 4).expect("opens");
        assert_eq!(left, Left::default());
        file.begin(7);
        let file = Arc::new(file);
        let (inside, outside) = (file.slot(JobId::from_u128(1), true), file.slot(JobId::from_u128(2), false));
        let gone = file.slot(JobId::from_u128(3), false);
        inside.set(true);
        outside.set(true);
        outside.set(false);
        gone.set(true);
        drop(gone);
        // The file is read as the next process would find it if this one died here.
        let (_, left) = InFlight::open(&path, 4).expect("opens");
        let [inside, outside, gone] = [1, 2, 3].map(JobId::from_u128);
        // Slots are handed out from the first on.
        let started = vec![inside, outside, gone];
        assert_eq!(left, Left { opens: 7, same_boot: true, marked: vec![(inside, true)], started });
    }

    #[test]
    fn slots_run_out_without_harm_and_come_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, _) = InFlight::open(&folder.path().join("inflight"), 1).expect("opens");
        let file = Arc::new(file);
        let only = file.slot(JobId::from_u128(1), false);
        file.slot(JobId::from_u128(2), false).set(true);
        drop(only);
        assert!(file.slot(JobId::from_u128(3), false).0.is_some());
    }
}
