//! What every way out of the sandbox shares: looking a granted host up once, counting bytes, and saying what was denied.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::grants::{HostName, is_public};
use super::names;
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
    let found = names::look_up(name).await?;
    Ok(granted(found.into_iter().map(|address| SocketAddr::new(address, port)), private))
}

/// Of what a name was found to stand for, what may be connected to. Whoever answers for a name decides what stands there, so
/// every address is judged, not only the first.
fn granted(found: impl Iterator<Item = SocketAddr>, private: bool) -> Resolved {
    let granted = found.filter(|address| private || is_public(address.ip()));
    let addresses: Vec<SocketAddr> = granted.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Resolved::OnlyPrivate } else { Resolved::Addresses(addresses) }
}

/// Bytes sent and received by an attempt, over all of its connections.
pub(super) struct Traffic {
    bytes: AtomicU64,
    bytes_max: u64,
    denials: Arc<Denials>,
}

impl Traffic {
    pub(super) fn new(bytes_max: u64, denials: Arc<Denials>) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max, denials }
    }

    /// Counts bytes and says whether they are still within the limit.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let is_within = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.bytes_max;
        if !is_within {
            self.denials.refuse(&format!("to send and receive more than {} bytes (network_bytes)", self.bytes_max));
        }
        is_within
    }

    /// How many more there may be.
    pub(super) fn left(&self) -> u64 {
        self.bytes_max.saturating_sub(self.bytes.load(Ordering::Relaxed))
    }

    /// Whether there were more than there may be.
    pub(super) fn is_exceeded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
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

#[cfg(test)]
mod tests {
    use super::*;

    fn granted_of(found: &[&str], private: bool) -> Vec<String> {
        let found = found.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 80));
        match granted(found, private) {
            Resolved::Addresses(addresses) => addresses.iter().map(|address| address.ip().to_string()).collect(),
            Resolved::OnlyPrivate => Vec::new(),
        }
    }

    /// Fault: a name answers with a public address, which is looked at, and a private one, which is connected to.
    #[test]
    fn every_address_a_name_stands_for_is_judged() {
        let mixed =
            ["127.0.0.1", "1.1.1.1", "10.0.0.1", "::ffff:192.168.0.1", "64:ff9b::7f00:1", "2606:4700::1111", "::1"];
        assert_eq!(granted_of(&mixed, false), ["1.1.1.1", "2606:4700::1111"]);
        assert_eq!(granted_of(&mixed, true).len(), mixed.len());
        assert_eq!(granted_of(&["169.254.169.254", "::ffff:127.0.0.1", "fd00::1"], false), Vec::<String>::new());
        assert_eq!(granted_of(&[], true), Vec::<String>::new());
    }

    #[test]
    fn of_many_addresses_a_few_are_tried() {
        let many: Vec<String> = (0..100).map(|last| format!("1.1.1.{last}")).collect();
        assert_eq!(granted_of(&many.iter().map(String::as_str).collect::<Vec<_>>(), false).len(), ADDRESSES_MAX);
    }
}
