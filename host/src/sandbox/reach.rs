//! What every way out of the sandbox shares: looking a granted host up once, counting bytes, and saying what was denied.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::grants::{HostName, is_public};
use super::streams::Log;

/// Connections an attempt may hold at a time, requests and sockets together.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Different denials explained per attempt; whoever tries more has understood.
const DENIALS_MAX: usize = 20;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// The addresses a host stands for.
#[derive(Debug)]
pub(super) enum Resolved {
    /// Connect to one of these, and to no other: the name is not looked up again.
    Addresses(Vec<SocketAddr>),
    /// All of them are private, and that was not granted.
    OnlyPrivate,
}

/// Looks a granted host up. An address is what it is; a name may lead to private addresses only where that was granted.
pub(super) async fn resolve(host: &HostName, port: u16, private: bool) -> io::Result<Resolved> {
    let name = match host {
        HostName::Address(address) => return Ok(Resolved::Addresses(vec![SocketAddr::new(*address, port)])),
        HostName::Name(name) => name,
    };
    let found = tokio::net::lookup_host((name.as_str(), port)).await?;
    let granted = found.filter(|address| private || is_public(address.ip()));
    let addresses: Vec<SocketAddr> = granted.take(ADDRESSES_MAX).collect();
    Ok(if addresses.is_empty() { Resolved::OnlyPrivate } else { Resolved::Addresses(addresses) })
}

/// Bytes sent and received by an attempt, over all of its connections.
#[derive(Debug)]
pub(super) struct Traffic {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Traffic {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max }
    }

    /// Counts bytes and says whether they are still within the limit.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.bytes_max
    }
}

/// Says in the job's log what was denied and what to add to which file, each once.
pub(super) struct Denials {
    log: Log,
    file: String,
    said: Mutex<HashSet<String>>,
}

impl Denials {
    pub(super) fn new(log: Log, kind: &str) -> Self {
        Self { log, file: format!("plugins/{kind}.toml"), said: Mutex::default() }
    }

    /// A sentence, and the lines that would have granted it.
    pub(super) fn explain(&self, denied: &str, lines: &[String]) {
        if self.is_new(denied) {
            self.log.line(&format!("WARN denied: {denied}; to allow it, add to {}:", self.file));
            lines.iter().for_each(|line| self.log.line(line));
        }
    }

    /// A sentence about something that cannot be granted.
    pub(super) fn refuse(&self, denied: &str) {
        if self.is_new(denied) {
            self.log.line(&format!("WARN denied: {denied}"));
        }
    }

    fn is_new(&self, denied: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < DENIALS_MAX && said.insert(denied.to_owned())
    }
}
