//! What a job is given to work on, as it is typed: for a host, or for a job without one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use futures_util::stream::{BoxStream, StreamExt, once, try_unfold};
use indicatif::ProgressBar;
use reqwest::Body;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::wait;

/// A file is read in pieces of this size.
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
pub(super) struct Input {
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
    /// How long an attempt may take, such as 30s or 5m
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
}

/// What was typed or named.
pub(super) enum Given {
    /// JSON, and small.
    Text(String),
    /// A file, read while it is taken.
    Pieces(BoxStream<'static, std::io::Result<Bytes>>),
    /// Nothing.
    Empty,
}

impl Given {
    /// For a request.
    pub(super) fn into_body(self) -> Body {
        match self {
            Self::Text(text) => text.into(),
            Self::Pieces(pieces) => Body::wrap_stream(pieces),
            Self::Empty => Body::default(),
        }
    }

    /// For a job without a host.
    pub(super) fn into_pieces(self) -> BoxStream<'static, std::io::Result<Bytes>> {
        match self {
            Self::Text(text) => once(async { Ok(text.into()) }).boxed(),
            Self::Pieces(pieces) => pieces,
            Self::Empty => futures_util::stream::empty().boxed(),
        }
    }
}

impl Input {
    /// What the query says of the job.
    pub(super) fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        let timeout = self.timeout.iter().map(|timeout| ("timeout", timeout.as_str()));
        let args = self.args.iter().map(|arg| ("arg", arg.as_str()));
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        timeout.chain(args).chain(parameters)
    }

    /// The input and its media type.
    pub(super) async fn read(&self) -> anyhow::Result<(Given, Option<&str>)> {
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
                Ok((Given::Text(text), Some("application/json")))
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
            (None, None) => Ok((Given::Empty, None)),
        }
    }
}

/// What is read while it is sent.
fn in_pieces(from: impl AsyncRead + Send + Unpin + 'static, bar: ProgressBar) -> Given {
    let pieces = try_unfold((from, bar), async |(mut from, bar)| {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        if from.read_buf(&mut piece).await? == 0 {
            bar.finish_and_clear();
            return Ok::<_, std::io::Error>(None);
        }
        bar.inc(piece.len() as u64);
        Ok(Some((Bytes::from(piece), (from, bar))))
    });
    Given::Pieces(pieces.boxed())
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
