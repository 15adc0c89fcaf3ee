//! Closes gaps between the pages that guests write, so that their memory can stay mapped for the next.
//!
//! Between two guests the engine asks the kernel which pages of a memory were written, and puts those back as they were. It hears of 32 runs of
//! them at the most, and gives all that lies behind back to the kernel (wasmtime pull request 14357). An interpreter writes a page here and
//! there all over its memory, a hundred runs and more: each guest has most of its pages faulted in anew, and for each that is read before it is
//! written the kernel interrupts every other processor that runs this program. Two threads were no quicker than one.
//!
//! So now and then, when a guest is over and its memory is still as it left it, the smallest gaps between what was written are made pages of
//! their own as well, with what is in them anyway, until few runs are left. From then on the engine puts back all of it, gaps included.
//! This changes nothing that a guest can see; where the kernel does not take part, guests are slower. It has a price beside the copying:
//! what is given back to the kernel is gone for sure, while what is put back depends on what the kernel tells; see `swap`.

mod memory;

use std::collections::HashSet;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::memory::{Kernel, Memory};
use super::engine::{KEEP_RESIDENT_BYTES, WARM_SLOTS_MAX};

/// Runs that are left of a memory. Those that the engine hears of have to be enough for what is added to a memory afterwards, too.
const RUNS_MAX: usize = RUNS_OF_ENGINE - 4;
/// The same bound in bytes: a sixteenth of what the engine keeps is left for what has been added.
const BYTES_MAX: usize = KEEP_RESIDENT_BYTES / 16 * 15;
/// Closing gaps is worth as many pages more, for each that is given back to the kernel otherwise: to copy one takes some tenths of a
/// microsecond, to fault one in takes one, or ten with the other processors.
const WORTH: usize = 10;
/// Runs the engine hears of.
const RUNS_OF_ENGINE: usize = 32;
/// Images with more memories for each processor are left alone, or with twice as many as there are free ones kept as they were: guests that wait,
/// a thousand of them, are not to hold more than they wrote.
const MEMORIES_PER_PROCESSOR_MAX: usize = 2;
/// Once one look has made pages of so many bytes, it begins with no further memory: a page takes up to ten microseconds, while the thread's other
/// jobs wait.
const LOOK_BYTES_MAX: usize = 2 << 20;
/// A look may take so small a part of what guests compute.
const LOOK_SHARE: u32 = 100;
/// The same for the first looks that close something after a plugin was loaded: it saves each later guest a part of a millisecond.
const FIRST_LOOK_SHARE: u32 = 10;
const FIRST_LOOKS: usize = 8;
/// Computing before the first look, and at the most between two: each pause is twice as long as the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// Says when it is time to look, and looks.
#[derive(Debug)]
pub(super) struct Gaps {
    asks_kernel: bool,
    /// Microseconds that guests have computed since the last look.
    computed: AtomicU64,
    /// So many make the next.
    pause: AtomicU64,
    /// First looks that are left.
    first: AtomicUsize,
    /// The looks so far.
    looks: Mutex<usize>,
}

impl Gaps {
    /// For an engine that asks the kernel what was written, or for one that does not, of which no gaps are closed.
    pub(super) fn new(asks_kernel: bool) -> Self {
        let pause = AtomicU64::new(microseconds(PAUSE_MIN));
        let first = AtomicUsize::new(FIRST_LOOKS);
        Self { asks_kernel, computed: AtomicU64::new(0), pause, first, looks: Mutex::new(0) }
    }

    /// To be called when a guest is over that computed for so long, while its memory is as it left it.
    pub(super) fn after(&self, computed: Duration) {
        let computed = microseconds(computed);
        let all = self.computed.fetch_add(computed, Ordering::Relaxed).saturating_add(computed);
        let pause = self.pause.load(Ordering::Relaxed);
        if all < pause || !self.asks_kernel {
            return;
        }
        // Another thread that looks sees this guest's memory as well.
        let Ok(mut looks) = self.looks.try_lock() else { return };
        *looks += 1;
        let began = Instant::now();
        let closed = close_some(*looks).unwrap_or_else(|error| {
            tracing::debug!(%error, "the kernel does not help guests that write here and there in their memory");
            0
        });
        let is_first = closed > 0 && self.takes_first();
        let share = if is_first { FIRST_LOOK_SHARE } else { LOOK_SHARE };
        let next = microseconds(pause_after(began.elapsed() * share, pause));
        // Unless there is another kind since.
        let _ = self.pause.compare_exchange(pause, next, Ordering::Relaxed, Ordering::Relaxed);
        self.computed.store(0, Ordering::Relaxed);
    }

