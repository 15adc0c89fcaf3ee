//! Ctrl-C while something is waited for: what becomes of it is said, not left to be guessed.

use super::exit::Exit;
use super::notes::{self, Note};
use crate::interrupts::Interrupts;

/// What to say when following a job ends before the job does, which goes on without us.
pub(super) fn goes_on(id: &str, again: &str) -> String {
    format!("the job {id} goes on. `dropforge {again} {id}` follows it again, `dropforge cancel {id}` stops it")
}

/// Does this until it is done or interrupted; then says so in this sentence.
pub(super) async fn unless_interrupted(
    as_json: bool,
    sentence: impl FnOnce() -> String,
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        exit = work => exit,
        () = interrupts.next() => {
            notes::tell(as_json, &Note::new("interrupted", sentence()));
            Ok(Exit::Interrupted)
        }
    }
}
