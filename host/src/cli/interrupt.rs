//! Ctrl-C while a job is waited for: what becomes of the job is said, not left to be guessed.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use super::notes::{self, Note};

/// Does this until it is done or interrupted. The job `id` goes on without us.
pub(super) async fn unless_interrupted(
    id: &str,
    as_json: bool,
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        exit = work => exit,
        () = interrupts.next() => {
            let sentence = format!("the job {id} goes on. `dropforge wait {id}` follows it again, `dropforge cancel {id}` stops it");
            notes::tell(as_json, &Note::new("interrupted", sentence));
            Ok(Exit::Interrupted)
        }
    }
}

/// What asks the process to end: Ctrl-C, a polite kill, a terminal that was closed. From when it is made on, none of them ends it.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the process is asked to end, again if that is asked again.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
