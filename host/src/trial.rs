//! One job of a plugin file, here and now, without a host.
//!
//! The file goes through the checks of the plugin folder, the job through those of a submit, and the guest runs in the same sandbox,
//! within the same limits and grants, as on a host with these settings. Only what surrounds it is missing: there is no queue, no
//! second attempt, and nothing is left but what the caller takes out before the trial is dropped.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{FutureExt, Stream};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::job::{JobId, Kind};
use crate::plugins::{self, Plugin, Verdict};
use crate::queue::{Finished, Submission};
use crate::running::Running;
use crate::sandbox::{Capacity, Checkpoints, Sandbox, SaveCheckpoint};
use crate::store::{Blobs, CHECKPOINT_BYTES_MAX, Checkpoint, Mark};
use crate::worker::attempt::{self, Work};
use crate::{api, config::Config, server};

/// What a file is tried as whose name could be no kind.
const NAMELESS: &str = "plugin";
/// Files of which compiled code is kept: those that were tried last.
const COMPILED_FILES_MAX: usize = 16;
/// Bytes of it. That of a Python or JavaScript plugin has a few dozen MiB.
const COMPILED_BYTES_MAX: u64 = 1 << 30;
/// Looks at a folder that is to go, in which others may still be making files.
const ABANDON_LOOKS_MAX: usize = 10;

/// A sandbox, and a folder for what a job reads and writes.
pub struct Trial {
    bench: plugins::Bench,
    settings: plugins::Settings,
    limits: api::Limits,
    folder: TempDir,
}

impl Trial {
    /// Prepares a place for one job at a time. Compiled code of the files that were tried last is kept for this user, so that trying
    /// them again takes no time.
    pub fn prepare(config: &Config) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let capacity = Capacity { guests_max: 1, memory_bytes_max: config.memory_bytes_max };
        let sandbox = Sandbox::in_foreground(capacity, cache_folder());
        let sandbox = sandbox.map_err(anyhow::Error::from).context("cannot start the sandbox")?;
        Ok(Self {
            bench: plugins::Bench::new(sandbox, folder.path()).context("cannot use a temporary folder")?,
            settings: server::plugin_settings(config),
            limits: server::api_limits(config),
            folder,
        })
    }

    /// Checks the file as a plugin folder would, its name included, with the settings beside it. Takes seconds for large files.
    pub fn check(&self, file: &Path) -> std::io::Result<Verdict> {
        self.check_as(plugins::kind_at(file), file, None)
    }

    /// The same for a file that is to run here and nowhere else, so that a name that could be no kind does not matter. Its settings are
    /// those of the file `toml`, if one is named.
    pub fn check_to_run(&self, file: &Path, toml: Option<&Path>) -> std::io::Result<Verdict> {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let kind = Kind::new(&stem).or_else(|| Kind::new(&stem.to_lowercase().replace('_', "-")));
        let kind = kind.or_else(|| Kind::new(NAMELESS)).ok_or_else(String::new);
        self.check_as(kind, file, toml)
    }

    fn check_as(&self, kind: Result<Kind, String>, file: &Path, toml: Option<&Path>) -> std::io::Result<Verdict> {
        let verdict = plugins::check_at(&self.bench, file, kind, toml, self.settings.clone())?;
        if let Some(digest) = &verdict.digest {
            self.bench.sandbox.keep_compiled(digest, COMPILED_FILES_MAX, COMPILED_BYTES_MAX);
        }
        Ok(verdict)
    }

    /// Checks what a client would send to `POST /v1/kinds/{kind}/jobs`. The error is the problem document that it would get.
    pub async fn submit(
        &self,
        plugin: &Arc<Plugin>,
        query: &str,
        media_type: Option<&str>,
        input: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<Submission, Vec<u8>> {
        api::check_without_host(plugin, self.bench.blobs.upload_for_new(), &self.limits, query, media_type, input).await
    }

    /// Removes its folder now: the process is about to end while other threads still use the trial.
    pub fn abandon(&self) {
        // Other threads make files in it, but no folders: a file that came meanwhile is found at the next look, and no more can come
        // once its folder is gone.
        for _ in 0..ABANDON_LOOKS_MAX {
            if std::fs::remove_dir_all(self.folder.path()).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                return;
            }
        }
    }

    /// Runs the job on a thread of its own. Progress and log are told through `running`, which can also stop it.
    pub async fn run(
        &self,
        id: JobId,
        plugin: Arc<Plugin>,
        submission: Submission,
        running: Arc<Running>,
    ) -> anyhow::Result<Finished> {
        let (sandbox, blobs) = (Arc::clone(&self.bench.sandbox), self.bench.blobs.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (tell, told) = oneshot::channel();
        let work = move || {
            let work = Work {
                id,
                attempt: 1,
                span: 1,
                timeout: submission.timeout,
                input: submission.input,
                options: submission.options,
                blobs: Vec::new(),
                grants: plugin.grants(),
                running,
                checkpoints: checkpoints(&blobs, &plugin),
                on_turn: Box::new(|_| {}),
                mark: &Mark::none(),
            };
            let finished = LocalSet::new().block_on(&runtime, attempt::perform(&sandbox, &blobs, &plugin, work, ()));
            // A receiver that is gone has ended the process.
            let _ = tell.send(finished);
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("worker-0".into()).spawn(work)?;
        let finished = told.await;
        let ended = thread.join();
        finished.ok().filter(|_| ended.is_ok()).context("the host panicked while it ran the job")
    }
}

/// Where compiled code of the files that were tried last is kept for this user.
fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("dropforge");
    // Without it, every trial compiles anew.
    std::fs::create_dir_all(&caches).ok().map(|()| caches.join("compiled"))
}

/// State is kept as long as the attempt lasts: it can be loaded again, and there is no other attempt to load it.
fn checkpoints(blobs: &Blobs, plugin: &Plugin) -> Checkpoints {
    let (blobs, digest) = (blobs.clone(), plugin.digest.clone());
    let save: SaveCheckpoint = Box::new(move |data| {
        let (mut upload, plugin_sha256) = (blobs.upload(), digest.clone());
        async move {
            if data.len() > CHECKPOINT_BYTES_MAX {
                return Err(format!("{} bytes are too many; {CHECKPOINT_BYTES_MAX} is the most", data.len()));
            }
            let content = upload.write(&data).and_then(|()| upload.finish()).map_err(|error| error.to_string())?;
            Ok(Checkpoint { content, plugin_sha256 })
        }
        .boxed()
    });
    Checkpoints::new(None, save)
}