    fn takes_first(&self) -> bool {
        self.first.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Looks soon, as there are guests of another kind now.
    pub(super) fn look_soon(&self) {
        self.first.store(FIRST_LOOKS, Ordering::Relaxed);
        self.pause.store(microseconds(PAUSE_MIN), Ordering::Relaxed);
    }
}

/// How long guests compute before the next look.
fn pause_after(at_least: Duration, last_pause: u64) -> Duration {
    at_least.max(Duration::from_micros(last_pause).saturating_mul(2)).min(PAUSE_MAX)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Closes gaps in all memories there are, and answers how many pages more are their own. Which image is the first to get what one look may do, follows
/// from the number of the look.
fn close_some(look: usize) -> io::Result<usize> {
    let (kernel, most) = (Kernel::ask()?, memories_max());
    let page_bytes = kernel.page_bytes;
    let mut images: Vec<_> = kernel.images().into_iter().filter(|places| places.len() <= most).collect();
    let first = look % images.len().max(1);
    images.rotate_left(first);
    let (mut closed, pages_max) = (0, BYTES_MAX / page_bytes);
    for places in images {
        let mut memories: Vec<Memory> = places.into_iter().map(|place| kernel.look(place)).collect::<Result<_, _>>()?;
        // What alone is more than the engine keeps cannot be helped, and says nothing of the others.
        memories.retain(|memory| memory.written.iter().filter(|is_written| **is_written).count() <= pages_max);
        let kept = with_gaps_closed(runs(&written_in_any(&memories)), pages_max);
        // One that nobody uses shows no more runs than were kept.
        for memory in memories.iter().filter(|memory| runs(&memory.written).len() >= RUNS_OF_ENGINE) {
            if closed * page_bytes < LOOK_BYTES_MAX {
                closed += kept.iter().map(|run| memory.make_own(run.clone(), page_bytes)).sum::<io::Result<usize>>()?;
            }
        }
    }
    Ok(closed)
}

fn memories_max() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    MEMORIES_PER_PROCESSOR_MAX * processors.max(WARM_SLOTS_MAX as usize)
}

/// Guests of one image write to the same pages, more or less, and a memory that is in use shows only a part of them.
fn written_in_any(memories: &[Memory]) -> Vec<bool> {
    let mut any = Vec::new();
    for Memory { written, .. } in memories {
        any.resize(any.len().max(written.len()), false);
        any.iter_mut().zip(written).for_each(|(any, is_written)| *any |= is_written);
    }
    any
}

fn runs(written: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (page, _) in written.iter().enumerate().filter(|(_, is_written)| **is_written) {
        match runs.last_mut() {
            Some(last) if last.end == page => last.end += 1,
            _ => runs.push(page..page + 1),
        }
    }
    runs
}

/// The same pages in few enough runs, with the smallest gaps between them. Nothing if they would become too many pages, or more than it is worth.
fn with_gaps_closed(runs: Vec<Range<usize>>, pages_max: usize) -> Vec<Range<usize>> {
    let given_back = pages_of(runs.get(RUNS_OF_ENGINE..).unwrap_or_default());
    let pages_max = pages_max.min(pages_of(&runs) + WORTH * given_back);
    let gap = |run: &usize| runs[*run].start - runs[run - 1].end;
    let mut behind_gaps: Vec<usize> = (1..runs.len()).collect();
    behind_gaps.sort_by_key(gap);
    let closed: HashSet<usize> = behind_gaps.into_iter().take(runs.len().saturating_sub(RUNS_MAX)).collect();
    let mut left: Vec<Range<usize>> = Vec::with_capacity(RUNS_MAX);
    for (number, run) in runs.into_iter().enumerate() {
        match left.last_mut() {
            Some(last) if closed.contains(&number) => last.end = run.end,
            _ => left.push(run),
        }
    }
    if pages_of(&left) <= pages_max { left } else { Vec::new() }
}

fn pages_of(runs: &[Range<usize>]) -> usize {
    runs.iter().map(Range::len).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;
    use crate::sandbox::Capacity;
    use crate::sandbox::engine::{asks_kernel, config};

    /// Looks at every ninth page of a memory, each of which begins with nothing but zeros, and writes to it.
    const SCATTERED: &str = r#"(module (memory 64) (data (i32.const 0) "first") (data (i32.const 4194300) "last")
        (func (export "run") (local $at i32)
            (if (i32.ne (i32.load (i32.const 4194300)) (i32.const 0x7473616c)) (then unreachable))
            (local.set $at (i32.const 8192))
            (loop $on
                (if (i32.load (local.get $at)) (then unreachable))
                (i32.store (local.get $at) (i32.const 1))
                (br_if $on (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 36864))) (i32.const 4100000))))))"#;

    /// Pages that this thread has had faulted in.
    fn faults() -> u64 {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("the kernel tells");
        let fields = stat.rsplit(") ").next().expect("behind the name");
        fields.split(' ').nth(7).and_then(|faults| faults.parse().ok()).expect("a number")
    }

    /// Fault: a guest that writes here and there has its memory faulted in anew each time, or finds there what the last one wrote.
    #[test]
    fn scattered_pages_stay_and_are_put_back() {
        if !asks_kernel() {
            eprintln!("not tested: the kernel does not tell what was written, or there is swap");
            return;
        }
        let engine = Engine::new(&config(Capacity { guests_max: 2, memory_bytes_max: 8 << 20 })).expect("an engine");
        let module = Module::new(&engine, wat::parse_str(SCATTERED).expect("it is text")).expect("it is sound");
        let run = |look: &dyn Fn()| {
            let before = faults();
            let mut store = Store::new(&engine, ());
            store.set_fuel(u64::MAX).expect("it is counted");
            let instance = Instance::new(&mut store, &module, &[]).expect("there is room");
            let run = instance.get_typed_func::<(), ()>(&mut store, "run").expect("it is there");
            run.call(&mut store, ()).expect("its memory is as in the image");
            look();
            drop(store);
            faults() - before
        };
        let run_some = || [(); 4].map(|()| run(&|| {}))[3];
        let without = run_some();
        assert!(without > 60, "only {without} faults: there is nothing to gain any more");
        run(&|| {
            // Others in this process may have memories as well.
            let closed = (0..8).map(|look| close_some(look).expect("the kernel takes part"));
            assert!(closed.sum::<usize>() > 500);
        });
        let with = run_some();
        assert!(with < 30, "{with} faults instead of {without}");
    }

    #[test]
    fn the_smallest_gaps_are_closed_and_no_more_than_needed() {
        assert_eq!(runs(&[false, true, true, false, true]), [1..3, 4..5]);
        let mut scattered: Vec<_> = (0..RUNS_OF_ENGINE).map(|run| 10 * run..10 * run + 1).collect();
        scattered.extend([900..901, 903..906]);
        let (before, closed) = (pages_of(&scattered), 2 + 5 * 9);
        assert!(closed > WORTH * 4, "of what is given back there are four pages");
        assert!(with_gaps_closed(scattered.clone(), 999).is_empty(), "not worth it");
        scattered[RUNS_OF_ENGINE + 1].end += 1;
        let left = with_gaps_closed(scattered.clone(), before + 1 + closed);
        assert_eq!((left.len(), pages_of(&left)), (RUNS_MAX, before + 1 + closed));
        assert_eq!((&left[0], &left[1], &left[RUNS_MAX - 1]), (&(0..51), &(60..61), &(900..907)));
        assert!(with_gaps_closed(scattered, before + closed).is_empty(), "more than the engine keeps");
        let few: Vec<_> = (0..RUNS_MAX).map(|run| 10 * run..10 * run + 1).collect();
        assert_eq!(with_gaps_closed(few.clone(), 999), few);
    }

    #[test]
    fn looks_become_rare_until_there_is_another_kind() {
        let second = Duration::from_secs(1);
        assert_eq!(pause_after(Duration::ZERO, microseconds(second)), 2 * second);
        assert_eq!(pause_after(Duration::ZERO, microseconds(PAUSE_MAX)), PAUSE_MAX);
        assert_eq!(pause_after(5 * second, microseconds(second)), 5 * second);
        let gaps = Gaps::new(true);
        gaps.after(PAUSE_MIN / 2);
        assert_eq!(gaps.computed.load(Ordering::Relaxed), microseconds(PAUSE_MIN / 2), "it is too early");
        gaps.after(PAUSE_MAX);
        assert_eq!((gaps.computed.load(Ordering::Relaxed), *gaps.looks.lock().expect("nobody panicked")), (0, 1));
        assert!(gaps.pause.load(Ordering::Relaxed) > microseconds(PAUSE_MIN));
        gaps.look_soon();
        assert_eq!(gaps.pause.load(Ordering::Relaxed), microseconds(PAUSE_MIN));
        let first = [(); FIRST_LOOKS + 1].map(|()| gaps.takes_first());
        assert_eq!(first.iter().position(|is_first| !is_first), Some(FIRST_LOOKS));
        gaps.look_soon();
        assert!(gaps.takes_first());
        let never = Gaps::new(false);
        never.after(PAUSE_MAX);
        assert_eq!(*never.looks.lock().expect("nobody panicked"), 0);
    }
}
