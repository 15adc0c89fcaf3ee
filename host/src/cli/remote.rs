//! What every command that talks to a host can be told.

use std::io::{Write, stdout};

use clap::Args;

use crate::client::{Client, ClientError};

#[derive(Debug, Args)]
#[command(next_help_heading = "Host")]
pub(super) struct Remote {
    /// Where the host is
    #[arg(long, value_name = "URL", env = "DROPFORGE_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Token for it
    #[arg(long, value_name = "TOKEN", env = "DROPFORGE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Say it as JSON, in the host's own words
    #[arg(long)]
    pub(super) json: bool,
}

impl Remote {
    pub(super) fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.url, self.token.clone())
    }
}

/// Writes to standard output, of which the reader may have had enough.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut output = stdout().lock();
    output.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        output.write_all(b"\n")?;
    }
    Ok(output.flush()?)
}
