//! The network of guests: what was granted works, and nothing gets around a grant.
//!
//! Each attack ends by showing that the same host still does good work. Only loopback is contacted.

mod connections;
mod evasions;
mod limits;
mod requests;

use serde_json::Value;

use crate::support::server::Server;
use crate::support::{Host, Setup, guest};

/// A host with the plugin `good` and a probe called `kind` that has these settings.
fn host(toml: &str) -> Host {
    setup(toml).start()
}

fn setup(toml: &str) -> Setup {
    Host::prepare().with_guest("good", guest::good()).with_guest("kind", guest::probe()).with_file("kind.toml", toml)
}

/// What a kind needs to send GET requests to this server.
fn granting(server: &Server) -> String {
    format!("[[http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {}\n", server.port())
}

/// What a kind needs to connect to this server.
fn granting_tcp(server: &Server, host: &str) -> String {
    format!("[[tcp]]\nhost = \"{host}\"\nport = {}\n", server.port())
}

fn log(job: &Value) -> Vec<String> {
    let lines = job["usage"][0]["log"].as_array().expect("an attempt has ended");
    lines.iter().map(|line| line.as_str().expect("a line").to_owned()).collect()
}
