//! A plugin in a sandbox with no host around it: what an attempt costs by itself.
//!
//! `benches/hot` times the same, hence it is public, and hidden from the documentation.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use sha2::{Digest, Sha256};
use tokio::runtime::{Builder, Runtime};

use crate::job::Ended;
use crate::running::Running;
use crate::sandbox::{Call, Capacity, Checkpoints, CommandSettings, Limits, Program, Sandbox};
use crate::store::{Blobs, Content, Mark, Options, Payload};

/// Room for one attempt at a time.
pub const CAPACITY: Capacity = Capacity { guests_max: 1, memory_bytes_max: 256 << 20 };
const LIMITS: Limits =
    Limits { timeout: Duration::from_secs(600), fuel: u64::MAX >> 1, memory_bytes: 256 << 20, output_bytes: 1 << 20 };

/// The plugin, and a thread's executor for it.
pub struct Alone {
    runtime: Runtime,
    sandbox: Arc<Sandbox>,
    program: Program,
    blobs: Blobs,
}

impl Alone {
    /// Compiles the plugin. Blocks.
    pub fn new(sandbox: Arc<Sandbox>, folder: &Path, file: &[u8]) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let blobs = Blobs::open(folder)?;
        let uploads = blobs.clone();
        let digest = hex::encode(Sha256::digest(file));
        let loaded = runtime.block_on(sandbox.load(file, &digest, Arc::new(move || uploads.upload()), &|_| ()));
        let (program, _) = loaded.map_err(|reason| anyhow::anyhow!("the plugin cannot be loaded: {}", reason.0))?;
        Ok(Self { runtime, sandbox, program, blobs })
    }

    /// A whole attempt on this thread, from a fresh instance to its result. Blocks.
    pub fn attempt(&self, input: &str) -> anyhow::Result<()> {
        let (mark, blobs) = (Mark::none(), self.blobs.clone());
        let content = Content::Inline(input.as_bytes().to_vec().into());
        let call = Call {
            id: "bench".to_owned(),
            kind: "bench".to_owned(),
            attempt: 1,
            span: 1,
            input: Payload { media_type: "application/json".to_owned(), content },
            options: Options::default(),
            command: CommandSettings::default(),
            scratch: None,
            blobs: Vec::new(),
            limits: LIMITS,
            grants: Arc::default(),
            running: Arc::new(Running::default()),
            new_upload: Arc::new(move || blobs.upload()),
            checkpoints: Checkpoints::none(),
            on_turn: Box::new(|_| {}),
            mark: &mark,
        };
        let report = self.runtime.block_on(self.sandbox.run(&self.program, call));
        match report.ended {
            Ended::Succeeded => Ok(()),
            Ended::Failed(failure, _) => bail!("the plugin failed: {}", failure.message),
            ended => bail!("the plugin failed: {}", ended.as_str()),
        }
    }
}
