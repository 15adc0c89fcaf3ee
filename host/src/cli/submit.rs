//! `dropforge submit`: a job on its way, and if wanted its result.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use console::user_attended_stderr;
use futures_util::stream::try_unfold;
use indicatif::ProgressBar;
use reqwest::Body;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::exit::Exit;
use super::remote::{Remote, say};
use super::wait::{self, Delivery};
use crate::client::JobView;

/// A file goes to the host in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;
/// Names in the query that mean something to the host.
const OPTIONS: &[&str] = &[
    "priority",
    "delay",
    "run_at",
    "timeout",
    "max_attempts",
    "expires_in",
    "tag",
    "after",
    "webhook",
    "on_timeout",
    "arg",
];

#[derive(Debug, Args)]
pub(super) struct Submit {
    /// What to run; `dropforge kinds` lists them
    #[arg(value_name = "KIND")]
    kind: String,
    /// The input as JSON; - reads it from standard input
    #[arg(long, short, value_name = "JSON", conflicts_with = "file")]
    input: Option<String>,
    /// The input as a file of any type; - reads it from standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Media type of the file, such as application/pdf
    #[arg(long = "type", value_name = "TYPE", requires = "file")]
    media_type: Option<String>,
    /// A parameter of the plugin, such as dpi=100; can be repeated
    #[arg(long = "param", short, value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// An argument of the program, if the kind takes them; can be repeated
    #[arg(long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    args: Vec<String>,
    /// 0 to 9; 9 goes first
    #[arg(long, value_name = "N")]
    priority: Option<String>,
    /// Start no sooner than after this time, such as 30s or 2h
    #[arg(long, value_name = "TIME", conflicts_with = "run_at")]
    delay: Option<String>,
    /// Start no sooner than at this time, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// How long an attempt may take
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
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
        let (body, media_type) = self.body().await?;
        let key = self.idempotency_key.as_deref();
        let answer = client.submit(&self.kind, &query, media_type, key, body).await?;
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
            ("timeout", &self.timeout),
            ("max_attempts", &self.max_attempts),
            ("expires_in", &self.expires_in),
            ("webhook", &self.webhook),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let tags = self.tags.iter().map(|tag| ("tag", tag.as_str()));
        let args = self.args.iter().map(|arg| ("arg", arg.as_str()));
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        options.chain(tags).chain(args).chain(parameters).collect()
    }

    async fn body(&self) -> anyhow::Result<(Body, Option<&str>)> {
        let media_type = self.media_type.as_deref();
        match (&self.input, &self.file) {
            (Some(text), _) => {
                let mut text = text.clone();
                if text == "-" {
                    text.clear();
                    let reading = tokio::io::stdin().read_to_string(&mut text).await;
                    reading.context("cannot read the input from standard input")?;
                }
                let checked: serde_json::Result<&RawValue> = serde_json::from_str(&text);
                checked.context("the input is not JSON; --file takes anything else")?;
                Ok((text.into(), Some("application/json")))
            }
            (None, Some(path)) if path == Path::new("-") => {
                Ok((in_pieces(tokio::io::stdin(), ProgressBar::hidden()), media_type))
            }
            (None, Some(path)) => {
                let open = async {
                    let file = tokio::fs::File::open(path).await?;
                    let size = file.metadata().await?.len();
                    Ok::<_, std::io::Error>((file, size))
                };
                let (file, size) = open.await.with_context(|| format!("cannot read {}", path.display()))?;
                Ok((in_pieces(file, wait::transfer_bar(size, "sending")), media_type))
            }
            (None, None) => Ok((Body::default(), None)),
        }
    }
}

/// A body that is read while it is sent.
fn in_pieces(from: impl AsyncRead + Send + Unpin + 'static, bar: ProgressBar) -> Body {
    Body::wrap_stream(try_unfold((from, bar), async |(mut from, bar)| {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        if from.read_buf(&mut piece).await? == 0 {
            bar.finish_and_clear();
            return Ok::<_, std::io::Error>(None);
        }
        bar.inc(piece.len() as u64);
        Ok(Some((Bytes::from(piece), (from, bar))))
    }))
}

fn parameter(text: &str) -> anyhow::Result<(String, String)> {
    let Some((name, value)) = text.split_once('=') else {
        bail!("a parameter is NAME=VALUE");
    };
    if OPTIONS.contains(&name) {
        bail!("{name} is an option of the host: use --{}", name.replace('_', "-"));
    }
    Ok((name.to_owned(), value.to_owned()))
}
