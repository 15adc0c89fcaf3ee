//! `dropforge result`: what a finished job made.

use std::path::PathBuf;

use clap::Args;

use super::delivery::{print_result, save_artifacts, save_result};
use super::exit::Exit;
use super::remote::{Remote, say};
use crate::client::JobView;

#[derive(Debug, Args)]
pub(super) struct ResultOf {
    /// The job
    #[arg(value_name = "ID")]
    id: String,
    /// Write the result to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Save the files that the job wrote in this folder
    #[arg(long, value_name = "DIR")]
    save_artifacts: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

impl ResultOf {
    /// With `--json` the result is only saved, and the job is said.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let answer = client.job(&self.id).await?;
        let job: JobView = client.parse(&answer)?;
        if !job.has_ended() {
            if self.remote.json {
                say(&answer)?;
            } else {
                eprintln!("the job is still {}; `dropforge wait {}` follows it to its end", job.state, job.id);
            }
            return Ok(Exit::NotFinished);
        }
        if let Some(folder) = &self.save_artifacts {
            save_artifacts(&client, &self.id, folder).await?;
        }
        match &self.output {
            Some(path) => save_result(&client, &self.id, path).await?,
            None if self.remote.json => {}
            None => print_result(&client, &self.id).await?,
        }
        if self.remote.json {
            say(&answer)?;
        }
        Ok(Exit::of_state(&job.state))
    }
}
