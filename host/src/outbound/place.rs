//! Where something is sent, in the one spelling that is compared with what is allowed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::HostName;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In clear text.
    Http,
    /// Over TLS.
    #[default]
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port of a URL that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A scheme, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Whom.
    pub host: HostName,
    /// At which door; never 0.
    pub port: u16,
}

impl Place {
    /// Reads the authority of a URL: a host, or a host and a port, and nothing more. No user, no second spelling.
    pub fn parse(scheme: Scheme, authority: &str) -> Option<Self> {
        let (host, port) = split_port(authority);
        let port = match port {
            None => Some(scheme.default_port()),
            Some(digits) => digits.parse::<u16>().ok().filter(|port| *port != 0 && port.to_string() == digits),
        };
        Some(Self { scheme, host: HostName::parse(host)?, port: port? })
    }

    /// As the `Host` field of a request has it.
    pub fn host_field(&self) -> String {
        let host = self.url_host();
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    fn url_host(&self) -> String {
        match &self.host {
            HostName::Address(address) if address.is_ipv6() => format!("[{address}]"),
            host => host.to_string(),
        }
    }
}

/// As a URL without a path, and always with its port.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.url_host(), self.port)
    }
}

/// Splits at the colon before a port; the colons of an IPv6 address are within brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}
