//! `dropforge submit`: a job on its way, and if wanted its result.

use clap::Args;
use console::user_attended_stderr;

use super::exit::Exit;
use super::input::Input;
use super::remote::{Remote, say};
use super::wait::{self, Delivery};
use crate::client::JobView;

#[derive(Debug, Args)]
pub(super) struct Submit {
    /// What to run; `dropforge kinds` lists them
    #[arg(value_name = "KIND")]
    kind: String,
    #[command(flatten)]
    input: Input,
    /// 0 to 9; 9 goes first
    #[arg(long, value_name = "N")]
    priority: Option<String>,
    /// Start no sooner than after this time, such as 30s or 2h
    #[arg(long, value_name = "TIME", conflicts_with = "run_at")]
    delay: Option<String>,
    /// Start no sooner than at this time, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// How often to try
    #[arg(long, value_name = "N")]
    max_attempts: Option<String>,
    /// Give the job up if it has not started by then
    #[arg(long, value_name = "TIME")]
    expires_in: Option<String>,
    /// A label; can be repeated
    #[arg(long = "tag", value_name = "TEXT")]
    tags: Vec<String>,
    /// Tell this URL how the job ended; the host's operator says who may be told
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// The same key and request is the same job: safe to repeat
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Follow the job to its end and fetch the result
    #[arg(long, short)]
    wait: bool,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    remote: Remote,
}

impl Submit {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        let query = self.query();
        let (input, media_type) = self.input.read().await?;
        let key = self.idempotency_key.as_deref();
        let answer = client.submit(&self.kind, &query, media_type, key, input.into_body()).await?;
        let job: JobView = client.parse(&answer)?;
        if self.wait || self.delivery.is_wanted() {
            return wait::deliver(&client, &job.id, &self.delivery, self.remote.json).await;
        }
        say(if self.remote.json { &answer } else { &job.id })?;
        if !self.remote.json && user_attended_stderr() {
            eprintln!("follow it with: dropforge wait {}", job.id);
        }
        Ok(Exit::Success)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        let options = [
            ("priority", &self.priority),
            ("delay", &self.delay),
            ("run_at", &self.run_at),
            ("max_attempts", &self.max_attempts),
            ("expires_in", &self.expires_in),
            ("webhook", &self.webhook),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let tags = self.tags.iter().map(|tag| ("tag", tag.as_str()));
        options.chain(tags).chain(self.input.query()).collect()
    }
}
