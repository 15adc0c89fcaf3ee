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
