//! `dropforge submit`: a job on its way, and if wanted its result.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use console::user_attended_stderr;
use indicatif::ProgressBar;
use tokio::time::sleep;

use super::delivery::{Delivery, deliver};
use super::exit::Exit;
use super::input::Input;
use super::interrupt::{goes_on, unless_interrupted};
use super::notes::{self, Note};
use super::remote::{Remote, say};
use super::text::{duration, printable};
use super::times;
use super::typed;
use crate::client::{Client, ClientError, JobView, Refusal};

/// Between two attempts to submit a job whose kind is not ready, whatever the host says.
const PAUSE_SECONDS_MAX: u64 = 5;
/// How soon a host refuses whose refusal was lost, or that has refused before.
const REFUSAL_MAX: Duration = Duration::from_millis(500);
/// Between two pictures of what turns while one waits.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct Submit {
    /// What to run; `dropforge kinds` lists them
    #[arg(value_name = "KIND", value_parser = typed::name)]
    kind: String,
    #[command(flatten)]
    input: Input,
    /// 0 to 9; 9 goes first
    #[arg(long, value_name = "N")]
    priority: Option<String>,
    /// Start no sooner than after this time, such as 30s or 2h
    #[arg(long, value_name = "TIME", conflicts_with = "run_at", value_parser = times::checked)]
    delay: Option<String>,
    /// Start no sooner than at this time, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// How often to try
    #[arg(long, value_name = "N")]
    max_attempts: Option<String>,
    /// Give the job up if it has not started by then
    #[arg(long, value_name = "TIME", value_parser = times::checked)]
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
    /// Follow the job to its end and fetch the result; --output and --save-artifacts do so too
    #[arg(long, short)]
    wait: bool,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    remote: Remote,
}

/// How far a submit is.
#[derive(Clone, Copy)]
enum Stage {
    /// The host was not asked yet.
    Reading,
    /// It has not answered yet.
    Asking,
    /// The plugin was not ready when it was asked last.
    Waiting,
}

impl Submit {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = self.remote.client()?;
        self.delivery.check()?;
        let as_json = self.remote.json;
        let (mut answer, stage) = (String::new(), Cell::new(Stage::Reading));
        let submitted = unless_interrupted(as_json, || self.unfinished(stage.get()), async {
            answer = self.submit(&client, &stage).await?;
            Ok(Exit::Success)
        });
        let exit = submitted.await?;
        if exit != Exit::Success {
            return Ok(exit);
        }
        let job: JobView = client.parse(&answer)?;
        if self.wait || self.delivery.is_wanted() {
            let delivered = deliver(&client, &job.id, &self.delivery, as_json);
            return unless_interrupted(as_json, || goes_on(&job.id, "wait"), delivered).await;
        }
        say(if self.remote.json { &answer } else { &job.id })?;
        if !self.remote.json && user_attended_stderr() {
            eprintln!("follow it with: dropforge wait {}", job.id);
        }
        Ok(Exit::Success)
    }

    /// What is to be said of a submit that was interrupted.
    fn unfinished(&self, stage: Stage) -> String {
        let kind = printable(&self.kind);
        match stage {
            Stage::Reading => "no job was submitted".to_owned(),
            Stage::Waiting => {
                format!("no job was submitted: {kind} is not ready yet; `dropforge kinds {kind}` says how far it is")
            }
            Stage::Asking => format!(
                "it is not known whether the job was accepted; `dropforge list --kind {kind}` shows it if it was"
            ),
        }
    }

    /// Submits the job, once its kind is ready: its file may have been dropped a moment ago. Tells how far it is.
    async fn submit(&self, client: &Client, stage: &Cell<Stage>) -> anyhow::Result<String> {
        let query = self.query();
        let (input, media_type) = self.input.read().await?;
        let key = self.idempotency_key.as_deref();
        let (started, patience) = (Instant::now(), client.patience().most());
        let spinner = ProgressBar::new_spinner();
        let mut before_body = Duration::ZERO;
        loop {
            let (body, all_taken) = input.body(before_body).await?;
            stage.set(Stage::Asking);
            let answer = client.submit(&self.kind, &query, media_type, key, body).await;
            let refusal = match answer {
                Err(ClientError::Refused(refusal)) if refusal.status == 503 && refusal.code == "not_ready" => refusal,
                // A host that refuses before it has read the input ends the connection, and its answer may be lost with it. It has not
                // taken a job whose input it has not seen the end of, so it can be asked again, and be listened to first.
                Err(ClientError::Unreachable(..))
                    if before_body.is_zero() && !all_taken.load(Ordering::Relaxed) && input.can_be_repeated().await =>
                {
                    before_body = REFUSAL_MAX;
                    continue;
                }
                answer => {
                    spinner.finish_and_clear();
                    input.tell_unread(self.remote.json);
                    if let Err(ClientError::Refused(refusal)) = &answer
                        && let Some(complaint) = input.complaint_about(refusal).await
                    {
                        return Err(complaint.into());
                    }
                    return Ok(answer?);
                }
            };
            before_body = REFUSAL_MAX;
            stage.set(Stage::Waiting);
            let pause = Duration::from_secs(refusal.retry_after.unwrap_or(1).clamp(1, PAUSE_SECONDS_MAX));
            if started.elapsed() + pause > patience || !input.can_be_repeated().await {
                spinner.finish_and_clear();
                return Err(ClientError::Refused(refusal).into());
            }
            let note = waiting(&refusal, patience);
            if spinner.message().is_empty() {
                spinner.enable_steady_tick(TICK);
                if spinner.is_hidden() {
                    notes::tell(self.remote.json, &note);
                }
            }
            spinner.set_message(note.line(false));
            sleep(pause).await;
        }
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

/// What is being done with the plugin, and how long that may take: the host says both.
fn waiting(refusal: &Refusal, patience: Duration) -> Note {
    let what = refusal.detail.split("; try again in ").next().unwrap_or_default();
    let estimate = refusal.retry_after.map(|seconds| format!("it may be ready in {seconds} s; ")).unwrap_or_default();
    Note::new("not_ready", format!("{what}; {estimate}waiting for it, up to {}", duration(patience)))
}
