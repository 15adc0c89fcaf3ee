//! What a guest finds of earlier attempts of its job, and how it leaves something to later ones.

use std::io;

use futures_util::future::BoxFuture;

use crate::store::Checkpoint;

/// Makes a guest's state durable in place of what was saved before, and answers it, or says why it could not.
pub type SaveCheckpoint = Box<dyn Fn(Vec<u8>) -> BoxFuture<'static, Result<Checkpoint, String>> + Send>;

/// The state of one job, between its attempts and during one.
pub struct Checkpoints {
    newest: Option<Checkpoint>,
    save: SaveCheckpoint,
}

impl Checkpoints {
    /// `newest` is what an earlier attempt left.
    pub fn new(newest: Option<Checkpoint>, save: SaveCheckpoint) -> Self {
        Self { newest, save }
    }

    /// Nothing, for a guest that runs for no job.
    pub(crate) fn none() -> Self {
        let save: SaveCheckpoint = Box::new(|_| Box::pin(async { Err("there is no job to save this for".to_owned()) }));
        Self { newest: None, save }
    }

    /// The newest state, and the digest of the plugin that saved it.
    pub(super) fn load(&self) -> io::Result<Option<(Vec<u8>, String)>> {
        let load =
            |Checkpoint { content, plugin_sha256 }: &Checkpoint| Ok((content.read_whole()?, plugin_sha256.clone()));
        self.newest.as_ref().map(load).transpose()
    }

    /// Returns once the state would survive a power cut. Until then the old one is kept.
    pub(super) async fn save(&mut self, data: Vec<u8>) -> Result<(), String> {
        self.newest = Some((self.save)(data).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::job::{Bound, Ended};
    use crate::running::{Running, Stop};
    use crate::sandbox::{Call, Capacity, CommandSettings, Limits, NewUpload, Sandbox};
    use crate::store::{Blobs, Content, Mark, Options, Payload};

    /// Its letter `t` saves a checkpoint again and again.
    const ATTACKS: &[u8] = include_bytes!("../bench/attacks.wasm");
    const PROMISE: Duration = Duration::from_millis(100);

    /// Fault: the store does not come back from a save, and the job and its thread wait for it.
    #[tokio::test]
    async fn a_save_that_never_ends_is_given_up_at_the_deadline_and_at_a_cancel() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let new_upload: NewUpload = Arc::new(move || blobs.upload());
        let capacity = Capacity { guests_max: 1, memory_bytes_max: 64 << 20 };
        let sandbox = Sandbox::new(capacity, None).expect("an engine can be made");
        let (program, _) = sandbox.load(ATTACKS, "0", Arc::clone(&new_upload), &|_| ()).await.expect("it is a plugin");
        let cases = [
            (Duration::from_millis(200), Bound::Deadline),
            // Cancelled once it waits.
            (Duration::from_secs(60), Bound::Cancelled),
        ];
        for (timeout, bound) in cases {
            // The machine may be busy with other things just then, but not always.
            let mut late = Vec::new();
            while late.len() < 5 && late.last().is_none_or(|last| *last > PROMISE) {
                let (running, waits) = (Arc::new(Running::default()), Arc::new(AtomicBool::new(false)));
                let (seen, mark) = (Arc::clone(&waits), Mark::none());
                let save: SaveCheckpoint = Box::new(move |_| {
                    seen.store(true, Ordering::Relaxed);
                    Box::pin(std::future::pending())
                });
                let call = Call {
                    id: "test".to_owned(),
                    kind: "attack".to_owned(),
                    attempt: 1,
                    span: 1,
                    input: Payload { media_type: "text/plain".to_owned(), content: Content::Inline("t".into()) },
                    options: Options::default(),
                    command: CommandSettings::default(),
                    scratch: None,
                    blobs: Vec::new(),
                    limits: Limits { timeout, fuel: u64::MAX / 2, memory_bytes: 64 << 20, output_bytes: 0 },
                    grants: Arc::default(),
                    running: Arc::clone(&running),
                    new_upload: Arc::clone(&new_upload),
                    checkpoints: Checkpoints::new(None, save),
                    on_turn: Box::new(|_| {}),
                    mark: &mark,
                };
                let started = Instant::now();
                let cancel = async {
                    if bound == Bound::Deadline {
                        return started + timeout;
                    }
                    while !waits.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    running.stop(Stop::Cancelled);
                    Instant::now()
                };
                let run = async {
                    let report = sandbox.run(&program, call).await;
                    (report, Instant::now())
                };
                let ((report, ended), over) = tokio::join!(run, cancel);
                assert_eq!(report.usage.bound, Some(bound), "{:?}", report.ended);
                assert!(!matches!(report.ended, Ended::Succeeded) && waits.load(Ordering::Relaxed));
                late.push(ended.saturating_duration_since(over));
            }
            assert!(late.last().is_some_and(|last| *last <= PROMISE), "{bound:?}: {late:?}");
        }
    }
}
