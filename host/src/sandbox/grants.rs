//! What an operator lets the guests of one kind reach: values, folders, hosts and addresses.
//!
//! Plain data and plain decisions. Nothing is reachable that does not stand here; who enforces it is the file of the
//! interface in question.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use crate::outbound::{HostName, Scheme};

/// Everything granted to one kind. The default grants nothing. Not `Debug`: it holds secrets.
#[derive(Default)]
pub struct Grants {
    /// The file of its settings, for sentences about what is to be added there.
    pub settings_file: String,
    /// What `config` of the contract answers, secrets included.
    pub config: BTreeMap<String, String>,
    /// The guest's environment variables, secrets included.
    pub environment: BTreeMap<String, String>,
    /// Requests it may send.
    pub http: Vec<HttpGrant>,
    /// Addresses it may connect to.
    pub tcp: Vec<TcpGrant>,
    /// Folders it may read.
    pub folders: Vec<FolderGrant>,
    /// Bytes an attempt may send and receive, together.
    pub network_bytes: u64,
}

impl Grants {
    /// Whether what a guest does may be seen outside of the host before its job has ended.
    pub fn reach_out(&self) -> bool {
        !self.http.is_empty() || !self.tcp.is_empty()
    }
}

/// Requests to one place, with one of these methods.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `https` unless it says otherwise.
    #[serde(default)]
    pub scheme: Scheme,
    /// A name, which is matched whole, or an address.
    pub host: HostName,
    /// The scheme's own unless it says otherwise.
    pub port: Option<u16>,
    /// `GET` unless it says otherwise.
    #[serde(default = "only_get")]
    pub methods: Vec<Method>,
    /// Whether the name may lead to an address that is not public. An address that is named itself is granted as it is.
    #[serde(default)]
    pub private: bool,
}

impl HttpGrant {
    /// The port it is for.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }
}

/// A method in capitals, as HTTP compares them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Method(String);

impl Method {
    /// The method itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let well_formed =
            (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        if well_formed && text != "CONNECT" {
            Ok(Self(text))
        } else {
            Err(format!("found {text:?}, expected a method such as \"POST\", and never CONNECT"))
        }
    }
}

fn only_get() -> Vec<Method> {
    vec![Method("GET".to_owned())]
}

/// Connections to one place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpGrant {
    /// A name, which is matched whole, or an address.
    pub host: HostName,
    /// The one port.
    pub port: u16,
    /// Whether the name may lead to an address that is not public.
    #[serde(default)]
    pub private: bool,
}

/// A folder of the host that the guest may read, with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderGrant {
    /// Where the guest finds it, such as `/model`.
    pub guest: String,
    /// Where it is. Relative paths begin at the plugin folder.
    pub host: PathBuf,
}
