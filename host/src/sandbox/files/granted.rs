//! Calls in granted folders: each on a thread that may wait there for ever, while the guest's own thread has other jobs.

use std::fs::File;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::runtime::spawn_blocking;

use crate::running::Running;
use crate::sandbox::folders::{CALLS_PER_FOLDER_MAX, Folder};

/// Calls of one attempt under way at a time: one it waits for, and reads that it has begun and left.
const CALLS_PER_ATTEMPT_MAX: usize = 4;
/// After so long the log says what an attempt waits for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The engine's view of a thread's own descriptor.
static ON_THIS_THREAD: LazyLock<WasiFilesystemCtx> =
    LazyLock::new(|| WasiCtx::builder().allow_blocking_current_thread(true).build().filesystem().clone());

/// A granted folder as its guests know it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) folder: Arc<Folder>,
    /// Where the guest finds it.
    pub(super) guest: Arc<str>,
}

/// A file or folder that a guest has open in a granted folder. The last of its owners leaves it to be closed elsewhere: whoever owns the
/// file in another way as well has to let go of that first.
pub(super) struct Held {
    file: Option<Arc<File>>,
    pub(super) place: Place,
}

impl Held {
    pub(super) fn new(descriptor: &Descriptor, place: Place) -> Self {
        Self::of(
            match descriptor {
                Descriptor::File(file) => &file.file,
                Descriptor::Dir(folder) => &folder.dir,
            },
            place,
        )
    }

    pub(super) fn of(file: &Arc<File>, place: Place) -> Self {
        Self { file: Some(Arc::clone(file)), place }
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(self.file.as_ref().expect("it is taken when nobody owns this any more"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.place.folder.close(file);
        }
    }
}

/// The calls of one attempt in its granted folders. Clones count together.
#[derive(Clone)]
pub(super) struct Calls {
    under_way: Arc<Semaphore>,
    running: Arc<Running>,
    has_complained: Arc<AtomicBool>,
}

impl Calls {
    pub(super) fn new(running: &Arc<Running>) -> Self {
        let under_way = Arc::new(Semaphore::new(CALLS_PER_ATTEMPT_MAX));
        Self { under_way, running: Arc::clone(running), has_complained: Arc::default() }
    }

    /// Has `work` done on a thread that may wait for the folder. Given up, it is not begun any more; if it has, its thread stays away
    /// until the folder answers.
    pub(super) async fn make<T: Send + 'static>(&self, place: &Place, work: impl FnOnce() -> T + Send + 'static) -> T {
        let has_begun = AtomicBool::new(false);
        let call = async {
            let own = Arc::clone(&self.under_way).acquire_owned().await;
            let seat = place.folder.seat().await;
            has_begun.store(true, Ordering::Relaxed);
            let on_the_thread = move || {
                let _seats = (own, seat);
                work()
            };
            spawn_blocking(on_the_thread).await
        };
        let mut call = std::pin::pin!(call);
        match tokio::time::timeout(PATIENCE, &mut call).await {
            Ok(done) => done,
            Err(_) => {
                self.complain(place, has_begun.load(Ordering::Relaxed));
                call.await
            }
        }
    }

    /// Says, once an attempt, what it waits for.
    fn complain(&self, place: &Place, has_begun: bool) {
        if self.has_complained.swap(true, Ordering::Relaxed) {
            return;
        }
        let guest = &place.guest;
        self.running.log(&if has_begun {
            format!("WARN the folder granted as {guest} has not answered for {} s; this waits for it", PATIENCE.as_secs())
        } else {
            format!(
                "WARN the folder granted as {guest} does not answer, or not in time for all: no more than \
                 {CALLS_PER_FOLDER_MAX} calls may wait for it, {CALLS_PER_ATTEMPT_MAX} of them of one attempt; this one \
                 waits for its turn"
            )
        });
    }
}

/// Has the engine do something with this file or folder, here and at once.
pub(super) fn alone<T>(
    descriptor: Descriptor,
    call: impl FnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T>,
) -> FsResult<T> {
    let (mut table, mut context) = (ResourceTable::new(), ON_THIS_THREAD.clone());
    let descriptor = table.push(descriptor)?;
    call(&mut WasiFilesystemCtxView { ctx: &mut context, table: &mut table }, descriptor)
}

/// What the engine answers at once, as it does of everything that was opened to be used on the thread that asks.
pub(super) fn at_once<T>(answer: impl Future<Output = FsResult<T>>) -> FsResult<T> {
    answer.now_or_never().unwrap_or_else(|| Err(FsError::trap(wasmtime::format_err!("the engine waits for a file"))))
}
