//! What every command that talks to a host can be told.

use std::io::{Write, stdout};
use std::time::Duration;

use clap::Args;

use super::exit::Complaint;
use super::times;
use crate::client::{Client, ClientError};

/// Says where the host is, unless a flag does.
const URL_VARIABLE: &str = "DROPFORGE_URL";

#[derive(Debug, Args)]
#[command(next_help_heading = "Host")]
pub(super) struct Remote {
    /// Where the host is
    #[arg(long, value_name = "URL", env = URL_VARIABLE, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Token for it
    #[arg(long, value_name = "TOKEN", env = "DROPFORGE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How long to wait for a host that goes away while it is followed, or that still compiles the plugin
    #[arg(long, value_name = "TIME", env = "DROPFORGE_PATIENCE", default_value = "60s", value_parser = times::duration)]
    patience: Duration,
    /// Say it as JSON, in the host's own words
    #[arg(long)]
    pub(super) json: bool,
}

impl Remote {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        match Client::new(&self.url, self.token.clone()) {
            Ok(client) => Ok(client.with_patience(self.patience)),
            Err(error @ ClientError::Address(..)) => {
                // A flag goes before the variable; where both say the same, either can be mended.
                let is_variable = std::env::var(URL_VARIABLE).is_ok_and(|url| url == self.url);
                let place = if is_variable { URL_VARIABLE } else { "--url" };
                let advice = "the address of a host is like http://127.0.0.1:8080 or https://jobs.example.org";
                Err(Complaint::usage(format!("{place}: {error}"), advice).into())
            }
            Err(error) => Err(error.into()),
        }
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
