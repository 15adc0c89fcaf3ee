//! `dropforge serve`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::{times, typed};
use crate::config::{Config, Flags};
use crate::interrupts::Interrupts;
use crate::server::Server;

/// Every flag is also a variable, DROPFORGE_LISTEN and so on, and a key of the config file.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// PEM file of the host's certificate: serve TLS
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Folder where jobs are kept; made if it is not there [default: dropforge-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder where plugins are dropped; made if it is not there [default: plugins]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Threads that run jobs [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = typed::whole_number)]
    workers: Option<usize>,
    /// How long running jobs may go on once the host is told to stop, such as 30s [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = times::checked)]
    grace: Option<String>,
    /// TOML file with these and further settings
    #[arg(long, value_name = "FILE", env = "DROPFORGE_CONFIG")]
    config: Option<PathBuf>,
    /// Listen beyond this machine although there are no tokens: anybody there may run jobs
    #[arg(long)]
    insecure: bool,
}

impl Serve {
    /// Runs a host until it is told to stop, or cannot go on.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let flags = Flags {
            listen: self.listen,
            insecure: self.insecure.then_some(true),
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            data: self.data,
            plugins: self.plugins,
            workers: self.workers,
            grace: self.grace,
        };
        let config = Config::load(&flags, self.config.as_deref())?;
        crate::logging::start(&config.log)?;
        for doubt in &config.doubts {
            tracing::warn!(doubt, "a setting may not be meant");
        }
        // Ready to be stopped before there is anything to stop.
        let mut interrupts = Interrupts::listen()?;
        let server = Server::start(&config).await?;
        announce(&server)?;
        let failure = tokio::select! {
            () = interrupts.next() => None,
            reason = server.failed() => Some(reason),
        };
        tracing::info!("stopping");
        if failure.is_none() {
            // Asked twice, it stops at once.
            tokio::select! {
                () = server.drain(config.grace.0) => {}
                () = interrupts.next() => {}
            }
        }
        server.stop().await?;
        match failure {
            None => Ok(()),
            Some(reason) => anyhow::bail!("the host ended because its store failed: {reason}"),
        }
    }
}

/// The one line on standard output, for people and for programs that started us.
fn announce(server: &Server) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "listening on {}", server.url()).context("cannot write to standard output")?;
    output.flush().context("cannot write to standard output")
}
