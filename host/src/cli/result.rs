//! `dropforge result`: what a finished job made.

use clap::Args;

use super::delivery::{Delivery, bring};
use super::exit::Exit;
use super::remote::{Remote, say};
use super::typed;
use super::wait::{after_failure, summary};
use crate::client::JobView;

#[derive(Debug, Args)]
pub(super) struct ResultOf {
    /// The job
    #[arg(value_name = "ID", value_parser = typed::id)]
    id: String,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    remote: Remote,
}

impl ResultOf {
    /// With `--json` the result is only saved, and the job is said, as by all commands that bring results.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        self.delivery.check()?;
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
        if job.state == "failed" && !self.remote.json {
            eprintln!("{}", summary(&job));
            eprint!("{}", after_failure(&job));
            return Ok(Exit::JobFailed);
        }
        // Of a job that was cancelled the host itself says that there is none, unless the job is all that is wanted.
        bring(&client, &self.id, &self.delivery, self.remote.json).await?;
        if self.remote.json {
            say(&answer)?;
        }
        Ok(Exit::of_state(&job.state))
    }
}
