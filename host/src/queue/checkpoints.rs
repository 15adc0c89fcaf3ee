//! State that an attempt leaves for the next one of its job.

use std::io;

use super::Queue;
use crate::job::JobId;
use crate::store::{self, CHECKPOINT_BYTES_MAX, Checkpoint, StoreError, Token};

impl Queue {
    /// Keeps what a claimed job's plugin wants to find at its next attempt, in place of what was kept before, and answers it.
    /// Durable when this returns. It must not take the room that outcomes need, so it is refused where new jobs are.
    pub async fn save_checkpoint(
        &self,
        id: JobId,
        token: Token,
        plugin_sha256: String,
        data: Vec<u8>,
    ) -> Result<Checkpoint, StoreError> {
        if data.len() > CHECKPOINT_BYTES_MAX {
            return Err(store::too_large(data.len() as u64));
        }
        let mut upload = self.upload();
        let in_a_file = upload.spills(data.len());
        let keep = move || {
            upload.write(&data)?;
            upload.finish()
        };
        let content = if in_a_file {
            // Syncing a file takes milliseconds; other jobs of this thread go on meanwhile.
            let kept = tokio::task::spawn_blocking(keep).await;
            kept.unwrap_or_else(|_| Err(io::Error::other("the thread that stores files panicked")))?
        } else {
            keep()?
        };
        let checkpoint = Checkpoint { content, plugin_sha256 };
        self.store.save_checkpoint(id, token, checkpoint.clone()).await?;
        Ok(checkpoint)
    }
}
