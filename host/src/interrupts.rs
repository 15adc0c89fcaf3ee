//! What asks this process to end, heard instead of suffered. What then becomes of its work is for those who listen.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks the process to end: Ctrl-C, a polite kill, a terminal that was closed. From when it is made on, none of them ends it. A
/// terminal that was to be outlived when the process was started (`nohup`) is not heard of.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Interrupts {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// Where the system does not let this process hear of a signal.
    pub fn listen() -> std::io::Result<Self> {
        let kind = SignalKind::hangup();
        let is_ignored = ignored() >> (kind.as_raw_value() - 1) & 1 == 1;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if is_ignored { None } else { Some(signal(kind)?) },
        })
    }

    /// Returns when the process is asked to end, again if that is asked again.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = received(&mut self.hangup) => {}
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signals that this process ignores, a bit each. None where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
